"""Noise that is multiplied in while training: dropout and stochastic depth."""

import numpy as np


def elements(x, rate, seed, training):
    """Dropout of single elements."""
    # BEGIN SOLUTION q8
    return x * _factors(x.shape, rate, seed) if training and rate > 0 else x
    # END SOLUTION


def samples(x, rate, seed, training):
    """Dropout of whole samples, along the first axis."""
    # BEGIN SOLUTION q8
    shape = (len(x),) + (1,) * (x.ndim - 1)
    return x * _factors(shape, rate, seed) if training and rate > 0 else x
    # END SOLUTION


def _factors(shape, rate, seed):
    """0 with probability `rate`, else what keeps the expectation."""
    # BEGIN SOLUTION q8
    kept = np.random.default_rng(seed).random(shape) >= rate
    return kept / (1 - rate)
    # END SOLUTION
