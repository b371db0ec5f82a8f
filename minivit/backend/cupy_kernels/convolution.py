"""Convolution: the products of the op, through `product`, so that they can be in TF32 and in a recorded step."""

import math

from minivit.backend.arrays import xp_of
from minivit.backend.cupy_kernels.launch import contiguous, fits
from minivit.backend.cupy_kernels.product import product
from minivit.backend.cupy_kernels.table import register
from minivit.backend.windows import add_border, window_offsets


@register("conv2d")
def conv2d(x, weight, stride=1, padding="same"):
    if x.ndim != 4 or weight.ndim != 4 or x.shape[3] != weight.shape[2] or not fits(x, weight):
        return NotImplemented
    if stride < 1 or padding not in ("same", "valid") or not x.dtype == weight.dtype == "float32":
        return NotImplemented
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
