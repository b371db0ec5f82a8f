"""Sums over the rows of a matrix, in float32 and in a fixed order."""

import numpy as np

from minivit.backend.arrays import Array, xp_of
from minivit.backend.cupy_kernels.launch import kernel, type_name

COLUMNS_PER_BLOCK = 128
ROWS_PER_SHARE = 64
MOST_BLOCKS = 512  # of the first pass, of which each leaves partial sums


def column_sums(x: Array) -> Array:
    """Sums over the rows of x (rows, width), float32 or bfloat16."""
    rows, width = x.shape
    columns = -(-width // COLUMNS_PER_BLOCK)
    shares = max(1, min(rows // ROWS_PER_SHARE, 1 + MOST_BLOCKS // columns))
    partial = xp_of(x).empty((1, shares, width), "float32")
    sums = kernel("column_sums.cu", "column_sums", T=type_name(x))
    sums((columns, shares), 128, x, partial, None, np.int64(rows), np.int32(width))
    return finish(partial)[0]


def finish(partial: Array) -> list[Array]:
    """Sums over the rows of one or two matrices, (1 or 2, rows, width) in float32, whose rows are few: one launch.

    Each result is an array of its own, since of a gradient that is part of a larger array the engine makes a copy.
    """
    count, rows, width = partial.shape
    totals = [xp_of(partial).empty(width, "float32") for _ in range(count)]
    sums = kernel("column_sums.cu", "column_sums", T="float")
    grid = -(-width // COLUMNS_PER_BLOCK), 1, count
    sums(grid, 1024, partial, totals[0], totals[-1], np.int64(rows), np.int32(width))
    return totals
