"""Vectors of length 1."""

from minivit import functional as F
from minivit.tensor import Tensor


def unit(x: Tensor, axis: int = -1, least: float = 0.0) -> Tensor:
    """x / max(|x|, least), the length taken along an axis."""
    squares = (x * x).sum(axis=axis, keepdims=True)
    return x / F.sqrt(F.maximum(squares, least**2) if least else squares)
