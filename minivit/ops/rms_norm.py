"""Normalisation by size alone (Zhang & Sennrich 2019), of later language models and of QK-norm."""

from minivit.backend import Array, xp_of
from minivit.backend.precision import widened


def rms_norm(x: Array, scale: Array, eps: float = 1e-6):
    """y = x_hat * scale,  x_hat = x / sqrt(mean(x^2) + eps).   x, y: (..., D), scale: (D,).

    With h = g * scale:  dx = (h - x_hat mean(h x_hat)) / sqrt(mean(x^2) + eps),  dscale = sum of g x_hat over all rows.
    """
    if x.ndim == 0 or scale.shape != x.shape[-1:]:
        raise ValueError(f"rms_norm: x {x.shape} and scale {scale.shape} do not agree in D")
    x = widened(x)
    inverse_size = 1 / xp_of(x).sqrt((x * x).mean(axis=-1, keepdims=True) + eps)
    x_hat = x * inverse_size
    y = x_hat * scale

    def vjp(g):
        h = g * scale
        dx = h - x_hat * (h * x_hat).mean(axis=-1, keepdims=True)
        return dx * inverse_size, (g * x_hat).sum(axis=tuple(range(x.ndim - 1)))

    return y, vjp
