"""Convolution: the products of the op, through `product`, so that they can be in TF32 and in a recorded step."""

import math

from minivit.backend.arrays import xp_of
from minivit.backend.cupy_kernels.launch import contiguous, fits
from minivit.backend.cupy_kernels.product import product
from minivit.backend.cupy_kernels.table import register
from minivit.backend.precision import widened
from minivit.backend.windows import add_border, in_groups, is_padding, window_offsets


@register("conv2d")
def conv2d(x, weight, stride=1, padding="same", groups=1):
    if x.ndim != 4 or weight.ndim != 4 or x.shape[3] != groups * weight.shape[2] or not fits(x, weight):
        return NotImplemented
    if stride < 1 or groups < 1 or weight.shape[3] % groups or not is_padding(padding):
        return NotImplemented
    if weight.dtype != "float32":
        return NotImplemented
    x = widened(x)  # convolutions compute in full precision, also from a bf16 value
    if groups > 1 and groups == weight.shape[3] == x.shape[3]:
        return _depthwise(x, weight[:, :, 0], stride, padding)
    if groups > 1:
        return in_groups(conv2d, x, weight, groups, stride, padding)
    bordered, inside, count = add_border(contiguous(x), weight.shape[:2], stride, padding)
    if min(count) < 1:
        return NotImplemented
    offsets = window_offsets(weight.shape[:2], stride, count)
    places = (len(x), *count)  # of windows
    rows = (math.prod(places), x.shape[3])  # the pixels at one place of the window, each a row of a matrix
    y = xp_of(x).zeros((rows[0], weight.shape[3]), dtype=x.dtype)
    for uv, pixels in offsets.items():
        product(bordered[pixels].reshape(rows), weight[uv], out=y, accumulate=True)

    def vjp(g):
        xp = xp_of(x)
        g = contiguous(g).reshape(y.shape)
        dbordered, dw = xp.zeros_like(bordered), xp.empty(weight.shape, dtype=weight.dtype)
        for uv, pixels in offsets.items():
            dbordered[pixels] += product(g, weight[uv], transpose_b=True).reshape(*places, rows[1])
            product(bordered[pixels].reshape(rows), g, transpose_a=True, out=dw[uv])
        return dbordered[inside], dw

    return y.reshape(*places, weight.shape[3]), vjp


def _depthwise(x, weight, stride, padding):
    """weight: (h, w, C), a window of one channel each: element-wise products of shifted images."""
    bordered, inside, count = add_border(x, weight.shape[:2], stride, padding)
    if min(count) < 1:
        return NotImplemented
    offsets = window_offsets(weight.shape[:2], stride, count)
    y = sum(bordered[pixels] * weight[uv] for uv, pixels in offsets.items())

    def vjp(g):
        xp = xp_of(x)
        dbordered, dw = xp.zeros_like(bordered), xp.empty(weight.shape, dtype=weight.dtype)
        for uv, pixels in offsets.items():
            dbordered[pixels] += g * weight[uv]
            dw[uv] = (g * bordered[pixels]).sum(axis=(0, 1, 2))
        return dbordered[inside], dw[:, :, None]

    return y, vjp
