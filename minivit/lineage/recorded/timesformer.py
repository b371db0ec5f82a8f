"""TimeSformer as published code has it: names and shapes of its arrays, and what was recorded of it."""

import functools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minivit.errors import CheckpointError
from minivit.files import expanded
from minivit.lineage.published import Arrays, beside, fill, gelu, pair, renamed
from minivit.lineage.recorded import clips
from minivit.lineage.timesformer import TimeSformer, TimeSformerConfig
from minivit.lineage.verify import Case
from minivit.models.archive import read_arrays
from minivit.models.layouts import HEADS, Shapes

WORDS = ((r"(?<![^/])pixel_values$", "video"),)  # transformers' names -> those of recordings
_KINDS = {"divided_space_time": "divided", "joint_space_time": "joint", "space_only": "space"}
_OURS = {  # ours -> the official code's
    r"^embed\.projection": "patch_embed.proj",
    r"^class_token": "cls_token",
    r"^position_embedding": "pos_embed",
    r"^time_embedding": "time_embed",
    r"\battention\.": "attn.",
    r"\battn\.out\.": "attn.proj.",
    r"temporal_attention\.": "temporal_attn.",
    r"temporal_attn\.out\.": "temporal_attn.proj.",
    r"temporal_norm\.": "temporal_norm1.",
    r"temporal_out\.": "temporal_fc.",
    r"mlp\.hidden": "mlp.fc1",
    r"mlp\.out": "mlp.fc2",
    r"\.scale$": ".weight",
}
_HUB = {
    r"^(module\.)?(model\.)?": "",
    r"^timesformer\.": "",
    r"^embeddings\.cls_token": "cls_token",
    r"^embeddings\.position_embeddings": "pos_embed",
    r"^embeddings\.time_embeddings": "time_embed",
    r"^embeddings\.patch_embeddings\.projection": "patch_embed.proj",
    r"^(encoder\.layer|encoder\.layers|layers)\.(?=\d)": "blocks.",
    r"\battention\.attention\.": "attn.",
    r"\btemporal_attention\.attention\.": "temporal_attn.",
    r"\battention\.output\.dense": "attn.proj",
    r"\btemporal_attention\.output\.dense": "temporal_attn.proj",
    r"temporal_layernorm": "temporal_norm1",
    r"temporal_dense": "temporal_fc",
    r"layernorm_before": "norm1",
    r"layernorm_after": "norm2",
    r"intermediate\.dense": "mlp.fc1",
    r"(?<=\d\.)output\.dense": "mlp.fc2",
    r"^layernorm\.": "norm.",
    r"^classifier\.": "head.",
}
official_name = functools.partial(renamed, rules=_HUB.items())


def views(state: Arrays, config: TimeSformerConfig) -> dict[str, np.ndarray]:
    """Our arrays, or their gradients, as views under the official names and in the official shapes."""
    kernel = (*config.patch_size, config.channels // config.frames)
    return {renamed(name, _OURS.items()): clips.torch_view(name, x, kernel) for name, x in state.items()}


def told_by(arrays: Arrays, source: str) -> dict[str, Any]:
    """What official arrays tell of TimeSformerConfig, and the usual for the rest."""
    shapes = Shapes(arrays, source, "TimeSformer")
    width, channels, *patch = shapes("patch_embed.proj.weight", 4)
    side = math.isqrt(max(1, shapes("pos_embed", 3)[1] - 1))
    frames = shapes("time_embed", 3)[1] if "time_embed" in arrays else 8
    divided = "blocks.0.temporal_fc.weight" in arrays
    return {
        "image_size": tuple(side * pixels for pixels in patch),
        "patch_size": tuple(patch),
        "frames": frames,
        "channels": channels * frames,
        "attention": "divided" if divided else "joint" if "time_embed" in arrays else "space",
        "width": width,
        "depth": shapes.depth(r"blocks\.(\d+)\."),
        "heads": HEADS.get(width, max(1, width // 64)),
        "mlp_width": shapes("blocks.0.mlp.fc1.weight", 2)[0],
        "num_classes": shapes("head.bias", 1)[0] if "head.bias" in arrays else 0,
        "qkv_bias": "blocks.0.attn.qkv.bias" in arrays,
    }


def stated(config: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The fields of TimeSformerConfig that a configuration states, the official code's or Hugging Face's."""
    names = {
        "img_size": "image_size", "image_size": "image_size", "patch_size": "patch_size", "num_heads": "heads",
        "num_attention_heads": "heads", "num_frames": "frames", "qkv_bias": "qkv_bias", "layer_norm_eps": "norm_eps",
        "norm_eps": "norm_eps",
    }  # fmt: skip
    found = {ours: pair(config[theirs]) for theirs, ours in names.items() if theirs in config}
    if "attention_type" in config:
        if config["attention_type"] not in _KINDS:
            raise CheckpointError(f"{source}: attention_type is none of {', '.join(_KINDS)}")
        found["attention"] = _KINDS[config["attention_type"]]
    if "hidden_act" in config:
        found["gelu"] = gelu(config["hidden_act"], source)
    return found


def build(arrays: Arrays, config: Mapping[str, Any], source: str, dtype: str = "float64", **fields: Any) -> TimeSformer:
    """The network of published arrays of any layout.   config: as published, {} for none. fields: of
    TimeSformerConfig, which prevail. Raises CheckpointError and ConfigError."""
    known = {official_name(name): x for name, x in arrays.items()}
    if len(known) < len(arrays):
        raise CheckpointError(f"{source} holds two arrays for one place in the model")
    shape = {**told_by(known, source), **stated(config, source), **fields}
    colours = Shapes(known, source, "TimeSformer")("patch_embed.proj.weight", 4)[1]
    network = TimeSformer(TimeSformerConfig(**{**shape, "channels": colours * shape["frames"]}), None, dtype)
    own = views({name: tensor.data for name, tensor in network.named_tensors()}, network.config)
    fill(own, known, source)
    return network


def open_pretrained(path: str | Path, dtype: str = "float32", **fields: Any) -> TimeSformer:
    """The network of a file of published weights (.safetensors), by the official or Hugging Face's names.

    The config.json beside the file is read, if there is one. Without it, heads have 64 features and the grid is a
    square. fields: of TimeSformerConfig. Raises CheckpointError and ConfigError.
    """
    path = expanded(path)
    return build(read_arrays(path)[0], beside(path, "timesformer"), str(path), dtype, **fields)


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording that TimeSformer defines, by its name there."""
    if not any("embeddings." in name for name in case.weights):  # the official code
        case.meta.setdefault("image_layout", "(B, C, T, H, W)")
    network = build(case.weights, case.config, case.name).eval()

    def inside(tap: dict[str, Any]) -> dict[str, np.ndarray]:
        blocks = {f"block{i}": tap[f"block{i}/output"].data for i in range(network.config.depth)}
        return blocks | {name: tap[name].data for name in ("embedded", "encoded", "features")}

    return clips.recompute(case, network, lambda named: views(named, network.config), official_name, inside)
