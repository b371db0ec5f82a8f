"""Stand-alone self-attention as it was recorded: single layers under the names of the reference."""

from typing import Any

import numpy as np

from minivit.lineage.sasa import AttentionStem, LocalAttention
from minivit.lineage.verify import Case
from minivit.optim import global_norm
from minivit.tensor import Tensor, grad

Layer = AttentionStem | LocalAttention


def layer(weights: dict[str, np.ndarray], heads: int, stride: int, border: str) -> LocalAttention:
    """The layer of recorded weights."""
    (channels, filters), window = weights["query"].shape, weights["row_relative"].shape[-1]
    return LocalAttention(channels, filters, heads, None, "float64", window, stride, border)


def stem(weights: dict[str, np.ndarray], heads: int) -> AttentionStem:
    """The stem of recorded weights."""
    mixtures, channels, filters = weights["value"].shape
    window, rank = weights["row"].shape
    return AttentionStem(channels, filters, heads, None, "float64", window, mixtures, rank)


def views(tensors: dict[str, Any]) -> dict[str, Any]:
    """Our tensors, or their gradients, under the names of the reference: without the `weight` of a Linear."""
    return {name.removesuffix(".weight"): x for name, x in tensors.items()}


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording, by its name there. The part of a name before its first slash is a case: the layer
    with one of its borders, or the stem."""
    found: dict[str, np.ndarray] = {}
    heads = case.config["heads"]
    for kind in sorted({name.partition("/")[0] for name in case.arrays if "/" in name}):
        x = Tensor(case.images(f"{kind}/x" if f"{kind}/x" in case.arrays else "x"), requires_grad=True)
        cotangent = case.images(f"{kind}/cotangent")
        if kind.startswith("stem"):
            weights = {name.removeprefix("stem."): w for name, w in case.weights.items() if name.startswith("stem.")}
            module: Layer = stem(weights, heads)
        else:
            weights = {name: w for name, w in case.weights.items() if not name.startswith("stem.")}
            border = "masked" if kind.startswith("masked") else "zeros"
            module = layer(weights, heads, x.shape[1] // cotangent.shape[1], border)
        for name, tensor in views(dict(module.named_tensors())).items():
            tensor.data[...] = weights[name]
        found |= {f"{kind}/{name}": y for name, y in outcome(case, module, x, cotangent).items()}
    return found


def outcome(case: Case, module: Layer, x: Tensor, cotangent: np.ndarray) -> dict[str, np.ndarray]:
    """What a layer makes of its input, and the gradients of the sum of its output with the recorded cotangent."""
    tap: dict[str, Any] = {}
    y = module(x, tap=tap)
    loss = (y * cotangent).sum()
    names, learning = zip(*module.named_parameters(), strict=True)
    in_x, *gradients = grad(loss, [x, *learning])
    return {
        "output": case.laid_out(y.data),
        "loss": loss.data,
        "weights": np.moveaxis(tap["attention_weights"], 3, 1),
        "mixture": getattr(tap.get("mixture"), "data", np.zeros(0)),
        "grad_input/x": case.laid_out(in_x),
        "grad_norm": np.array(global_norm(gradients)),
        **{f"grad/{name}": g for name, g in views(dict(zip(names, gradients, strict=True))).items()},
    }
