"""Selection by index: some tokens of every sequence, some rows of a table.

`getitem` can do both. Its derivative must handle any index, and is many times slower.
"""

from minivit.backend import Array, xp_of


def select(x: Array, index: Array):
    """y[b, m] = x[b, index[b, m]]: some tokens of every sequence, or all of them in another order.

    x: (B, N, ...), index: (B, M) integers, y: (B, M, ...). No row of `index` names a place twice (for that there is
    getitem), so the derivative puts numbers in their places and need not add. No gradient for index.

    dx is g at the chosen places, 0 elsewhere.   Raises ValueError for a place named twice, IndexError for one outside.
    """
    xp = xp_of(x)
    index = xp.array(index)  # a copy, which the caller cannot change
    if x.ndim < 2 or index.ndim != 2 or len(index) != len(x) or index.dtype.kind not in "iu":
        raise ValueError(
            f"select: x {x.shape} and index {index.shape} {index.dtype} are not (B, N, ...) and integers (B, M)"
        )
    rows = xp.arange(len(x))[:, None]
    y = x[rows, index]
    chosen = xp.zeros(x.shape[:2], dtype=bool)
    chosen[rows, index] = True
    if int(chosen.sum()) < index.size:
        raise ValueError("select: a row of index names a place twice, which only getitem allows")
    shape = x.shape

    def vjp(g):
        dx = xp.zeros(shape, dtype=g.dtype)
        dx[rows, index] = g
        return dx, None

    return y, vjp


def embedding(table: Array, ids: Array):
    """y[...] = table[ids[...]]: the vectors of words by their numbers.

    table: (V, D), ids: (...) integers in 0..V-1, y: (..., D). No gradient for ids.   Raises ValueError for ids outside.

    dtable = in each row the sum of g over the places that name it.
    """
    xp = xp_of(table)
    ids = xp.array(ids)  # a copy, which the caller cannot change
    if table.ndim != 2 or ids.dtype.kind not in "iu":
        raise ValueError(f"embedding: table {table.shape} and ids {ids.shape} {ids.dtype} are not (V, D) and integers")
    if ids.size and (ids.min() < 0 or ids.max() >= len(table)):
        raise ValueError(f"embedding: ids span {ids.min()}..{ids.max()}, the table has rows 0..{len(table) - 1}")
    y = table[ids]
    shape = table.shape

    def vjp(g):
        dtable = xp.zeros(shape, dtype=g.dtype)
        xp.add.at(dtable, ids, g)
        return dtable, None

    return y, vjp
