"""Whole maps enlarged, reduced or shifted."""

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


def roll(x: Array, shifts: int | tuple[int, ...], axes: int | tuple[int, ...]):
    """y[i] = x[i - shift], the index taken round: what leaves at one end of an axis enters at the other.

    x, y: any shape; one shift for each of `axes`.   dx = g rolled back.
    """
    moved = (shifts,) if isinstance(shifts, int) else tuple(shifts)
    along = (axes,) if isinstance(axes, int) else tuple(axes)
    if len(moved) != len(along) or not all(-x.ndim <= axis < x.ndim for axis in along):
        raise ValueError(f"roll: shifts {shifts} and axes {axes} do not fit each other, or x {x.shape}")
    y = xp_of(x).roll(x, moved, along)

    def vjp(g):
        return (xp_of(g).roll(g, tuple(-shift for shift in moved), along),)

    return y, vjp
