"""Swin as published code has it: names and shapes of its arrays in three layouts, and what was recorded of it."""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minivit.files import expanded
from minivit.lineage.published import Arrays, beside, fill, flat, gelu, pair, renamed
from minivit.lineage.recorded import classifier
from minivit.lineage.swin import Swin, SwinConfig
from minivit.lineage.verify import Case
from minivit.models.archive import read_arrays
from minivit.models.layouts import Shapes
from minivit.nn.windows import regions_apart, relative_index

_OURS = (  # paths in our model -> official ones
    (r"^patch_embed\.projection", "patch_embed.proj"),
    (r"^patch_norm", "patch_embed.norm"),
    (r"^position_embedding$", "absolute_pos_embed"),
    (r"^stages\.", "layers."),
    (r"\.attention\.relative_bias", ".attn.relative_position_bias_table"),
    (r"\.attention\.out", ".attn.proj"),
    (r"\.attention", ".attn"),
    (r"\.mlp\.hidden", ".mlp.fc1"),
    (r"\.mlp\.out", ".mlp.fc2"),
    (r"\.merging", ".downsample"),
    (r"\.scale$", ".weight"),
)
_HUB = (  # names of transformers, versions 4 and 5 -> official ones
    (r"^swin\.", ""),
    (r"^embeddings\.patch_embeddings(\.projection)?", "patch_embed.proj"),
    (r"^embeddings\.norm", "patch_embed.norm"),
    (r"^embeddings\.position_embeddings", "absolute_pos_embed"),
    (r"^embeddings$", "patch_embed"),
    (r"^encoder\.", ""),
    (r"layernorm_before", "norm1"),
    (r"layernorm_after", "norm2"),
    (r"\.attention\.(output(\.dense)?|o_proj)", ".attn.proj"),
    (r"\.attention\.((self|attention)\.)?(query|q_proj)", ".attn.0"),
    (r"\.attention\.((self|attention)\.)?(key|k_proj)", ".attn.1"),
    (r"\.attention\.((self|attention)\.)?(value|v_proj)", ".attn.2"),
    (r"\.attention\.(self\.|relative_position_bias\.)?relative_position", ".attn.relative_position"),
    (r"\.attention", ".attn"),
    (r"\.intermediate\.dense", ".mlp.fc1"),
    (r"\.(intermediate|mlp\.activation_fn)$", ".mlp.act"),
    (r"(?<=\d)\.output(\.dense)?", ".mlp.fc2"),
    (r"^layernorm", "norm"),
    (r"^classifier", "head"),
)
_CONSTANT = re.compile(r"relative_position_index$|attn_mask$")  # stored beside the weights


def layout_of(arrays: Arrays) -> str:
    """Whose names these are: "official", "timm" or "hf", as the paddings are called."""
    if any("patch_embeddings.projection" in name for name in arrays):
        return "hf"
    if "head.fc.weight" in arrays or ("layers.1.downsample.norm.weight" in arrays) > (
        "layers.0.downsample.norm.weight" in arrays
    ):
        return "timm"
    return "official"


def official_name(layout: str) -> Callable[[str], str]:
    """The function that turns names of a layout, of arrays and modules, into official ones."""

    def rename(name: str) -> str:
        name = name.removeprefix("model.")
        if layout == "hf":
            return renamed(name, _HUB)
        if layout == "timm":  # where the merging stands at the beginning of a stage
            name = re.sub(r"^layers\.(\d+)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", name)
            return re.sub(r"^head\.fc\b", "head", name)
        return name

    return rename


def canonical(arrays: Arrays, layout: str, source: str = "the file") -> dict[str, np.ndarray]:
    """The arrays of a file under the official names, without constants."""
    learned = {name: x for name, x in arrays.items() if not _CONSTANT.search(name)}
    return classifier.official_arrays(learned, official_name(layout), source)


def views(state: Arrays, config: SwinConfig) -> dict[str, np.ndarray]:
    """Our arrays, or their gradients, as views under the official names and in the official shapes."""
    found = {}
    for name, x in state.items():
        if name == "patch_embed.projection.weight":
            x = x.reshape(*config.patch_size, config.channels, config.width).transpose(3, 2, 0, 1)
        elif name.endswith(".weight"):
            x = x.T
        found[renamed(name, _OURS)] = x
    return found


