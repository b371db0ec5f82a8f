"""Noise that is multiplied in: dropout and stochastic depth.

The random numbers come from a NumPy generator that the caller passes, on every backend, so a seed gives the same
masks everywhere. Inverted form: what is kept is divided by the keep rate, and nothing happens at evaluation.
"""

from typing import Any, Protocol

from minivit.backend import Array
from minivit.backend.arrays import asarray_like, masked


class Draws(Protocol):
    """Where the numbers come from: a NumPy generator, or what gives its uniform numbers in [0, 1) in its place."""

    def random(self, size: tuple[int, ...], dtype: Any = ...) -> Array: ...


def dropout(x: Array, rate: float, rng: Draws):
    """y = x m,  m = 0 with probability `rate`, else 1 / (1 - rate), per element.   dx = g m."""
    m = keep_mask(x.shape, rate, rng, x)
    y = masked(x, m)

    def vjp(g):
        return (masked(g, m),)

    return y, vjp


def drop_path(x: Array, rate: float, rng: Draws):
    """Dropout of whole samples along the first axis (stochastic depth, Huang et al. 2016).   x: (B, ...).  dx = g m."""
    m = keep_mask((x.shape[0],) + (1,) * (x.ndim - 1), rate, rng, x)
    y = masked(x, m)

    def vjp(g):
        return (masked(g, m),)

    return y, vjp


def keep_mask(shape: tuple[int, ...], rate: float, rng: Draws, like: Array) -> Array:
    """Inverted-dropout factors of `shape`: 0 or 1 / (1 - rate), as an array of the library and dtype of `like`."""
    if not 0 <= rate < 1:
        raise ValueError(f"dropout: rate is {rate}, expected 0 <= rate < 1")
    keep = rng.random(shape, dtype="float32") >= rate
    return asarray_like(keep * (1 / (1 - rate)), like)
