"""CPU kernels of ops that choose rows by number."""

import numpy as np

from minivit.backend.kernels import register


@register("embedding", np.ndarray)
def embedding(table, ids):
    ids = np.array(ids)
    if table.ndim != 2 or ids.dtype.kind not in "iu" or not ids.size or ids.min() < 0 or ids.max() >= len(table):
        return NotImplemented
    shape = table.shape

    def vjp(g):
        flat, g_rows = ids.reshape(-1), g.reshape(ids.size, shape[1])
        order = np.argsort(flat, kind="stable")
        rows, starts, counts = np.unique(flat[order], return_index=True, return_counts=True)
        dtable = np.zeros(shape, g.dtype)
        once = counts == 1
        dtable[rows[once]] = g_rows[order[starts[once]]]
        repeated = (part[~once].tolist() for part in (rows, starts, counts))
        ones = np.ones(counts.max(), g.dtype)
        for row, start, count in zip(*repeated, strict=True):  # a product is faster than add.at and add.reduceat
            dtable[row] = ones[:count] @ g_rows[order[start : start + count]]
        return dtable, None

    return table[ids], vjp
