"""Answers to the exercises of notebook 13."""

import math

import numpy as np


def balanced(labels, predictions, classes):
    shares = []
    for k in range(classes):
        right = [p == k for y, p in zip(labels, predictions, strict=True) if y == k]
        if right:
            shares.append(sum(right) / len(right))
    return sum(shares) / len(shares)


def search(final_loss, low=-6.0, high=0.0, rounds=((13, 0.5), (5, 0.16)), space=lambda x: 10.0**x):
    """Grids of `count` points, each around the best point of the one before, `reach` to both sides."""
    best = math.inf, 0.0
    for count, reach in rounds:
        for x in np.linspace(low, high, count):
            loss = final_loss(space(x))
            if loss < best[0]:  # False for nan
                best = loss, x
        low, high = best[1] - reach, best[1] + reach
    return space(best[1])


def two_rounds(final_loss):
    return search(final_loss, rounds=((13, 0.375), (7, 0.1)))


def takes_nan(final_loss):
    losses = [final_loss(10.0**x) for x in np.linspace(-6, 0, 13)]
    return 10.0 ** np.linspace(-6, 0, 13)[int(np.argmin(losses))]


RIGHT = {
    "13.1": [math.log(100), -np.log(0.01), 4.605],
    "13.2": [lambda gradients, sizes: sum(n * g for n, g in zip(sizes, gradients, strict=True)) / sum(sizes)],
    "13.3": [balanced],
    "13.4": [two_rounds],
}

WRONG = {
    "13.1": [(100, "not 100"), (2, "base 10"), (math.log(10), "10 classes"), (0.01, "minus its logarithm")],
    "13.2": [
        (lambda gradients, sizes: gradients.mean(axis=0), "small piece"),
        (lambda gradients, sizes: sum(gradients), "sum of gradients"),
        (lambda gradients, sizes: (gradients / sizes[:, None]).sum(axis=0), "differs"),
    ],
    "13.3": [
        (lambda y, p, classes: (y == p).mean(), "plain accuracy"),
        (lambda y, p, classes: balanced(y, p, classes) * len(set(y)) / classes, "without images counts as 0"),
        (lambda y, p, classes: balanced(p, y, classes), "by what was predicted"),
        (lambda y, p, classes: float(np.mean([(y[y == k] == p[y == k]).sum() for k in set(y)])), "differs"),
    ],
    "13.4": [
        (takes_nan, "leave out what is not finite"),
        (lambda final_loss: search(final_loss, rounds=((60, 1),)), "more than 20 runs"),
        (lambda final_loss: search(final_loss, rounds=((7, 1),)), "was best"),
        (lambda final_loss: search(final_loss, 1e-6, 1, ((20, 1),), space=float), "It chose"),
        (lambda final_loss: 1e-3, "It chose"),
    ],
}
