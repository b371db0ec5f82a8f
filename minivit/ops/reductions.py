"""Sums and averages over axes. `axis` is None (all axes), an int or a tuple of ints; negative counts from the end."""

import math

from minivit.backend import Array, xp_of

Axis = int | tuple[int, ...] | None


def sum(x: Array, axis: Axis = None, keepdims: bool = False):
    """y = sum of x over axis.   dx_i = g for every i that was summed."""
    y = x.sum(axis=axis, keepdims=keepdims)
    shape = x.shape  # the pullback needs no more of x than this, so the tape need not keep x alive

    def vjp(g):
        return (xp_of(g).broadcast_to(restore_axes(g, len(shape), axis, keepdims), shape),)

    return y, vjp


def mean(x: Array, axis: Axis = None, keepdims: bool = False):
    """y = sum of x over axis / n.   dx_i = g / n."""
    y = x.mean(axis=axis, keepdims=keepdims)
    shape = x.shape

    def vjp(g):
        share = restore_axes(g, len(shape), axis, keepdims) / count(shape, axis)
        return (xp_of(g).broadcast_to(share, shape),)

    return y, vjp


def max(x: Array, axis: Axis = None, keepdims: bool = False):
    """y = largest x over axis.   dx = g at the place of the maximum, else 0; equal maxima share g evenly."""
    top = x.max(axis=axis, keepdims=True)  # NaN if there is one
    y = top if keepdims else top.reshape(reduced_shape(x.shape, axis))

    def vjp(g):
        hit = (x == top) | (x != x)
        share = restore_axes(g, x.ndim, axis, keepdims) / hit.sum(axis=axis, keepdims=True)
        return (xp_of(g).where(hit, share.astype(g.dtype), 0),)

    return y, vjp


def var(x: Array, axis: Axis = None, keepdims: bool = False, ddof: int = 0):
    """y = sum (x - mean)^2 / (n - ddof), in two passes.   dx_i = g 2 (x_i - mean) / (n - ddof).   NaN if n <= ddof."""
    centred = x - x.mean(axis=axis, keepdims=True)
    degrees = count(x.shape, axis) - ddof
    n = degrees if degrees > 0 else math.nan
    y = (centred * centred).sum(axis=axis, keepdims=keepdims) / n

    def vjp(g):
        return (restore_axes(g, centred.ndim, axis, keepdims) * centred * (2 / n),)

    return y, vjp


def normalise_axes(axis: Axis, ndim: int) -> tuple[int, ...]:
    """`axis` as a tuple of non-negative ints."""
    if axis is None:
        return tuple(range(ndim))
    return tuple(a % ndim for a in (axis if isinstance(axis, tuple) else (axis,)))


def count(shape: tuple[int, ...], axis: Axis) -> int:
    """How many elements one reduced value is made of."""
    return math.prod(shape[a] for a in normalise_axes(axis, len(shape)))


def reduced_shape(shape: tuple[int, ...], axis: Axis) -> tuple[int, ...]:
    """`shape` without the reduced axes."""
    axes = normalise_axes(axis, len(shape))
    return tuple(n for a, n in enumerate(shape) if a not in axes)


def restore_axes(g: Array, ndim: int, axis: Axis, keepdims: bool) -> Array:
    """`g` with the reduced axes put back at length 1, so that it broadcasts against the input."""
    if keepdims:
        return g
    axes = normalise_axes(axis, ndim)
    lengths = iter(g.shape)
    return g.reshape([1 if a in axes else next(lengths) for a in range(ndim)])
