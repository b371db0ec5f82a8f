"""Axial attention as published code has it: names of its arrays, and what was recorded of one layer."""

import re
from typing import Any

import numpy as np

from minivit.lineage.axial import AxialAttention
from minivit.lineage.verify import Case
from minivit.optim import global_norm
from minivit.tensor import Tensor, grad

_NAMES = (  # ours -> those of axialnet.py
    (r"^qkv\.", "qkv_transform."),
    (r"^norm_qkv\.", "bn_qkv."),
    (r"^norm_scores\.", "bn_similarity."),
    (r"^norm_out\.", "bn_output."),
    (r"scale$", "weight"),
    (r"running_variance$", "running_var"),
)


def views(arrays: dict[str, Any]) -> dict[str, Any]:
    """Our arrays of a layer, or their gradients, as views under the published names and in the published shapes."""
    found = {}
    for own, x in arrays.items():
        name = own
        for pattern, theirs in _NAMES:
            name = re.sub(pattern, theirs, name)
        found[name] = x.T if own == "qkv.weight" else x
    return found


def layer(case: Case, normalise: bool) -> AxialAttention:
    """The layer of recorded weights."""
    own, config, weights = "qkv_transform.weight", case.config, case.weights
    both, channels = weights[own].shape
    axis = "width" if config.get("axis", config.get("width_axis")) in ("width", True) else "height"
    found = AxialAttention(
        channels, both // 2, config["groups"], (weights["relative"].shape[1] + 1) // 2, None, "float64", axis,
        config.get("stride", 1), normalise,
    )  # fmt: skip
    for name, view in views({name: tensor.data for name, tensor in found.named_tensors()}).items():
        view[...] = weights[name]
    return found


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording, by its name there: of a layer with running statistics (eval/), with those of the
    batch (train/), and without normalisation (paper/)."""
    found: dict[str, np.ndarray] = {}
    for kind in sorted({name.partition("/")[0] for name in case.arrays if "/" in name}):
        module = layer(case, not kind.startswith("paper")).train(kind.startswith("train"))
        name = f"{kind}/x" if f"{kind}/x" in case.arrays else "x"
        x, tap = Tensor(case.images(name), requires_grad=True), dict[str, Any]()
        y = module(x, tap=tap)
        loss = (y * case.images(f"{kind}/cotangent")).sum()
        names, learning = zip(*module.named_parameters(), strict=True)
        in_x, *gradients = grad(loss, [x, *learning])
        part = {
            "output": case.laid_out(y.data),
            "loss": loss.data,
            "weights": tap["attention_weights"].data,
            "grad_input/x": case.laid_out(in_x),
            "grad_norm": np.array(global_norm(gradients)),
            **{f"grad/{name}": g for name, g in views(dict(zip(names, gradients, strict=True))).items()},
        }
        found |= {f"{kind}/{name}": x for name, x in part.items()}
    return found
