"""CoAtNet as timm has it: names and shapes of its arrays, and what was recorded of it."""

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minivit.errors import CheckpointError
from minivit.files import expanded
from minivit.lineage.coatnet import CoAtNet, CoAtNetConfig
from minivit.lineage.published import Arrays, renamed
from minivit.lineage.published_layers import beside, load, recompute_network
from minivit.lineage.verify import Case
from minivit.models.archive import read_arrays
from minivit.models.layouts import Shapes

_NAMES = {
    r"^stem\.inside\.0\b": "stem.conv1",
    r"^stem\.inside\.1\b": "stem.norm1",
    r"^stem\.inside\.2\b": "stem.conv2",
    r"^(stages\.\d+)\.inside\.": r"\1.blocks.",
    r"\bshortcut\.inside\.\d\b": "shortcut.expand",
    r"\bnorm1\.inside\.0\b": "norm1.norm",
    r"\bnorm1\.inside\.1\b": "norm1.down",
    r"\b(se|se_early)\.reduce\b": r"\1.fc1",
    r"\b(se|se_early)\.expand\b": r"\1.fc2",
    r"\bmlp\.hidden\b": "mlp.fc1",
    r"\bmlp\.out\b": "mlp.fc2",
    r"\battn\.table$": "attn.rel_pos.relative_position_bias_table",
    r"\bpre_logits\.(?!fc)": "pre_logits.fc.",
    r"^norm\.": "head.norm.",  # before the mean
}
TO_TIMM = functools.partial(renamed, rules=_NAMES.items())
_CONV = {  # fields of timm's configuration -> ours
    "expand_ratio": "expansion",
    "expand_output": "of_output",
    "attn_act_layer": "squeeze_act",
    "attn_early": "squeeze_early",
    "pre_norm_act": "pre_act",
    "act_layer": "act",
    "norm_eps": "conv_eps",
    "attn_ratio": "squeeze",
}
_TRANSFORMER = {"dim_head": "head_width", "expand_ratio": "mlp_ratio", "expand_first": "wide", "norm_eps": "norm_eps"}
_ONLY: dict[str, dict[str, Any]] = {  # what timm's code can do and ours cannot: the only values here
    "conv_cfg": {"block_type": "mbconv", "group_size": 1, "pool_type": "avg2", "padding": "", "attn_layer": "se"},
    "transformer_cfg": {"pool_type": "avg2", "rel_pos_type": "bias", "act_layer": "gelu"},
}
_RW = {"of_output": False, "act": "silu", "wide": False, "pre_act": True, "squeeze_act": "relu"}
TRAINED: dict[str, dict[str, Any]] = {  # what the arrays of timm's trained weights do not tell
    "coatnet_nano_rw": {**_RW, "pre_act": False, "squeeze_act": "silu", "pool_first": True},
    "coatnet_0_rw": {**_RW, "pool_first": True},
    "coatnet_1_rw": _RW,
    "coatnet_2_rw": {**_RW, "squeeze_act": "silu"},
    "coatnet_3_rw": {**_RW, "squeeze_act": "silu"},
    "coatnet_bn_0_rw": _RW,
}


