"""q7: principal components."""

import numpy as np


def axes_of(samples, count):
    """(S, ...) -> (count, ...), (count,)."""
    # BEGIN SOLUTION q7
    flat = samples.reshape(len(samples), -1)
    centred = flat - flat.mean(axis=0)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    share = sizes**2 / (sizes**2).sum()
    return directions[:count].reshape(count, *samples.shape[1:]), share[:count]
    # END SOLUTION
