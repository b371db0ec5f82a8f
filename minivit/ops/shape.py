"""Moving elements without changing them: each derivative moves the cotangent back."""

import itertools

from minivit.backend import Array, is_array, xp_of


def reshape(x: Array, shape: tuple[int, ...]):
    """y = x read in row-major order into `shape` (one length may be -1).   dx = g reshaped back."""
    y = x.reshape(shape)
    old_shape = x.shape  # capturing x itself would keep it alive for nothing; so in all of this file

    def vjp(g):
        return (g.reshape(old_shape),)

    return y, vjp


def transpose(x: Array, axes: tuple[int, ...] | None = None):
    """y = x with its axes in the order `axes` (default: reversed).   dx = g with the inverse order."""
    y = x.transpose(axes)

    def vjp(g):
        if axes is None:
            return (g.transpose(),)
        positive = [a % g.ndim for a in axes]
        return (g.transpose(sorted(range(g.ndim), key=positive.__getitem__)),)

    return y, vjp


def getitem(x: Array, index: object):
    """y = x[index], any NumPy index.   dx is g at the chosen places, summed where one was chosen twice, 0 elsewhere."""
    y = x[index]
    shape = x.shape

    def vjp(g):
        xp = xp_of(g)
        dx = xp.zeros(shape, dtype=g.dtype)
        parts = index if isinstance(index, tuple) else (index,)
        if any(is_array(part) or isinstance(part, list | tuple | range) for part in parts):
            xp.add.at(dx, index, g)  # such an index may name a place twice
        else:
            dx[index] = g
        return (dx,)

    return y, vjp


def concat(*xs: Array, axis: int = 0):
    """y = the xs one after another along `axis`; they agree in every other length.   dx_k = its slice of g."""
    y = xp_of(xs[0]).concatenate(xs, axis=axis)
    ends = list(itertools.accumulate(x.shape[axis] for x in xs))

    def vjp(g):
        before = (slice(None),) * (axis % g.ndim)
        return tuple(g[(*before, slice(start, end))] for start, end in zip([0, *ends], ends, strict=False))

    return y, vjp


def pad(x: Array, pad_width: tuple[tuple[int, int], ...], value: float = 0.0):
    """y = x with (before, after) elements of `value` added on each axis.   dx = the middle of g."""
    y = xp_of(x).pad(x, pad_width, constant_values=value)
    middle = tuple(slice(low, low + n) for (low, _), n in zip(pad_width, x.shape, strict=True))

    def vjp(g):
        return (g[middle],)

    return y, vjp


def broadcast_to(x: Array, shape: tuple[int, ...]):
    """y = x stretched to `shape`.   dx = g; the engine sums it over the stretched axes."""
    y = xp_of(x).broadcast_to(x, shape)

    def vjp(g):
        return (g,)

    return y, vjp
