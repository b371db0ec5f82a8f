"""Softmax and layer normalisation: both divide a row by something made from the whole row. Elements of minus infinity
have probability 0; a row of nothing else has no softmax, and is NaN."""

from minivit.backend import Array, xp_of


def softmax(x: Array, axis: int = -1):
    """y_i = exp(x_i) / sum_j exp(x_j).   x, y: (..., n).   dx = y (g - <g, y>)."""
    e = xp_of(x).exp(x - x.max(axis=axis, keepdims=True))  # the largest exponent is 0: no overflow
    y = e / e.sum(axis=axis, keepdims=True)

    def vjp(g):
        return (y * (g - (g * y).sum(axis=axis, keepdims=True)),)

    return y, vjp


def log_softmax(x: Array, axis: int = -1):
    """y_i = x_i - log sum_j exp(x_j).   x, y: (..., n).   dx = g - softmax(x) sum_j g_j."""
    xp = xp_of(x)
    shifted = x - x.max(axis=axis, keepdims=True)
    y = shifted - xp.log(xp.exp(shifted).sum(axis=axis, keepdims=True))

    def vjp(g):
        return (g - xp.exp(y) * g.sum(axis=axis, keepdims=True),)

    return y, vjp


def layer_norm(x: Array, scale: Array, bias: Array, eps: float = 1e-6):
    """y = x_hat * scale + bias,  x_hat = (x - mean) / sqrt(var + eps)   (Ba et al. 2016).

    x, y: (..., D), scale, bias: (D,). Mean and biased variance over the last axis, in two passes: the one-pass form
    E[x^2] - E[x]^2 loses every digit when the mean is large. eps 1e-6 as in the published ViT.

    With h = g * scale:  dx = (h - mean(h) - x_hat mean(h x_hat)) / sqrt(var + eps),
    dscale = sum g x_hat,  dbias = sum g  over all rows.
    """
    if x.ndim == 0 or scale.shape != x.shape[-1:] or bias.shape != x.shape[-1:]:
        raise ValueError(f"layer_norm: x {x.shape}, scale {scale.shape} and bias {bias.shape} do not agree in D")
    centred = x - x.mean(axis=-1, keepdims=True)
    inverse_std = 1 / xp_of(x).sqrt((centred * centred).mean(axis=-1, keepdims=True) + eps)
    x_hat = centred * inverse_std
    y = x_hat * scale + bias

    def vjp(g):
        h = g * scale
        dx = h - h.mean(axis=-1, keepdims=True) - x_hat * (h * x_hat).mean(axis=-1, keepdims=True)
        rows = tuple(range(x.ndim - 1))
        return dx * inverse_std, (g * x_hat).sum(axis=rows), g.sum(axis=rows)

    return y, vjp
