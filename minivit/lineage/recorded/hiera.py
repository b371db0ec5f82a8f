"""Hiera as published code has it: names and shapes of its arrays in three layouts, and what was recorded of it."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minivit.files import expanded
from minivit.lineage.hiera import VARIANTS, Hiera, HieraConfig
from minivit.lineage.published import Arrays, beside, fill, flat, gelu, pair, renamed
from minivit.lineage.recorded import classifier
from minivit.lineage.verify import Case
from minivit.models.archive import read_arrays
from minivit.models.layouts import Shapes
from minivit.tensor import Tensor

_OURS = (  # paths in our model -> timm's
    (r"^patch_embed\b", "patch_embed.proj"),
    (r"^position_embedding$", "pos_embed"),
    (r"^unit_embedding$", "pos_embed_win"),
    (r"\.attention\.out", ".attn.proj"),
    (r"\.attention", ".attn"),
    (r"\.projection", ".proj"),
    (r"\.mlp\.hidden", ".mlp.fc1"),
    (r"\.mlp\.out", ".mlp.fc2"),
    (r"\.scale([12])", r".ls\1"),
    (r"^norm\b", "head.norm"),
    (r"^head$|^head(?=\.(weight|bias)$)", "head.fc"),
    (r"\.scale$", ".weight"),
)
_THEIRS = (  # of the official code, and of transformers -> timm's
    (r"^hiera\.", ""),
    (r"^embeddings\.patch_embeddings\.projection", "patch_embed.proj"),
    (r"^embeddings\.position_embeddings", "pos_embed"),
    (r"^pos_embed_abs$", "pos_embed"),
    (r"layernorm_before", "norm1"),
    (r"layernorm_after", "norm2"),
    (r"^(pooler\.layernorm|encoder_norm|norm)\b", "head.norm"),
    (r"^(classifier|head\.projection)\b", "head.fc"),
)
_STATED = (  # fields of HieraConfig -> their names in timm, the official code and transformers
    ("image_size", "image_size img_size input_size"),
    ("depths", "stages depths"),
    ("pools", "q_pool num_query_pool"),
    ("pool", "q_stride query_stride"),
    ("unit", "mask_unit_size masked_unit_size"),
    ("local", "mask_unit_attn masked_unit_attention"),
    ("patch_padding", "patch_padding"),
    ("widen", "dim_mul embed_dim_multiplier"),
    ("more_heads", "head_mul"),
    ("mlp_ratio", "mlp_ratio"),
    ("norm_eps", "layer_norm_eps"),
)


_HEADS = {fields["width"]: fields.get("heads", 1) for fields in VARIANTS.values() if "width" in fields}


def hub_depths(arrays: Arrays) -> tuple[int, ...]:
    """Blocks per stage in the names of transformers, () in those of others."""
    places = {
        match.groups() for name in arrays if (match := re.search(r"encoder\.stages\.(\d+)\.layers\.(\d+)\.", name))
    }
    stages = [int(stage) for stage, _ in places]
    return tuple(stages.count(i) for i in range(len(set(stages))))


def timm_name(name: str, depths: tuple[int, ...]) -> str:
    """A name of any layout, of an array or a module, as timm has it. transformers counts the blocks of each stage."""
    name = renamed(name.removeprefix("model."), _THEIRS)

    def block(match: re.Match[str]) -> str:
        return f"blocks.{sum(depths[: int(match[1])]) + int(match[2])}"

    return re.sub(r"^encoder\.stages\.(\d+)\.layers\.(\d+)", block, name)


def views(state: Arrays, config: HieraConfig) -> dict[str, np.ndarray]:
    """Our arrays, or their gradients, as views under timm's names and in timm's shapes."""
    found = {}
    for name, x in state.items():
        if name == "patch_embed.weight":
            x = x.transpose(3, 2, 0, 1)
        elif name in ("position_embedding", "unit_embedding"):
            flat = x.reshape(1, -1, x.shape[-1])
            x = x.transpose(0, 3, 1, 2) if config.unit_positions else flat
        elif name.endswith(".weight"):
            x = x.T
        found[renamed(name, _OURS)] = x
    return found


def stated(config: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The fields of HieraConfig in a configuration of any of the codes."""
    arguments, found = flat(config), dict[str, Any]()
    for ours, names in _STATED:
        if given := [arguments[theirs] for theirs in names.split() if arguments.get(theirs) is not None]:
            found[ours] = pair(given[0])
    heads = arguments.get("num_heads")
    if isinstance(heads, list) and heads:  # transformers states those of every stage
        found |= {"heads": heads[0], "more_heads": heads[1] / max(1, heads[0]) if len(heads) > 1 else 2.0}
    elif heads is not None:
        found["heads"] = heads
    if "hidden_act" in arguments:
        found["gelu"] = gelu(arguments["hidden_act"], source)
    return found


