"""q3: fixed sine-cosine positions on a grid."""

import numpy as np


def frequencies(count):
    """w_0 .. w_(count-1), count = D/4."""
    # BEGIN SOLUTION q3
    return 10_000.0 ** -(np.arange(count) / max(1, count - 1))
    # END SOLUTION


def position_table(grid, width):
    """(rows*columns, D)."""
    # BEGIN SOLUTION q3
    rows, columns = grid
    w = frequencies(width // 4)
    y = np.repeat(np.arange(rows), columns)[:, None] * w
    x = np.tile(np.arange(columns), rows)[:, None] * w
    return np.concatenate([np.sin(x), np.cos(x), np.sin(y), np.cos(y)], axis=1)
    # END SOLUTION