def told_by(arrays: Arrays, source: str) -> dict[str, Any]:
    """The fields of CoAtNetConfig that arrays with timm's names tell. Raises CheckpointError."""
    shapes = Shapes(arrays, source, "timm CoAtNet")
    depths, widths, kinds = [], [], []
    for i in range(shapes.depth(r"stages\.(\d+)\.")):
        depths.append(shapes.depth(rf"stages\.{i}\.blocks\.(\d+)\."))
        at = [f"stages.{i}.blocks.{j}." for j in range(depths[-1])]
        kinds.append("".join("T" if f"{name}attn.qkv.weight" in arrays else "C" for name in at))
        widths.append(shapes(f"{at[0]}{'attn.proj' if kinds[-1][0] == 'T' else 'conv3_1x1'}.weight", 4)[0])

    def has(pattern: str) -> bool:
        return any(re.search(pattern, name) for name in arrays)

    return {
        "depths": tuple(depths),
        "widths": tuple(widths),
        "kinds": tuple(kinds),
        "stem": (shapes("stem.conv1.weight", 4)[0], shapes("stem.conv2.weight", 4)[0]),
        "stem_bias": has(r"^stem\.conv1\.bias"),
        "channels": shapes("stem.conv1.weight", 4)[1],
        "num_classes": shapes("head.fc.weight", 2)[0] if "head.fc.weight" in arrays else 0,
        "hidden": shapes("head.pre_logits.fc.weight", 2)[0] if has(r"pre_logits") else None,
        "kernel": next((shapes(name, 4)[2] for name in arrays if name.endswith("conv2_kxk.weight")), 3),
        "conv_bias": has(r"conv3_1x1\.bias"),
        "attention_bias": has(r"\.qkv\.bias") or not has(r"\.qkv\."),
        "squeeze_early": has(r"\.se_early\."),
        "shortcut_bias": any(
            f"{name.removesuffix('attn.qkv.weight')}shortcut.expand.bias" in arrays for name in arrays
        ),
        "batch_norm": has(r"\.attn\.") and has(r"\.norm\.running_mean"),
        "layer_scale": 1e-6 if has(r"\.ls1\.gamma") else None,
    }


def build(fields: Mapping[str, Any], arrays: Arrays, source: str, dtype: str = "float64") -> CoAtNet:
    """The network of these arrays, with `fields` of CoAtNetConfig that they do not tell."""
    if any(".rel_pos.mlp" in name or ".conv_dw." in name for name in arrays):
        raise CheckpointError(f"{source}: only CoAtNets of MBConv and of a table of relative positions")
    arrays = {TO_TIMM(name): x for name, x in arrays.items()}
    network = CoAtNet(CoAtNetConfig(**{**told_by(arrays, source), **fields}), None, dtype)
    load(network, arrays, source, TO_TIMM)
    return network


def open_pretrained(path: str | Path, dtype: str = "float32", **fields: Any) -> CoAtNet:
    """The network of a file of published weights in timm's layout (.safetensors).

    What no array tells is known for models of `TRAINED`, which the config.json beside the file names, or its folder;
    else it is taken to be as in the paper. fields: of CoAtNetConfig, instead. Raises CheckpointError and ConfigError.
    """
    path = expanded(path)
    stated, size = beside(path)
    named = re.sub(r"_\d+(\..*)?$", "", str(stated.get("architecture", path.parent.name)))
    given = {"image_size": size, **TRAINED.get(named, {}), **fields}
    return build(given, read_arrays(path)[0], str(path), dtype)


def said_by(case: Case) -> dict[str, Any]:
    """Fields of CoAtNetConfig that timm's configuration tells. Raises CheckpointError for what is not here."""
    parts = {name: case.config.get(name, {}) for name in ("conv_cfg", "transformer_cfg")}
    for name, only in _ONLY.items():
        for field, value in only.items():
            if parts[name].get(field, value) != value:
                raise CheckpointError(f"{case.name}: {field} is {parts[name][field]}, expected {value}")
    if (mode := parts["conv_cfg"].get("stride_mode", "dw")) not in ("dw", "pool"):
        raise CheckpointError(f"{case.name}: stride_mode is {mode}, expected dw or pool")
    conv, transformer = parts.values()
    found = {ours: conv[name] for name, ours in _CONV.items() if conv.get(name) is not None}
    found |= {ours: transformer[name] for name, ours in _TRANSFORMER.items() if transformer.get(name) is not None}
    return {**found, "pool_first": mode == "pool"}


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording that CoAtNet defines, by its name there."""
    sides = next(case.images(name).shape[1:3] for name in case.arrays if re.fullmatch("(.*/)?image", name))
    return recompute_network(case, build({**said_by(case), "image_size": sides}, case.weights, case.name), TO_TIMM)