def told_by(arrays: Arrays, source: str) -> dict[str, Any]:
    """The fields of HieraConfig that the shapes of arrays under timm's names tell, and the usual for the heads."""
    shapes = Shapes(arrays, source, "Hiera's")
    width, channels, kernel, _ = shapes("patch_embed.proj.weight", 4)
    blocks = shapes.depth(r"blocks\.(\d+)\.")
    widths = [shapes(f"blocks.{i}.attn.proj.weight", 2)[0] for i in range(blocks)]
    stages = sorted(set(widths))
    hidden = shapes("blocks.0.mlp.fc1.weight", 2)[0]
    ratio = hidden / width
    told = {
        "depths": tuple(widths.count(one) for one in stages),
        "width": width,
        "heads": _HEADS.get(width, 1),
        "widen": stages[1] / stages[0] if len(stages) > 1 else 2.0,
        "channels": channels,
        "patch_kernel": kernel,
        "mlp_ratio": ratio if int(width * ratio) == hidden else math.nextafter(ratio, math.inf),
        "num_classes": shapes("head.fc.weight", 2)[0] if "head.fc.weight" in arrays else 0,
        "layer_scale": 1e-5 if "blocks.0.ls1.gamma" in arrays else None,
        "unit_positions": "pos_embed_win" in arrays,
        "project": any(re.fullmatch(r"blocks\.\d+\.proj\.weight", name) for name in arrays),
    }
    if told["unit_positions"]:
        return told | {"unit": shapes("pos_embed_win", 4)[2:], "image_positions": shapes("pos_embed", 4)[2:]}
    side = math.isqrt(shapes("pos_embed", 3)[1])
    return told | {"image_size": side * 4}


def build(
    config: Mapping[str, Any], arrays: Arrays, dtype: str = "float64", source: str = "the file", **fields: Any
) -> Hiera:
    """The model of these weights, in any layout.   config: as published code has it; fields: of HieraConfig, which
    prevail. Raises CheckpointError and ConfigError."""
    known, depths = stated(config, source), hub_depths(arrays)
    weights = classifier.official_arrays(arrays, lambda name: timm_name(name, depths), source)
    steps = config.get("patch_stride", 4)
    step = steps[0] if isinstance(steps, list) and steps else steps
    told = told_by(weights, source)
    if "image_size" in told and step != 4:
        told["image_size"] = told["image_size"] // 4 * step
    model = Hiera(HieraConfig(**{**told, "patch_size": step, **known, **fields}), None, dtype)
    fill(views({name: tensor.data for name, tensor in model.named_tensors()}, model.config), weights, source)
    return model


def load(path: str | Path, dtype: str = "float32", **fields: Any) -> Hiera:
    """The model of a file of published weights (.safetensors), with the names of timm, transformers or the official
    code. A config.json beside the file is read.

    fields: of HieraConfig; what nothing states is taken to be as in the published models. Raises CheckpointError and
    ConfigError.
    """
    path = expanded(path)
    return build(beside(path, "hiera"), read_arrays(path)[0], dtype, str(path), **fields)


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording that Hiera defines, by its name there."""
    model = build(case.config, case.weights, source=case.name).eval()

    def inside(own: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = {renamed(name, _OURS): x for name, x in own.items()}
        maps, last = found["patch_embed.proj"], own[f"blocks.{len(model.blocks) - 1}"]
        found |= {"patch_embed": maps.reshape(len(maps), -1, maps.shape[-1]), "head.global_pool": last.mean(axis=1)}
        return found | {"head": found["head.fc"]} if "head.fc" in found else found

    def call(images: Tensor, before: str) -> Tensor:
        if f"{before}mask" not in case.arrays:
            return model(images)
        seen = case.input(f"{before}mask").reshape(images.shape[0], -1).astype(bool)  # of a unit: whether it is shown
        units = [n // unit for n, unit in zip(model.config.grid, model.config.unit, strict=True)]
        pixels = seen.reshape(-1, *units)
        for axis in (1, 2):
            pixels = pixels.repeat(images.shape[axis] // units[axis - 1], axis=axis)
        shown = np.stack([np.flatnonzero(row) for row in seen])
        return model.encode(images * pixels[..., None].astype(float), shown=shown)

    def official(name: str) -> str:
        return timm_name(name, model.config.depths)

    return classifier.recompute(case, model, official, lambda x: views(x, model.config), inside, call)
