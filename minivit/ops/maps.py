"""Whole maps made larger, smaller or shifted."""

from minivit.backend import Array, xp_of
from minivit.backend.resizing import matrices


def resize(x: Array, size: tuple[int, int], method: str = "bilinear", scale: tuple[float, float] | None = None):
    """y = A x B^T for every channel, A (new rows, rows) and B (new columns, columns) the constant matrices of `method`.

    x: (B, rows, columns, C), y: (B, new rows, new columns, C), size: (new rows, new columns). The methods, and what
    scale does, are described at `backend.resizing.resize_matrix`; a kernel (h, w, C, E) is resized as one map of C E
    channels.   dx = A^T g B.
    """
    if x.ndim != 4 or len(size) != 2:
        raise ValueError(f"resize: x {x.shape} is not (B, height, width, C), or size {size} is not (height, width)")
    a, b = matrices(x, size, method, scale)
    y = _both_ways(x, a, b)

    def vjp(g):
        return (_both_ways(g, a.T, b.T),)

    return y, vjp


def _both_ways(x: Array, a: Array, b: Array) -> Array:
    """a x b^T for every channel."""
    batch, rows, columns, channels = x.shape
    down = (a @ x.reshape(batch, rows, columns * channels)).reshape(batch, len(a), columns, channels)
    return xp_of(x).matmul(b, down)
