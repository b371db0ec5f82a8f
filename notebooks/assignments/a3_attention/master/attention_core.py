"""Scaled dot-product attention and its backward pass, for all heads at once (q1, q2)."""

import math

import numpy as np


def weights(q, k, mask):
    """A (B, H, M, N): what share of its attention each query gives to each key."""
    # BEGIN SOLUTION q1
    scores = q @ np.swapaxes(k, -1, -2) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = np.where(mask, scores, -np.inf)
    top = scores.max(axis=-1, keepdims=True)
    top = np.where(top == -np.inf, 0.0, top)
    e = np.exp(scores - top)
    total = e.sum(axis=-1, keepdims=True)
    return e / np.where(total == 0, 1.0, total)
    # END SOLUTION


def attend(q, k, v, mask):
    """y (B, H, M, V)."""
    # BEGIN SOLUTION q1
    return weights(q, k, mask) @ v
    # END SOLUTION


def attend_backward(q, k, v, mask, g):
    """(dq, dk, dv) of sum(g * y)."""
    # BEGIN SOLUTION q2
    a = weights(q, k, mask)
    dv = np.swapaxes(a, -1, -2) @ g
    da = g @ np.swapaxes(v, -1, -2)
    ds = a * (da - (da * a).sum(axis=-1, keepdims=True))
    scale = 1 / math.sqrt(q.shape[-1])
    dq = scale * ds @ k
    dk = scale * np.swapaxes(ds, -1, -2) @ q
    return dq, dk, dv
    # END SOLUTION
