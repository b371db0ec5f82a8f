"""q6: softmax and log-softmax over the last axis, and their backwards."""

import numpy as np


def softmax_of(x):
    """x (..., n) -> probabilities of the same shape."""
    # BEGIN SOLUTION q6
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
    # END SOLUTION


def log_softmax_of(x):
    """x (..., n) -> their logarithms."""
    # BEGIN SOLUTION q6
    shifted = x - x.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    # END SOLUTION


def softmax_pullback(x, g):
    """x, g (..., n) -> dx."""
    # BEGIN SOLUTION q6
    y = softmax_of(x)
    return y * (g - (g * y).sum(axis=-1, keepdims=True))
    # END SOLUTION


def log_softmax_pullback(x, g):
    """x, g (..., n) -> dx."""
    # BEGIN SOLUTION q6
    total = g.sum(axis=-1, keepdims=True)
    return g - softmax_of(x) * total
    # END SOLUTION
