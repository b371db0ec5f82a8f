"""q6: how alike position embeddings are."""

import numpy as np


def cosines(table, grid):
    """(N, D) -> (rows, columns, rows, columns)."""
    # BEGIN SOLUTION q6
    unit = table / np.sqrt((table**2).sum(axis=1, keepdims=True))
    return (unit @ unit.T).reshape(*grid, *grid)
    # END SOLUTION
