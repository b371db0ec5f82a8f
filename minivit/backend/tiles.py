"""Arrays cut into pieces that fit in the cache.

A chain of NumPy functions over a large array reads and writes main memory once per function. Cut into tiles of `TILE`
elements, the same chain works inside the L2 cache.
"""

from collections.abc import Iterator

import numpy as np

from minivit.backend.arrays import Array

TILE = 1 << 17  # elements: 512 KiB of float32, a quarter of a common L2 cache


def row_tiles(rows: int, width: int) -> Iterator[slice]:
    """Slices of whole rows, about TILE elements each."""
    step = max(1, TILE // max(1, width))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def flat_tiles(*arrays: Array) -> Iterator[tuple[Array, ...]]:
    """Arrays of one shape as tuples of one-dimensional views of TILE elements at the same place in each.

    Arrays that are not contiguous, small, or not in the CPU's memory come whole.
    """
    size = arrays[0].size
    if size <= TILE or not all(isinstance(a, np.ndarray) and a.flags.c_contiguous for a in arrays):
        yield arrays
        return
    flat = [a.reshape(-1) for a in arrays]
    for start in range(0, size, TILE):
        yield tuple(a[start : start + TILE] for a in flat)
