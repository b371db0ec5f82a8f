"""Convolution and pooling of images, channels last, as sums and maxima over shifted copies of the image."""

import math
from typing import Any

from minivit.backend import Array, xp_of
from minivit.backend.windows import Padding, add_border, in_groups, is_padding, window_offsets


def conv2d(x: Array, weight: Array, stride: int = 1, padding: Padding = "same", groups: int = 1):
    """y[b, i, j] = sum over u, v of  x[b, s i + u, s j + v] W[u, v]   (x with its border; s = stride).

    x: (B, height, width, C), weight: (window rows, window columns, C, E), y: (B, rows, columns, E).
    padding: "same" as in TensorFlow (rows = ceil(height / s), zeros around, the odd one below or right), "valid"
    (windows inside the image only), or as in PyTorch the pixels on every side, or a pair (above and below, at the
    sides). Like every deep-learning library's, this "convolution" does not mirror W.
    groups: so many convolutions side by side, of a run of C / groups channels with a run of E / groups filters each,
    weight: (window rows, window columns, C / groups, E). Where C = E = groups it is called depthwise.

    One matrix product for each place (u, v) of the window: of all pixels there with W[u, v]. Hence
    dx = sum over u, v of  g W[u, v]^T, put back where the pixels came from;  dw[u, v] = (pixels there)^T g.
    """
    if x.ndim != 4 or weight.ndim != 4 or x.shape[3] != groups * weight.shape[2] or 0 in weight.shape[:2]:
        divided = "C" if groups == 1 else f"C / {groups}"
        raise ValueError(
            f"conv2d: x {x.shape} and weight {weight.shape} are not (B, height, width, C) and (h, w, {divided}, E)"
        )
    if stride < 1 or not is_padding(padding):
        raise ValueError(
            f'conv2d: stride is {stride}, padding "{padding}", expected 1 or more, and "same", "valid" or pixels'
        )
    if groups < 1 or weight.shape[3] % groups:
        raise ValueError(
            f"conv2d: {groups} groups do not divide the {weight.shape[3]} filters of weight {weight.shape}"
        )
    if groups > 1:
        return in_groups(conv2d, x, weight, groups, stride, padding)
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


def max_pool2d(x: Array, window: int = 3, stride: int = 2, padding: Padding = "same"):
    """y[b, i, j, c] = max over u, v of  x[b, s i + u, s j + v, c],  u, v = 0 .. window - 1   (s = stride).

    x: (B, height, width, C), y: (B, rows, columns, C). padding: as of `conv2d`, at most half a window; by default
    TensorFlow's "same", rows = ceil(height / s). The border is minus infinity, which is never the maximum.

    dx is g at the maximum of each window, summed over the windows that share it. Where several are equal, which after
    a ReLU is common, the first in reading order takes all of g, as in XLA (the published code) and PyTorch.
    """
    bordered, inside, offsets = _pooled("max_pool2d", x, window, stride, padding, -float("inf"))
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


def avg_pool2d(x: Array, window: int = 2, stride: int = 2, padding: Padding = "valid", count_border: bool = False):
    """y[b, i, j, c] = mean over u, v of  x[b, s i + u, s j + v, c],  u, v = 0 .. window - 1   (s = stride).

    x: (B, height, width, C), y: (B, rows, columns, C). padding: as of `conv2d`, at most half a window. The mean is over
    the pixels of the window that lie in the image (TensorFlow; PyTorch's count_include_pad=False), or with
    `count_border` over all, zeros of the border among them (PyTorch's default).

    dx is the sum of g / n over the windows that a pixel is in, n the number of pixels of each.
    """
    bordered, inside, offsets = _pooled("avg_pool2d", x, window, stride, padding, 0.0)
    shape, n = bordered.shape, float(window * window)
    if shape != x.shape and not count_border:
        ones = xp_of(x).zeros((1, *shape[1:3], 1), dtype=x.dtype)
        ones[inside] = 1
        n = sum(ones[pixels] for pixels in offsets.values())
    y = sum(bordered[pixels] for pixels in offsets.values()) / n

    def vjp(g):
        g = g / n
        dbordered = xp_of(g).zeros(shape, dtype=g.dtype)
        for pixels in offsets.values():
            dbordered[pixels] += g
        return (dbordered[inside],)

    return y, vjp


def _pooled(op: str, x: Array, window: int, stride: int, padding: Padding, fill: float) -> tuple[Array, Any, Any]:
    """x with its border, the index of x within it, and where in it the pixels lie for each place of a window."""
    if x.ndim != 4 or window < 1 or stride < 1:
        raise ValueError(f"{op}: x {x.shape} is not (B, height, width, C), or window {window}, stride {stride} < 1")
    widest = max(padding) if isinstance(padding, tuple) else padding
    if not is_padding(padding) or (not isinstance(widest, str) and widest > window // 2):
        raise ValueError(
            f'{op}: padding "{padding}", expected "same", "valid" or pixels, at most half of the window {window}'
        )
    bordered, inside, count = add_border(x, (window, window), stride, padding, fill)
    if min(count) < 1:
        raise ValueError(f"{op}: no {window}x{window} window lies inside images of {x.shape[1]}x{x.shape[2]}")
    return bordered, inside, window_offsets((window, window), stride, count)
