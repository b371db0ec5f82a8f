"""Resizing of maps: the products of the op, through `product`, so that they can be in a recorded step."""

from minivit.backend.arrays import Array, xp_of
from minivit.backend.cupy_kernels.launch import contiguous, fits
from minivit.backend.cupy_kernels.product import product
from minivit.backend.cupy_kernels.table import register
from minivit.backend.resizing import matrices


@register("resize")
def resize(x, size, method="bilinear", scale=None):
    if x.ndim != 4 or len(size) != 2 or not fits(x):
        return NotImplemented
    x = x.astype("float32", copy=False)
    a, b = matrices(x, size, method, scale)

    def vjp(g):
        return (_both_ways(contiguous(g), a, b, transposed=True),)

    return _both_ways(contiguous(x), a, b), vjp


def _both_ways(x: Array, a: Array, b: Array, transposed: bool = False) -> Array:
    """a x b^T for every channel, or a^T x b; one matrix for all images is a batch whose stride is 0."""
    xp, (batch, rows, columns, channels) = xp_of(x), x.shape
    a = xp.broadcast_to(a, (batch, *a.shape))
    down = product(a, x.reshape(batch, rows, columns * channels), transpose_a=transposed)
    lines = down.reshape(-1, columns, channels)
    across = product(xp.broadcast_to(b, (len(lines), *b.shape)), lines, transpose_a=transposed)
    return across.reshape(batch, -1, across.shape[1], channels)
