"""From a data set to batches: the order (q6), statistics, normalisation and augmentation (q7)."""

import numpy as np


def order(n, seed, epoch):
    """The order of the n images in one epoch: a permutation, a function of (seed, epoch)."""
    # BEGIN SOLUTION q6
    return np.random.default_rng([seed, epoch]).permutation(n)
    # END SOLUTION


def batch(n, batch_size, seed, step):
    """Which images update `step` sees: (batch_size,) numbers."""
    # BEGIN SOLUTION q6
    epoch, place = divmod(step, n // batch_size)
    return order(n, seed, epoch)[place * batch_size : (place + 1) * batch_size]
    # END SOLUTION


def statistics(images):
    """Mean and standard deviation of every channel, of pixels in [0, 1].   images: (N, h, w, C) uint8."""
    # BEGIN SOLUTION q7
    pixels = images.reshape(-1, images.shape[-1]) / 255.0
    return pixels.mean(axis=0), pixels.std(axis=0)
    # END SOLUTION


def normalized(images, mean, std):
    """uint8 images in units of the given statistics, float64."""
    # BEGIN SOLUTION q7
    return (images / 255.0 - mean) / std
    # END SOLUTION


def augmented(images, padding, seed):
    """Each image mirrored or not, and shifted by up to `padding` pixels: uint8 like `images`."""
    # BEGIN SOLUTION q7
    rng = np.random.default_rng(seed)
    count, height, width, _ = images.shape
    flips = rng.random(count) < 0.5
    tops = rng.integers(0, 2 * padding + 1, count)
    lefts = rng.integers(0, 2 * padding + 1, count)
    padded = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    out = np.empty_like(images)
    for i in range(count):
        window = padded[i, tops[i] : tops[i] + height, lefts[i] : lefts[i] + width]
        out[i] = window[:, ::-1] if flips[i] else window
    return out
    # END SOLUTION
