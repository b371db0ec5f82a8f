"""How to address strided arrays in a library for column-major matrices: leading dimensions, batches, loops."""

import itertools
import math
from typing import NamedTuple

from minivit.backend.arrays import Array


class Layout(NamedTuple):
    """Matrices stored row by row, or column by column if `transposed`; of these, each starts `leading` elements after
    the one before."""

    transposed: bool
    leading: int


class Axis(NamedTuple):
    """A leading axis that several arrays share: its size, and its stride in each of them, in elements."""

    size: int
    strides: tuple[int, ...]


def layout(x: Array) -> Layout | None:
    """The layout of the matrices in the last two axes; None if neither axis is contiguous, or one runs backwards."""
    # The stride of an axis of size 1 says nothing: CuPy and NumPy put anything there.
    if any(size > 1 and stride < 0 for size, stride in zip(x.shape, x.strides, strict=True)):
        return None
    rows, columns = x.shape[-2:]
    row_stride, column_stride = (stride // x.itemsize for stride in x.strides[-2:])
    if (columns == 1 or column_stride == 1) and (rows == 1 or row_stride >= columns):
        return Layout(False, columns if rows == 1 else row_stride)
    if (rows == 1 or row_stride == 1) and (columns == 1 or column_stride >= rows):
        return Layout(True, rows if columns == 1 else column_stride)
    return None


def batch_and_loops(arrays: tuple[Array, ...]) -> tuple[Axis, list[Axis]]:
    """The leading axes of the arrays, of equal sizes: one that becomes a batch with one stride, and those to loop over.

    Neighbouring axes count as one where all the arrays allow it; the longest is then the batch.
    """
    axes: list[Axis] = []
    for position, size in enumerate(arrays[0].shape[:-2]):
        strides = tuple(x.strides[position] // x.itemsize for x in arrays)
        if axes and axes[-1].strides == tuple(size * stride for stride in strides):
            axes[-1] = Axis(axes[-1].size * size, strides)
        elif size > 1:
            axes.append(Axis(size, strides))
    if not axes:
        return Axis(1, (0,) * len(arrays)), []
    longest = max(axes, key=lambda axis: axis.size)
    return longest, [axis for axis in axes if axis is not longest]


def offsets(loops: list[Axis], arrays: tuple[Array, ...]) -> list[tuple[int, ...]]:
    """For every round of the loops, how many bytes into each of the arrays it starts."""
    return [
        tuple(
            x.itemsize * sum(index * axis.strides[which] for index, axis in zip(indices, loops, strict=True))
            for which, x in enumerate(arrays)
        )
        for indices in itertools.product(*(range(axis.size) for axis in loops))
    ]


def alignment(*addresses: int) -> int:
    """The largest power of two, at most 256, that divides all the addresses."""
    return math.gcd(256, *addresses)
