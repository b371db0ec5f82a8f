"""Normalisation in convolutional networks: channels over a batch, groups of channels over an image, weights."""

import math

from minivit.backend import Array, xp_of
from minivit.backend.arrays import asarray_like


def group_norm(x: Array, scale: Array, bias: Array, groups: int = 32, eps: float = 1e-6):
    """y = x_hat * scale + bias,  x_hat = (x - mean) / sqrt(var + eps)   (Wu & He 2018).

    x, y: (B, ..., C), scale, bias: (C,). For every image and each of `groups` runs of C / groups neighbouring channels,
    mean and biased variance over all its pixels and these channels. Images do not see each other, so unlike batch
    normalisation it does the same in training and evaluation, and for any batch size. Of a single number (one pixel,
    one channel to a group) nothing is left but the bias.

    With h = g * scale:  dx = (h - mean(h) - x_hat mean(h x_hat)) / sqrt(var + eps),  means over the same elements;
    dscale = sum g x_hat,  dbias = sum g  over all pixels of all images.
    """
    if x.ndim < 2 or groups < 1 or x.shape[-1] % groups or not scale.shape == bias.shape == x.shape[-1:]:
        raise ValueError(
            f"group_norm: x {x.shape}, scale {scale.shape} and bias {bias.shape} do not agree in C, or {groups} groups "
            "do not divide it"
        )
    channels = x.shape[-1]
    grouped = (x.shape[0], math.prod(x.shape[1:-1]), groups, channels // groups)  # image, pixel, group, channel
    gains = scale.reshape(groups, -1)
    centred = x.reshape(grouped)
    centred = centred - centred.mean(axis=(1, 3), keepdims=True)
    inverse_std = 1 / xp_of(x).sqrt((centred * centred).mean(axis=(1, 3), keepdims=True) + eps)
    x_hat = centred * inverse_std
    y = (x_hat * gains + bias.reshape(groups, -1)).reshape(x.shape)

    def vjp(g):
        g = g.reshape(grouped)
        h = g * gains
        dx = h - h.mean(axis=(1, 3), keepdims=True) - x_hat * (h * x_hat).mean(axis=(1, 3), keepdims=True)
        dscale, dbias = (g * x_hat).sum(axis=(0, 1)), g.sum(axis=(0, 1))
        return (dx * inverse_std).reshape(x.shape), dscale.reshape(channels), dbias.reshape(channels)

    return y, vjp


def batch_norm(
    x: Array,
    scale: Array,
    bias: Array,
    running: tuple[Array, Array] | None = None,
    eps: float = 1e-5,
    found: dict[str, Array] | None = None,
):
    """y = x_hat * scale + bias,  x_hat = (x - mean) / sqrt(var + eps)   (Ioffe & Szegedy 2015).

    x, y: (..., C), scale, bias: (C,). For every channel, mean and biased variance over all other axes: over the
    examples too, which so see each other. `found` receives them: "mean" and, divided by n - 1 as PyTorch keeps it,
    "variance", (C,) each. With `running`, a mean and a variance (C,), these are taken instead, as constants.

    With h = g * scale:  dx = (h - mean(h) - x_hat mean(h x_hat)) / sqrt(var + eps), or with `running` h / sqrt(var +
    eps);  dscale = sum g x_hat,  dbias = sum g.
    """
    n = math.prod(x.shape[:-1])
    if x.ndim < 2 or not scale.shape == bias.shape == x.shape[-1:]:
        raise ValueError(f"batch_norm: x {x.shape}, scale {scale.shape} and bias {bias.shape} do not agree in C")
    if running is None and n < 2:
        raise ValueError(f"batch_norm: x {x.shape} has {n} values per channel, too few for a variance: use 2 or more")
    axes = tuple(range(x.ndim - 1))
    mean = x.mean(axis=axes) if running is None else asarray_like(running[0], x)
    centred = x - mean
    if running is not None:
        variance = asarray_like(running[1], x)
    else:
        variance = (centred * centred).mean(axis=axes)
        if found is not None:
            found.update(mean=mean, variance=variance * (n / (n - 1)))
    inverse_std = 1 / xp_of(x).sqrt(variance + eps)
    x_hat = centred * inverse_std
    y = x_hat * scale + bias

    def vjp(g):
        dscale, dbias = (g * x_hat).sum(axis=axes), g.sum(axis=axes)
        dx = g if running is not None else g - dbias / n - x_hat * (dscale / n)
        return dx * (scale * inverse_std), dscale, dbias

    return y, vjp


def standardise(weight: Array, eps: float = 1e-5):
    """y = (W - mean) / (std + eps)   (weight standardisation, Qiao et al. 2019, as the published hybrid computes it).

    weight, y: (..., E), such as (window rows, window columns, C, E). Mean and biased standard deviation of each of the
    E filters; eps is added to the standard deviation itself, not to the variance below the root.

    With c = W - mean, s = std + eps:  dw = (g - mean(g)) / s - c mean(g c) / (std s^2).  A filter of equal weights has
    no derivative (std is not smooth there); the second term is taken as 0.
    """
    axes = tuple(range(weight.ndim - 1))
    xp = xp_of(weight)
    centred = weight - weight.mean(axis=axes, keepdims=True)
    std = xp.sqrt((centred * centred).mean(axis=axes, keepdims=True))
    y = centred / (std + eps)

    def vjp(g):
        along = (g * y).mean(axis=axes, keepdims=True) / xp.where(std == 0, 1, std)
        return ((g - g.mean(axis=axes, keepdims=True) - centred * along) / (std + eps),)

    return y, vjp
