"""Sum, mean and max over axes (q3).

axis: None (all axes), an int or a tuple of ints in any order, negative ones counted from the end. keepdims: as NumPy's.
Every function returns its value and its pullback, see engine.py.
"""

import numpy as np


def sum_(x, axis, keepdims):
    """The sum of x over `axis`."""
    # BEGIN SOLUTION q3
    y = x.sum(axis=axis, keepdims=keepdims)

    def pullback(g):
        return (np.broadcast_to(restored(g, x, axis), x.shape),)

    return y, pullback


def restored(g, x, axis):
    """g with the axes of x that are gone put back at length 1."""
    return np.reshape(g, x.sum(axis=axis, keepdims=True).shape)
    # END SOLUTION


def mean(x, axis, keepdims):
    """The mean of x over `axis`."""
    # BEGIN SOLUTION q3
    y = x.mean(axis=axis, keepdims=keepdims)
    count = x.size / max(y.size, 1)

    def pullback(g):
        return (np.broadcast_to(restored(g, x, axis) / count, x.shape),)

    return y, pullback
    # END SOLUTION


def max_(x, axis, keepdims):
    """The largest of x over `axis`. Equal maxima share the gradient evenly."""
    # BEGIN SOLUTION q3
    y = x.max(axis=axis, keepdims=keepdims)

    def pullback(g):
        hit = x == restored(y, x, axis)
        return (restored(g, x, axis) * hit / hit.sum(axis=axis, keepdims=True),)

    return y, pullback
    # END SOLUTION
