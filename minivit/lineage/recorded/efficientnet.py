"""EfficientNet as timm has it: names and shapes of its arrays, and what was recorded of it and of one block."""

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minivit.errors import CheckpointError
from minivit.files import expanded
from minivit.lineage.efficientnet import EfficientNet, EfficientNetConfig, MBConv, Separable
from minivit.lineage.published import Arrays, renamed
from minivit.lineage.published_layers import beside, load, recompute_network
from minivit.lineage.verify import Case
from minivit.models.archive import read_arrays
from minivit.models.layouts import Shapes
from minivit.nn import Module

_NAMES = {r"\.inside\.": ".", r"\bse\.(reduce|expand)\b": r"se.conv_\1"}
TO_TIMM = functools.partial(renamed, rules=_NAMES.items())
TENSORFLOW = {"padding": "same", "norm_eps": 1e-3, "momentum": 0.01}  # of the weights called tf_
STRIDES = (1, 2, 2, 2, 1, 2, 1)


def told_by(arrays: Arrays, source: str) -> dict[str, Any]:
    """The fields of EfficientNetConfig that arrays with timm's names tell, all but strides. Raises CheckpointError."""
    shapes = Shapes(arrays, source, "timm EfficientNet")
    stem, channels, *_ = shapes("conv_stem.weight", 4)
    found: dict[str, list[int]] = {"expansions": [], "widths": [], "repeats": [], "kernels": []}
    width, squeeze = max(1, stem), 0.0
    for i in range(shapes.depth(r"blocks\.(\d+)\.")):
        first = f"blocks.{i}.0."
        wide, _, kernel, _ = shapes(f"{first}conv_dw.weight", 4)
        expands = f"{first}conv_pwl.weight" in arrays
        if f"{first}se.conv_reduce.weight" in arrays and not squeeze:
            squeeze = shapes(f"{first}se.conv_reduce.weight", 4)[0] / width
        found["expansions"].append(wide // width)
        found["kernels"].append(kernel)
        found["repeats"].append(shapes.depth(rf"blocks\.{i}\.(\d+)\."))
        width = max(1, shapes(f"{first}{'conv_pwl' if expands else 'conv_pw'}.weight", 4)[0])
        found["widths"].append(width)
    return {
        **{name: tuple(numbers) for name, numbers in found.items()},
        "stem": stem,
        "channels": channels,
        "squeeze": squeeze,
        "features": shapes("conv_head.weight", 4)[0],
        "num_classes": shapes("classifier.weight", 2)[0] if "classifier.weight" in arrays else 0,
    }


def open_pretrained(path: str | Path, dtype: str = "float32", **fields: Any) -> EfficientNet:
    """The network of a file of published weights in timm's layout (.safetensors).

    Strides, padding and epsilon are in no file. Strides are taken to be B0's, as of all EfficientNets; TensorFlow's
    padding and epsilon are taken if the config.json beside the file, or its folder, names a model "tf_...". fields: of
    EfficientNetConfig, instead. Raises CheckpointError and ConfigError.
    """
    path = expanded(path)
    stated, size = beside(path)
    named = str(stated.get("architecture", path.parent.name))
    arrays = read_arrays(path)[0]
    shape = told_by(arrays, str(path))
    given = {"image_size": size, "strides": STRIDES, **(TENSORFLOW if named.startswith("tf_") else {}), **fields}
    if len(given["strides"]) != len(shape["widths"]):
        raise CheckpointError(f"{path} has {len(shape['widths'])} stages: pass strides, one for each")
    network = EfficientNet(EfficientNetConfig(**{**shape, **given}), None, dtype)
    load(network, arrays, str(path), TO_TIMM)
    return network


def said_of(case: Case) -> dict[str, Any]:
    """Padding and epsilon, and how running values move, as the recording says."""
    config = case.config if isinstance(case.config, Mapping) else {}
    said = " ".join([str(case.config), *map(str, case.meta.get("notes", ()))])
    eps = re.search(r"BatchNorm[^;.]*?eps\s*([\d.e-]+\d)", said)
    same = re.search(r"\bsame\b", said, re.IGNORECASE) and "symmetric" not in said
    return {
        "norm_eps": float(config.get("bn_eps") or (eps[1] if eps else 1e-5)),
        "padding": "same" if same else "symmetric",
        "momentum": float(config.get("bn_momentum") or 0.1),
    }


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording that an EfficientNet, or one block of it, defines, by its name there."""
    network = of_network(case) if "conv_stem.weight" in case.weights else of_block(case)
    load(network, case.weights, case.name, TO_TIMM)
    return recompute_network(case, network, TO_TIMM)


def of_network(case: Case) -> EfficientNet:
    """A network with the strides that the configuration names: "ds_r1_k3_s1_... | ir_r2_k3_s2_..."."""
    strides = re.findall(r"\b(?:ds|ir)\w*?_s(\d)", str(case.config))
    shape = {**told_by(case.weights, case.name), **said_of(case)}
    fitting = len(strides) == len(shape["widths"])
    return EfficientNet(
        EfficientNetConfig(**shape, strides=tuple(map(int, strides)) if fitting else STRIDES), 0, "float64"
    )


def of_block(case: Case) -> Module:
    """One block: "InvertedResidual(8,8,k3,s1,exp 3)", of which only the stride is not in the weights."""
    shapes = Shapes(case.weights, case.name, "timm EfficientNet")
    stride = re.search(r"(?:\b|_)s(?:tride)?\W{0,3}(\d)", str(case.config))
    wide, _, kernel, _ = shapes("conv_dw.weight", 4)
    expands = "conv_pwl.weight" in case.weights
    filters = shapes("conv_pwl.weight" if expands else "conv_pw.weight", 4)[0]
    squeezed = shapes("se.conv_reduce.weight", 4)[0] if "se.conv_reduce.weight" in case.weights else 0
    step = int(stride[1]) if stride else 1
    config = EfficientNetConfig(**said_of(case), squeeze=squeezed / wide)
    if not expands:
        return Separable((wide, filters), kernel, step, config, 0.0, "float64")
    channels = shapes("conv_pw.weight", 4)[1]
    return MBConv((channels, filters), wide, squeezed, kernel, step, config, 0.0, "float64")
