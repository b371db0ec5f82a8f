"""Convolution and max-pooling of images, channels last, as sums and maxima over shifted copies of the image."""

import math

from minivit.backend import Array, xp_of
from minivit.backend.windows import add_border, window_offsets


def conv2d(x: Array, weight: Array, stride: int = 1, padding: str = "same"):
    """y[b, i, j] = sum over u, v of  x[b, s i + u, s j + v] W[u, v]   (x with its border; s = stride).

    x: (B, height, width, C), weight: (window rows, window columns, C, E), y: (B, rows, columns, E).
    padding: "same" as in TensorFlow (rows = ceil(height / s), zeros around, the odd one below or right) or "valid"
    (windows inside the image only). Like every deep-learning library's, this "convolution" does not mirror W.

    One matrix product for each place (u, v) of the window: of all pixels there with W[u, v]. Hence
    dx = sum over u, v of  g W[u, v]^T, put back where the pixels came from;  dw[u, v] = (pixels there)^T g.
    """
    if x.ndim != 4 or weight.ndim != 4 or x.shape[3] != weight.shape[2] or 0 in weight.shape[:2]:
        raise ValueError(
            f"conv2d: x {x.shape} and weight {weight.shape} are not (B, height, width, C) and (h, w, C, E)"
        )
    if stride < 1 or padding not in ("same", "valid"):
        raise ValueError(f'conv2d: stride is {stride}, padding "{padding}", expected 1 or more, and "same" or "valid"')
    window = weight.shape[:2]
    bordered, inside, count = add_border(x, window, stride, padding)
    if min(count) < 1:
        raise ValueError(f"conv2d: no {window[0]}x{window[1]} window lies inside images of {x.shape[1]}x{x.shape[2]}")
    offsets = window_offsets(window, stride, count)
    places = (len(x), *count)  # of windows
    rows = (math.prod(places), x.shape[3])  # the pixels at one place of the window, each a row of a matrix
    y = sum(bordered[pixels].reshape(rows) @ weight[uv] for uv, pixels in offsets.items())

    def vjp(g):
        xp = xp_of(x)
        g = g.reshape(rows[0], weight.shape[3])
        dbordered, dw = xp.zeros_like(bordered), xp.zeros_like(weight)
        for uv, pixels in offsets.items():
            dbordered[pixels] += (g @ weight[uv].T).reshape(*places, rows[1])
            dw[uv] = bordered[pixels].reshape(rows).T @ g
        return dbordered[inside], dw

    return y.reshape(*places, weight.shape[3]), vjp


def max_pool2d(x: Array, window: int = 3, stride: int = 2):
    """y[b, i, j, c] = max over u, v of  x[b, s i + u, s j + v, c],  u, v = 0 .. window - 1   (s = stride).

    x: (B, height, width, C), y: (B, ceil(height / s), ceil(width / s), C): "same" padding as in TensorFlow, with minus
    infinity, which is never the maximum.

    dx is g at the maximum of each window, summed over the windows that share it. Where several are equal, which after
    a ReLU is common, the first in reading order takes all of g, as in XLA (the published code) and PyTorch.
    """
    if x.ndim != 4 or window < 1 or stride < 1:
        raise ValueError(
            f"max_pool2d: x {x.shape} is not (B, height, width, C), or window {window}, stride {stride} < 1"
        )
    bordered, inside, count = add_border(x, (window, window), stride, "same", fill=-float("inf"))
    offsets = window_offsets((window, window), stride, count)
    xp = xp_of(x)
    y = bordered[offsets[0, 0]]
    for pixels in offsets.values():
        y = xp.maximum(y, bordered[pixels])

    def vjp(g):
        dbordered = xp.zeros_like(bordered)
        searching = xp.ones(y.shape, dtype=bool)  # windows whose maximum has not been met yet
        for pixels in offsets.values():
            found = searching & (bordered[pixels] == y)
            dbordered[pixels] += xp.where(found, g, 0)
            searching &= ~found
        return (dbordered[inside],)

    return y, vjp
