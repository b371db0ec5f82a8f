"""ViViT as published code has it: scenic's names (flax) and Hugging Face's, and what was recorded of it."""

import functools
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minivit.errors import CheckpointError
from minivit.files import expanded
from minivit.lineage.published import Arrays, beside, fill, gelu, pair, renamed
from minivit.lineage.recorded import clips
from minivit.lineage.verify import Case
from minivit.lineage.vivit import ViViT, ViViTConfig, inflated
from minivit.models.archive import read_arrays
from minivit.models.config import size_pair
from minivit.models.layouts import HEADS, Shapes

_TO_HUB = {  # ours -> as in Hugging Face's files
    r"^embed\.projection": "embeddings.patch_embeddings.projection",
    r"^encoder\.class_token": "embeddings.cls_token",
    r"^encoder\.position_embedding": "embeddings.position_embeddings",
    r"^encoder\.norm": "layernorm",
    r"^encoder\.blocks\.": "encoder.layer.",
    r"attention\.out\.": "attention.output.dense.",
    r"norm1\.": "layernorm_before.",
    r"norm2\.": "layernorm_after.",
    r"mlp\.hidden": "intermediate.dense",
    r"mlp\.out": "output.dense",
    r"^head\.": "classifier.",
    r"\.scale$": ".weight",
}
_HUB = {  # other names of Hugging Face's -> as in its files
    r"^vivit\.": "",
    r"^layers\.(?=\d)": "encoder.layer.",
    r"\.q_proj\.": ".attention.query.",
    r"\.k_proj\.": ".attention.key.",
    r"\.v_proj\.": ".attention.value.",
    r"\.o_proj\.": ".output.dense.",
    r"mlp\.fc1": "intermediate.dense",
    r"mlp\.fc2": "output.dense",
}
_TO_FLAX = {  # ours -> scenic's
    r"^embed\.projection": "embedding",
    r"^head\.": "output_projection/",
    r"^(encoder|temporal)\.class_token": r"cls_\1",
    r"^(encoder|temporal)\.position_embedding": r"\1/posembed_input/pos_embedding",
    r"^(encoder|temporal)\.norm\.": r"\1/encoder_norm/",
    r"^(encoder|temporal)\.blocks\.(\d+)\.": r"\1/encoderblock_\2/",
    r"norm1\.": "LayerNorm_0/",
    r"norm2\.": "LayerNorm_1/",
    r"attention\.": "MultiHeadDotProductAttention_0/",
    r"mlp\.hidden": "MlpBlock_0/Dense_0",
    r"mlp\.out": "MlpBlock_0/Dense_1",
    r"weight$": "kernel",
    r"\.": "/",
    r"^cls_temporal": "cls_TemporalTransformer",
    r"^temporal/": "TemporalTransformer/",
}
WORDS = ((r"(?<![^/])pixel_values$", "video"),)  # transformers' names -> those of recordings
_QKV = ("query", "key", "value")
hub_name = functools.partial(renamed, rules=_HUB.items())


def flax_name(name: str) -> str:
    """A name of scenic's without what a checkpoint writes before it."""
    return re.sub(r"^(opt/target/|optimizer/target/|params/)", "", name)


