"""q4 and q5: LayerNorm and its gradients, by hand."""

import numpy as np


def normalise(x, scale, bias, eps):
    """x (..., D) -> the same shape."""
    # BEGIN SOLUTION q4
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    return centred / np.sqrt(variance + eps) * scale + bias
    # END SOLUTION


def normalise_backward(x, scale, bias, eps, g):
    """x, g (..., D) -> dx like x, dscale (D,), dbias (D,)."""
    # BEGIN SOLUTION q5
    centred = x - x.mean(axis=-1, keepdims=True)
    inverse = 1 / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps)
    x_hat = centred * inverse
    h = g * scale
    across = h.mean(axis=-1, keepdims=True)
    along = (h * x_hat).mean(axis=-1, keepdims=True)
    dx = inverse * (h - across - x_hat * along)
    rows = tuple(range(x.ndim - 1))
    return dx, (g * x_hat).sum(axis=rows), g.sum(axis=rows)
    # END SOLUTION
