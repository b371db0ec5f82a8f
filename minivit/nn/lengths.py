"""Vectors of length 1."""

from minivit import functional as F
from minivit.tensor import Tensor


def unit(x: Tensor, axis: int = -1) -> Tensor:
    """x / max(|x|, 1e-12), the length taken along an axis."""
    return x / F.sqrt(F.maximum((x * x).sum(axis=axis, keepdims=True), 1e-24))