def hub_views(state: Arrays, config: ViViTConfig) -> dict[str, np.ndarray]:
    """Our arrays of model 1, or their gradients, as views under Hugging Face's names and in its shapes."""
    found, kernel = {}, (*config.tubelet, config.channels // config.frames)
    for name, x in state.items():
        parts = {name: x}
        if ".attention.qkv." in name:
            split = zip(_QKV, np.split(x, 3, axis=-1), strict=True)
            parts = {name.replace("attention.qkv", f"attention.attention.{part}"): piece for part, piece in split}
        for own, piece in parts.items():
            found[renamed(own, _TO_HUB.items())] = clips.torch_view(own, piece, kernel)
    return found


def flax_views(state: Arrays, config: ViViTConfig) -> dict[str, np.ndarray]:
    """Our arrays, or their gradients, as views under scenic's names and in its shapes."""
    found, rules = {}, dict(_TO_FLAX)
    joint = config.attention == "joint"
    rules |= {r"^cls_encoder": "cls" if joint else "cls_SpatialTransformer"}
    rules |= {r"^encoder/": "Transformer/" if joint else "SpatialTransformer/"}
    for name, x in state.items():
        heads = (config.temporal_heads if name.startswith("temporal") else 0) or config.heads
        if ".attention.qkv." in name:
            for part, piece in zip(_QKV, np.split(x, 3, axis=-1), strict=True):
                theirs = renamed(name.replace("qkv", part), rules.items())
                found[theirs] = piece.reshape(*piece.shape[:-1], heads, -1)
            continue
        if name.startswith("embed.projection.weight"):
            x = x.reshape(*config.tubelet, config.channels // config.frames, -1)
        elif name.endswith("attention.out.weight"):
            x = x.reshape(heads, -1, x.shape[-1])
        found[renamed(name, rules.items())] = x
    return found


def told_by_hub(arrays: Arrays, source: str) -> dict[str, Any]:
    """What Hugging Face's arrays tell of ViViTConfig, and the usual for the rest."""
    shapes = Shapes(arrays, source, "ViViT")
    width, colours, *tubelet = shapes("embeddings.patch_embeddings.projection.weight", 5)
    tokens = shapes("embeddings.position_embeddings", 3)[1] - 1
    return {
        **_sizes(width, colours, tubelet, tokens, {}),
        "depth": shapes.depth(r"encoder\.layer\.(\d+)\."),
        "heads": HEADS.get(width, max(1, width // 64)),
        "mlp_width": shapes("encoder.layer.0.intermediate.dense.weight", 2)[0],
        "num_classes": shapes("classifier.bias", 1)[0] if "classifier.bias" in arrays else 0,
        "qkv_bias": "encoder.layer.0.attention.attention.query.bias" in arrays,
    }


def told_by_flax(arrays: Arrays, source: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """What scenic's arrays tell of ViViTConfig, and the usual for the rest.   known: image_size or frames, if so."""
    shapes = Shapes(arrays, source, "ViViT")
    *tubelet, colours, width = shapes("embedding/kernel", 5)
    joint = not any(name.startswith("SpatialTransformer/") for name in arrays)
    first = "Transformer/" if joint else "SpatialTransformer/"
    token = ("cls" if joint else "cls_SpatialTransformer") in arrays
    position, temporal = "posembed_input/pos_embedding", "TemporalTransformer/"
    tokens = shapes(first + position, 3)[1] - token
    of_time = temporal + position in arrays
    if not joint:
        slices = shapes(temporal + position, 3)[1] - token if of_time else known.get("frames", 32) // tubelet[0]
        tokens, known = tokens * slices, {"frames": slices * tubelet[0], **known}
    found = {
        **_sizes(width, colours, tubelet, tokens, known),
        **_encoder(shapes, first, ""),
        "attention": "joint" if joint else "factorised" if of_time else "frames",
        "classifier": "token" if token else "gap",
        "num_classes": shapes("output_projection/bias", 1)[0] if "output_projection/bias" in arrays else 0,
        "qkv_bias": f"{first}encoderblock_0/MultiHeadDotProductAttention_0/query/bias" in arrays,
    }
    return found | (_encoder(shapes, temporal, "temporal_") if of_time else {})


def _encoder(shapes: Shapes, first: str, before: str) -> dict[str, Any]:
    block = f"{first}encoderblock_0/"
    return {
        f"{before}depth": shapes.depth(rf"{first}encoderblock_(\d+)/"),
        f"{before}heads": shapes(f"{block}MultiHeadDotProductAttention_0/query/kernel", 3)[1],
        f"{before}mlp_width": shapes(f"{block}MlpBlock_0/Dense_0/kernel", 2)[1],
    }


def _sizes(width: int, colours: int, tubelet: list[int], tokens: int, known: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes of a clip from its number of tokens. Neither known, images are taken to be squares of 224 pixels."""
    t, h, w = tubelet
    frames, size = known.get("frames"), known.get("image_size")
    if frames:
        side = math.isqrt(max(1, tokens * t // frames))
        size = size or (side * h, side * w)
    else:
        height, across = size if isinstance(size, tuple) else (size or 224,) * 2
        size, frames = (height, across), max(1, tokens // max(1, (height // h) * (across // w))) * t
    fields = {"width": width, "tubelet": tuple(tubelet), "image_size": size}
    return {**fields, "frames": frames, "channels": colours * frames}


def stated(config: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The fields of ViViTConfig that a configuration states: Hugging Face's, or that of a recording of scenic's."""
    names = {
        "image_size": "image_size", "image": "image_size", "num_frames": "frames", "frames": "frames",
        "num_attention_heads": "heads", "layer_norm_eps": "norm_eps", "classifier": "classifier",
    }  # fmt: skip
    found = {ours: pair(config[theirs]) for theirs, ours in names.items() if theirs in config}
    if "hidden_act" in config:
        found["gelu"] = gelu(config["hidden_act"], source)
    return found


def build(arrays: Arrays, config: Mapping[str, Any], source: str, dtype: str = "float64", **fields: Any) -> ViViT:
    """The network of published arrays of any layout.   config: as published, {} for none. fields: of ViViTConfig, which
    prevail. Raises CheckpointError and ConfigError."""
    flax = any("/" in name for name in arrays)
    known = {(flax_name if flax else hub_name)(name): x for name, x in arrays.items()}
    if len(known) < len(arrays):
        raise CheckpointError(f"{source} holds two arrays for one place in the model")
    given = {**stated(config, source), **fields}
    told = told_by_flax(known, source, given) if flax else told_by_hub(known, source)
    shape = {**told, **given}
    (t, h, w), (height, width) = shape["tubelet"], size_pair(shape["image_size"], "image_size")
    shape |= {"frames": shape["frames"] // t * t, "image_size": (height // h * h, width // w * w)}  # as convolutions do
    colours = told["channels"] // told["frames"]
    network = ViViT(ViViTConfig(**{**shape, "channels": colours * shape["frames"]}), None, dtype)
    state = {name: tensor.data for name, tensor in network.named_tensors()}
    fill((flax_views if flax else hub_views)(state, network.config), known, source)
    return network


def open_pretrained(path: str | Path, dtype: str = "float32", **fields: Any) -> ViViT:
    """The network of a file of published weights: Hugging Face's (.safetensors), with its config.json if there is one,
    or scenic's (.npz). fields: of ViViTConfig. Raises CheckpointError and ConfigError."""
    path = expanded(path)
    return build(read_arrays(path)[0], beside(path, "vivit"), str(path), dtype, **fields)


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording that ViViT defines, by its name there."""
    flax = any("/" in name for name in case.weights)
    if flax:
        case.meta.setdefault("image_layout", "NHWC")
    network = build(case.weights, case.config, case.name).eval()
    layout = flax_views if flax else hub_views

    def inside(tap: dict[str, Any]) -> dict[str, np.ndarray]:
        found = {re.sub(r"/output$", "", name): x.data for name, x in tap.items() if "weights" not in name}
        return {**found, "tubelets": tap["tubelets"].data}

    official = flax_name if flax else hub_name
    size = network.config.tubelet
    found = clips.recompute(case, network, lambda named: layout(named, network.config), official, inside, size)
    if "init/kernel_2d" in case.arrays:
        kernel, t = case.input("init/kernel_2d"), network.config.tubelet[0]
        filled = [i for i, frame in enumerate(inflated(kernel, t, "central")) if frame.any()]
        found["init/central_frame_index"] = np.array(filled[0])
    return found
