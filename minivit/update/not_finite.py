"""Finds the source of NaN or infinity."""

from collections.abc import Callable, Sequence
from typing import Any

from minivit.backend import Array, xp_of
from minivit.optim import SGD, AdamW
from minivit.tensor import Tensor, watch
from minivit.update.batch import Batch

NOWHERE = "the sum of loss and gradient norm over the batch"


def first_non_finite(optimizer: AdamW | SGD, batch: Batch, gradients: list[Array], again: Callable[[], Any]) -> str:
    """Where NaN or infinity first appeared in a step: inputs, parameters, a tensor of the forward pass, or a gradient.
    again: runs the forward and backward pass of the step once more."""
    named = [(f"the input {name}", x) for name, x in batch.items()]
    named += [(f"parameter {name}", p.data) for name, p in zip(optimizer.names, optimizer.parameters, strict=True)]
    for name, array in named:
        if not is_finite(array):
            return f"{name} {array.shape}"
    found: list[str] = []
    names = [""]  # of the parameters that went into the last op that had any

    def look(op: str, inputs: Any, output: Tensor) -> None:
        names[0] = ", ".join(x.name for x in inputs if isinstance(x, Tensor) and x.name) or names[0]
        if not found and not is_finite(output.data):
            shapes = ", ".join(str(getattr(x, "shape", x)) for x in inputs)
            found.append(f"the output of {op}({shapes}), at or after {names[0]}")

    with watch(look):
        again()
    for name, g in zip(optimizer.names, gradients, strict=True):
        if not found and not is_finite(g):
            found.append(f"the gradient of {name} {g.shape}")
    return found[0] if found else NOWHERE


def nearest(found: Sequence[str]) -> str:
    """The place nearest to the source, of those that several processes found in their parts of a batch."""
    return min(found, key=lambda place: 2 if place == NOWHERE else int(place.startswith("the gradient of")))


def is_finite(x: Array | int) -> bool:
    """Whether all elements are finite."""
    return bool(xp_of(x).isfinite(x).all())
