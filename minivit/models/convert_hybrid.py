"""Names and shapes of the released hybrid files: what `convert` needs to know about the ResNet stem.

    conv_root/kernel, gn_root/{scale,bias},
    block{stage}/unit{unit}/{conv1,gn1,conv2,gn2,conv3,gn3,conv_proj,gn_proj}/{kernel,scale,bias}

Stages and units are counted from 1. GroupNorm parameters are (1, 1, 1, C) in the released files and (C,) in files that
newer versions of the published code write; kernels are (window, window, C, E), as ours.
"""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from minivit.models.config import ViTConfig
from minivit.models.layouts import Shapes

_LAYERS = {
    "root": "conv_root",
    "root_norm": "gn_root",
    "conv": "conv",
    "norm": "gn",
    "shortcut": "conv_proj",
    "shortcut_norm": "gn_proj",
}


def released_stem_name(name: str, config: ViTConfig) -> str:
    """ "stem.units.3.conv2.weight" -> "block2/unit1/conv2/kernel", if the first stage has three units."""
    *place, layer, kind = name.removeprefix("stem.").split(".")
    word, number = re.fullmatch(r"(\w+?)(\d*)", layer).groups()  # type: ignore[union-attr]
    prefix = ""
    if place:
        stage, unit = unit_place(int(place[1]), config.stem or ())
        prefix = f"block{stage + 1}/unit{unit + 1}/"
    return f"{prefix}{_LAYERS[word]}{number}/{'kernel' if kind == 'weight' else kind}"


def unit_place(index: int, units: tuple[int, ...]) -> tuple[int, int]:
    """Stage and place within it of unit `index` of a stem with these `units` per stage, all counted from 0."""
    for stage, count in enumerate(units):
        if index < count:
            return stage, index
        index -= count
    raise IndexError(f"a stem of {units} units per stage has no such unit")


def with_group_norm_axes(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays, with those of GroupNorm layers reshaped to (1, 1, 1, C) as in the released files."""
    return {
        key: a.reshape(1, 1, 1, -1) if a.ndim == 1 and re.search(r"(^|/)gn(\d|_\w+)/", key) else a
        for key, a in arrays.items()
    }


def infer_stem(shapes: Shapes) -> dict[str, Any]:
    """The fields of ViTConfig that the stem's arrays determine; none for a file without a stem.

    Misfits are found later, when names and shapes are compared with those of the resulting model. Raises
    CheckpointError for more units than any model has.
    """
    root = shapes.arrays.get("conv_root/kernel")
    if root is None or root.ndim != 4:
        return {}
    shapes.depth(r"(block\d+/unit\d+)/")
    units = {tuple(map(int, m.groups())) for key in shapes.arrays if (m := re.match(r"block(\d+)/unit(\d+)/", key))}
    count = Counter(stage for stage, _ in units)
    stem = tuple(count[stage] for stage in range(1, len(count) + 1))  # a stage left out is one of 0 units: refused
    return {"stem": stem, "stem_width": root.shape[3], "channels": root.shape[2]}
