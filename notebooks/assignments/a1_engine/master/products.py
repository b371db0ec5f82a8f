"""Matrix products (q5)."""

import numpy as np


def matmul(x, y):
    """z = x @ y as NumPy has it: leading axes broadcast, and a vector is a row on the left, a column on the right.

    Returns value and pullback, see engine.py.
    """
    # BEGIN SOLUTION q5
    z = x @ y
    row = x[None, :] if x.ndim == 1 else x
    column = y[:, None] if y.ndim == 1 else y

    def pullback(g):
        g = np.reshape(g, (row @ column).shape)
        dx = g @ column.swapaxes(-1, -2)
        dy = row.swapaxes(-1, -2) @ g
        return (dx[..., 0, :] if x.ndim == 1 else dx), (dy[..., 0] if y.ndim == 1 else dy)

    return z, pullback
    # END SOLUTION
