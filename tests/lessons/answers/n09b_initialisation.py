"""Answers to the exercises of notebook 09b."""

import math

import numpy as np


def leaky_std(fan_in, a):
    kept = 0.5 + a**2 / 2
    return 1 / (fan_in * kept) ** 0.5


def size_of_outputs(W, mean):
    variance = np.diag(W.T @ W)
    centre = W.T @ mean
    return variance**0.5, (variance + centre * centre) ** 0.5


def size_by_loops(W, mean):
    std, size = [], []
    for column in W.T:
        variance = sum(w**2 for w in column)
        centre = sum(column * mean)
        std.append(variance**0.5)
        size.append((variance + centre**2) ** 0.5)
    return np.array(std), np.array(size)


def scaled_by_data(x, W):
    W = W.copy()
    for i in range(len(W)):
        y = x @ W[i]
        W[i] *= math.sqrt(y.size) / np.linalg.norm(y)
        x = (x @ W[i]).clip(0)
    return W


# number -> answers that must pass
RIGHT = {
    "9b.1": [2**-25, math.sqrt(0.5) ** 50],
    "9b.2": [math.log(1000), 6.9078],
    "9b.3": [leaky_std],
    "9b.4": [size_of_outputs, size_by_loops],
    "9b.5": [scaled_by_data],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "9b.1": [
        (0.5**50, "the mean square"),
        (2**25, "shrink"),
        (2**-12.5, "It is not"),
    ],
    "9b.2": [
        (10.0, "added to all logits alike"),
        (6.91, "more digits"),
        (0.9 * math.log(1000), "a loss too"),
        (7.0, "It is not"),
    ],
    "9b.3": [
        (lambda fan_in, a: np.sqrt(2 / np.full(len(a), fan_in)), "for ReLU"),
        (lambda fan_in, a: leaky_std(fan_in, a) ** 2, "variance"),
        (lambda fan_in, a: np.sqrt(2 / (fan_in * (1 - a * a))), "differs"),
    ],
    "9b.4": [
        (lambda W, mean: (size_of_outputs(W, mean)[0],) * 2, "holds the mean"),
        (lambda W, mean: size_of_outputs(W, mean)[::-1], "it returns (rms, std)"),
        (lambda W, mean: size_of_outputs(W.T @ W, W.T @ mean), "std has the right shape, but differs"),
    ],
    "9b.5": [
        (lambda x, W: W / np.sqrt(np.mean((x @ W) ** 2, axis=(1, 2), keepdims=True)), "a factor that is the same"),
        (lambda x, W: scaled_by_data(x, W.swapaxes(1, 2)), "differs"),
        (lambda x, W: W / np.linalg.norm(W, axis=(1, 2), keepdims=True), "a factor that is the same"),
    ],
}
