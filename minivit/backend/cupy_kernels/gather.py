"""Rows by number. A wrong number goes unnoticed or gives NaN: to raise, the host would have to wait for the GPU."""

import numpy as np

from minivit.backend.arrays import xp_of
from minivit.backend.cupy_kernels.launch import contiguous, fits, kernel
from minivit.backend.cupy_kernels.table import register

ROWS_PER_BLOCK = 4  # one warp each
COLUMNS = 512  # of a row of the table, for a warp of the backward pass


@register("select")
def select(x, index):
    xp = xp_of(x)
    index = xp.array(index)
    if x.ndim < 2 or index.ndim != 2 or len(index) != len(x) or index.dtype.kind not in "iu":
        return NotImplemented
    rows, shape = xp.arange(len(x))[:, None], x.shape

    def vjp(g):
        dx = xp.zeros(shape, dtype=g.dtype)
        dx[rows, index] = g
        return dx, None

    return x[rows, index], vjp


@register("embedding")
def embedding(table, ids):
    xp = xp_of(table)
    ids = xp.asarray(ids)
    if table.ndim != 2 or ids.dtype.kind not in "iu" or not ids.size or not fits(table) or table.dtype != "float32":
        return NotImplemented
    table, ids = contiguous(table), ids.astype("int32", order="C")  # a copy, which the caller cannot change
    rows, width = table.shape
    y = xp.empty((*ids.shape, width), "float32")
    sizes = np.int64(ids.size), np.int32(rows), np.int32(width)
    kernel("embedding.cu", "embedding_forward")(-(-ids.size // ROWS_PER_BLOCK), 128, table, ids, y, *sizes)

    def vjp(g):
        dtable = xp.empty((rows, width), "float32")
        backward = kernel("embedding.cu", "embedding_backward")
        grid = -(-rows // ROWS_PER_BLOCK), -(-width // COLUMNS)
        backward(grid, 128, contiguous(g.astype("float32", copy=False)), ids, dtable, *sizes)
        return dtable, None

    return y, vjp
