"""q5: how far attention reaches."""

import numpy as np


def distances(grid, pitch):
    """(N, N): pixels between the centres of every two patches."""
    # BEGIN SOLUTION q5
    rows, columns = np.divmod(np.arange(grid[0] * grid[1]), grid[1])
    down = pitch[0] * (rows[:, None] - rows)
    across = pitch[1] * (columns[:, None] - columns)
    return np.sqrt(down**2 + across**2)
    # END SOLUTION


def mean_distance(attention, grid, pitch):
    """(..., T, T) -> (...)."""
    # BEGIN SOLUTION q5
    count = grid[0] * grid[1]
    among = attention[..., -count:, -count:]
    among = among / among.sum(axis=-1, keepdims=True)
    return (among * distances(grid, pitch)).sum(axis=-1).mean(axis=-1)
    # END SOLUTION