def told_by(arrays: Arrays, source: str) -> dict[str, Any]:
    """The fields of SwinConfig that the shapes of the official arrays tell."""
    shapes = Shapes(arrays, source, "Swin Transformer's")
    width, channels, *patch = shapes("patch_embed.proj.weight", 4)
    stages = shapes.depth(r"layers\.(\d+)\.blocks\.")
    tables = [shapes(f"layers.{i}.blocks.0.attn.relative_position_bias_table", 2) for i in range(stages)]
    hidden = shapes("layers.0.blocks.0.mlp.fc1.weight", 2)[0]
    inner = [shapes(f"layers.{i}.blocks.0.attn.proj.weight", 2)[1] for i in range(stages)]  # features of all heads
    usual = all(size == width * 2**i for i, size in enumerate(inner))
    ratio = hidden / width
    sides = tuple((math.isqrt(distances) + 1) // 2 for distances, _ in tables)
    return {
        "patch_size": tuple(patch),
        "width": width,
        "channels": channels,
        "depths": tuple(shapes.depth(rf"layers\.{i}\.blocks\.(\d+)\.") for i in range(stages)),
        "heads": tuple(heads for _, heads in tables),
        "head_width": None if usual else inner[0] // max(1, tables[0][1]),
        **({"window": sides[0]} if len(set(sides)) == 1 else {"windows": sides}),
        "mlp_ratio": ratio if int(width * ratio) == hidden else math.nextafter(ratio, math.inf),
        "num_classes": shapes("head.weight", 2)[0] if "head.weight" in arrays else 0,
        "absolute": "absolute_pos_embed" in arrays,
        "qkv_bias": "layers.0.blocks.0.attn.qkv.bias" in arrays,
    }


def stated(config: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The fields of SwinConfig in a configuration of any of the codes: those that shapes do not tell for sure."""
    arguments, found = flat(config), dict[str, Any]()
    for theirs, ours in (("img_size", "image_size"), ("image_size", "image_size"), ("mlp_ratio", "mlp_ratio"),
                         ("layer_norm_eps", "norm_eps"), ("always_partition", "always_partition")):  # fmt: skip
        if arguments.get(theirs) is not None:
            found[ours] = pair(arguments[theirs])
    window = arguments.get("window_size")
    if isinstance(window, list) and len(window) != 2:  # of every stage; two are rows and columns
        found |= {"windows": tuple(window), "window": 7}
    elif window is not None:
        found |= {"window": pair(window), "windows": ()}
    if "hidden_act" in arguments:
        found["gelu"] = gelu(arguments["hidden_act"], source)
    return found


def build(
    config: Mapping[str, Any], arrays: Arrays, dtype: str = "float64", source: str = "the file", **fields: Any
) -> Swin:
    """The model of these weights, in any layout.   config: as published code has it; fields: of SwinConfig, which
    prevail. Raises CheckpointError and ConfigError."""
    layout = layout_of(arrays)
    weights = canonical(arrays, layout, source)
    told = told_by(weights, source)
    known = {"padding": layout, **told, **stated(config, source), **fields}
    model = Swin(SwinConfig(**known), None, dtype)
    fill(views({name: tensor.data for name, tensor in model.named_tensors()}, model.config), weights, source)
    return model


def load(path: str | Path, dtype: str = "float32", **fields: Any) -> Swin:
    """The model of a file of published weights (.safetensors), with the names of timm, transformers or the official
    code. A config.json beside the file is read.

    fields: of SwinConfig; where nothing states it, image_size is 224. Raises CheckpointError and ConfigError.
    """
    path = expanded(path)
    return build(beside(path, "swin"), read_arrays(path)[0], dtype, str(path), **fields)


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording that Swin defines, by its name there."""
    layout = layout_of(case.weights)
    model, official = build(case.config, case.weights, source=case.name).eval(), official_name(layout)
    config = model.config

    def inside(own: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = {renamed(name, _OURS): x for name, x in own.items()}
        map_shape = own["stages.0.blocks.0"].shape
        found["patch_embed.proj"] = found["patch_embed.proj"].reshape(map_shape)
        positions = model.position_embedding.data if config.absolute else 0
        found["patch_embed"] = (found["patch_embed.norm"] + positions).reshape(map_shape)
        features = found["norm"].mean(axis=(1, 2))
        found |= dict.fromkeys(("pooler", "head.global_pool", "avgpool"), features)
        for i, depth in enumerate(config.depths):
            after = f"layers.{i}.downsample"
            for j, block in enumerate(model.stages[i].blocks):
                bias = block.attention.position_bias(np).data
                found[f"layers.{i}.blocks.{j}.attn.relative_position_bias"] = bias[None]
            ends = after if layout != "timm" and after in found else f"layers.{i}.blocks.{depth - 1}"
            found[f"layers.{i}"] = found[ends]
        return found

    found = classifier.recompute(case, model, official, lambda state: views(state, config), inside)
    for name in case.arrays:  # such as index/layers.0.blocks.1.attn or a/mask/layers.0.blocks.1
        if match := re.fullmatch(r"(.*?/)?(index|mask)/(.+)", name):
            image = f"{match[1] or ''}image"
            height, width = case.images(image).shape[1:3] if image in case.arrays else config.image_size
            constant = constants(model, (height, width)).get(f"{match[2]}/{official(match[3])}")
            if constant is not None:
                found[name] = classifier.laid_out(constant, case.arrays[name].shape)
    return found


def constants(model: Swin, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """What published code computes beforehand for images of a size: tables of indices, and what is added to scores."""
    found, grids = {}, dataclasses.replace(model.config, image_size=size).grids
    for i, stage in enumerate(model.stages):
        for j, block in enumerate(stage.blocks):
            window, shift = block.window_on(grids[i])
            rows, columns = (-(-n // w) * w for n, w in zip(grids[i], window, strict=True))
            found[f"index/layers.{i}.blocks.{j}.attn"] = relative_index(block.attention.window, np)
            found[f"mask/layers.{i}.blocks.{j}"] = regions_apart((rows, columns), window, shift, np) * -100.0
    return found
