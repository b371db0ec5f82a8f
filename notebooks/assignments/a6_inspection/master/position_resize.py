"""q1: position embeddings for another grid."""

import numpy as np


def places(old, new, method):
    """(new,): where the new places lie on an axis of old ones."""
    # BEGIN SOLUTION q1
    i = np.arange(new)
    if method == "align_corners":
        return i * (old - 1) / max(1, new - 1)
    return np.clip((i + 0.5) * old / new - 0.5, 0, old - 1)
    # END SOLUTION


def between(values, where, axis):
    """Linear interpolation of an array along one axis, at places of that axis."""
    # BEGIN SOLUTION q1
    low = np.floor(where).astype(int)
    high = np.minimum(low + 1, values.shape[axis] - 1)
    shape = [1] * values.ndim
    shape[axis] = len(where)
    part = (where - low).reshape(shape)
    return (1 - part) * np.take(values, low, axis) + part * np.take(values, high, axis)
    # END SOLUTION


def resized(table, old_grid, new_grid, prefix, method):
    """(1, prefix + N, D) -> (1, prefix + N', D)."""
    # BEGIN SOLUTION q1
    grid = table[:, prefix:].reshape(1, *old_grid, -1)
    grid = between(grid, places(old_grid[0], new_grid[0], method), 1)
    grid = between(grid, places(old_grid[1], new_grid[1], method), 2)
    return np.concatenate([table[:, :prefix], grid.reshape(1, new_grid[0] * new_grid[1], -1)], axis=1)
    # END SOLUTION
