"""Moving elements without changing them (q4).

Every function returns its value and its pullback, see engine.py.
"""

import numpy as np


def reshape(x, shape):
    """x read row by row into `shape`; one length may be -1."""
    # BEGIN SOLUTION q4
    y = x.reshape(shape)

    def pullback(g):
        return (g.reshape(x.shape),)

    return y, pullback
    # END SOLUTION


def transpose(x, axes):
    """x with its axes in the order `axes`, negative ones counted from the end; None reverses them."""
    # BEGIN SOLUTION q4
    axes = tuple(range(x.ndim))[::-1] if axes is None else tuple(a % x.ndim for a in axes)
    y = x.transpose(axes)

    def pullback(g):
        return (g.transpose(np.argsort(axes)),)

    return y, pullback
    # END SOLUTION


def broadcast_to(x, shape):
    """x stretched to `shape`."""
    # BEGIN SOLUTION q4
    y = np.broadcast_to(x, shape)

    def pullback(g):
        return (g,)

    return y, pullback
    # END SOLUTION


def getitem(x, index):
    """The places of x that `index` names: an int, slice, None, Ellipsis, int64 array, or a tuple of these.

    A place that is named twice gets both gradients.
    """
    # BEGIN SOLUTION q4
    y = x[index]

    def pullback(g):
        dx = np.zeros(x.shape)
        np.add.at(dx, index, g)
        return (dx,)

    return y, pullback
    # END SOLUTION


def concat(*xs, axis):
    """The xs one after another along `axis`, which may be negative."""
    # BEGIN SOLUTION q4
    y = np.concatenate(xs, axis=axis)
    ends = np.cumsum([x.shape[axis] for x in xs])

    def pullback(g):
        return np.split(g, ends[:-1], axis=axis)

    return y, pullback
    # END SOLUTION
