"""ConvNeXt as published code has it: names and shapes of its arrays, and what was recorded of it."""

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minivit.errors import CheckpointError
from minivit.files import expanded
from minivit.lineage.convnext import ConvNeXt, ConvNeXtConfig
from minivit.lineage.published import Arrays, gelu, renamed
from minivit.lineage.published_layers import beside, load, recompute_network
from minivit.lineage.verify import Case
from minivit.models.archive import read_arrays
from minivit.models.layouts import Shapes

_NAMES = {
    r"\.inside\.": ".",  # ours
    r"^(module|model)\.": "",
    r"^convnext(v2)?\.": "",  # Hugging Face's
    r"^embeddings\.patch_embeddings\.": "stem.0.",
    r"^embeddings\.layernorm\.": "stem.1.",
    r"^embeddings\.$": "stem.",
    r"^encoder\.": "",
    r"\.layers\.(\d+)\.": r".blocks.\1.",
    r"\.downsampling_layer\.": ".downsample.",
    r"(?<=\d\.)layernorm\.": "norm.",
    r"\.layer_scale_parameter$": ".gamma",
    r"^layernorm\.": "head.norm.",
    r"^classifier\.": "head.fc.",
    r"^downsample_layers\.0\.": "stem.",  # the official code's
    r"^downsample_layers\.(\d+)\.": r"stages.\1.downsample.",
    r"^(stages\.\d+)\.(\d+)\.": r"\1.blocks.\2.",
    r"\.dwconv\b": ".conv_dw",
    r"\.pwconv([12])\b": r".mlp.fc\1",
    r"(?<=\d)\.grn\b": ".mlp.grn",
    r"\.grn\.gamma$": ".grn.weight",
    r"\.grn\.beta$": ".grn.bias",
    r"^norm\.": "head.norm.",
    r"^head\.(weight|bias)$": r"head.fc.\1",
}
TO_TIMM = functools.partial(renamed, rules=_NAMES.items())
CHANNELS_LAST = r"blocks\.\d+\.(norm|mlp)\b"


def told_by(arrays: Arrays, source: str) -> dict[str, Any]:
    """The fields of ConvNeXtConfig that arrays with timm's names tell. Raises CheckpointError."""
    shapes = Shapes(arrays, source, "ConvNeXt")
    first, channels, patch, _ = shapes("stem.0.weight", 4)
    dims, depths, strides = [], [], []
    for i in range(shapes.depth(r"stages\.(\d+)\.")):
        down = f"stages.{i}.downsample.1.weight"
        strides.append(shapes(down, 4)[2] if down in arrays else 1)
        dims.append(shapes(f"stages.{i}.blocks.0.conv_dw.weight", 4)[0])
        depths.append(shapes.depth(rf"stages\.{i}\.blocks\.(\d+)\."))
    if dims[:1] != [first] and "stages.0.downsample.1.weight" not in arrays:
        raise CheckpointError(f"{source}: the first stage has {dims[:1]} channels, the stem {first}")
    return {
        "depths": tuple(depths),
        "dims": tuple(dims),
        "strides": tuple(strides),
        "patch_size": patch,
        "kernel": shapes("stages.0.blocks.0.conv_dw.weight", 4)[2],
        "channels": channels,
        "num_classes": shapes("head.fc.weight", 2)[0] if "head.fc.weight" in arrays else 0,
        "grn": "stages.0.blocks.0.mlp.grn.weight" in arrays,
        "layer_scale": 1e-6 if "stages.0.blocks.0.gamma" in arrays else None,
        "conv_bias": "stem.0.bias" in arrays,
        "norm_first": "norm_pre.weight" in arrays,
    }


def build(config: Mapping[str, Any], arrays: Arrays, source: str, dtype: str = "float64", **fields: Any) -> ConvNeXt:
    """The network of a configuration of timm's or Hugging Face's, or none, with arrays of any layout.   fields: of
    ConvNeXtConfig, instead of what is found. Raises CheckpointError and ConfigError."""
    known = {TO_TIMM(name): x for name, x in arrays.items()}
    if len(known) < len(arrays):
        raise CheckpointError(f"{source} holds two arrays for one place in the model")
    if getattr(known.get("stem.1.weight"), "ndim", 1) > 1 or "head.pre_logits.fc.weight" in known:
        raise CheckpointError(f"{source}: only ConvNeXts whose stem is one convolution, and whose head one matrix")
    if gelu(str(config.get("hidden_act", "gelu")), source) != "erf":
        raise CheckpointError(f"{source}: hidden_act is {config['hidden_act']}, expected gelu")
    hub = any(re.search(r"(^|\.)(embeddings|encoder)\.", name) for name in arrays)
    eps = config.get("norm_eps") or 1e-6
    last = config.get("layer_norm_eps", 1e-12) if hub else eps
    shape = {**told_by(known, source), "norm_eps": eps, "head_eps": last}
    network = ConvNeXt(ConvNeXtConfig(**{**shape, **fields}), None, dtype)
    load(network, known, source, TO_TIMM)
    return network


def open_pretrained(path: str | Path, dtype: str = "float32", **fields: Any) -> ConvNeXt:
    """The network of a file of published weights (.safetensors), by the official, timm's or Hugging Face's names.

    The config.json beside the file is read, if there is one. fields: of ConvNeXtConfig. Raises CheckpointError and
    ConfigError.
    """
    path = expanded(path)
    stated, size = beside(path)
    return build(stated, read_arrays(path)[0], str(path), dtype, **{"image_size": size, **fields})


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording that ConvNeXt defines, by its name there."""
    sides = next(case.images(name).shape[1:3] for name in case.arrays if re.fullmatch("(.*/)?image", name))
    network = build(case.config, case.weights, case.name, image_size=sides)
    matrices = any(name.endswith("mlp.fc1.weight") and x.ndim == 2 for name, x in case.weights.items())
    official = not any(".blocks." in name for name in case.weights)
    return recompute_network(case, network, TO_TIMM, CHANNELS_LAST if matrices or official else "$^")
