"""Answers to the exercises of notebook 15."""

import math

import numpy as np


def mean_and_error(values):
    mean = sum(values) / len(values)
    variance = sum((x - mean) ** 2 for x in values) / (len(values) - 1)
    return mean, math.sqrt(variance / len(values))


def power_law(n, error, log=np.log):
    """The normal equations, with (1, -log n) as rows."""
    rows = np.stack([np.ones(len(n)), -log(n)], axis=1)
    log_a, b = np.linalg.solve(rows.T @ rows, rows.T @ log(error))
    return math.exp(log_a), b


def with_floor(n, error):
    """Golden-section search for the floor that leaves the straightest line."""

    def bend(c):
        a, b = power_law(n, error - c)
        return np.sum((np.log(a) - b * np.log(n) - np.log(error - c)) ** 2)

    low, high, golden = 0.0, error.min() * 0.9999, (math.sqrt(5) - 1) / 2
    for _ in range(200):
        left, right = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, right) if bend(left) < bend(right) else (left, high)
    return *power_law(n, error - low), low


# number -> answers that must pass
RIGHT = {
    "15.1": [mean_and_error],
    "15.2": [204.8, 102_400 / 500, 205],
    "15.3": [power_law],
    "15.4": [lambda a1, b1, a2, b2: math.exp((math.log(a1) - math.log(a2)) / (b1 - b2))],
    "15.5": [with_floor],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "15.1": [
        (lambda v: (v.mean(), v.std() / len(v) ** 0.5), "n - 1"),
        (lambda v: (v.mean(), v.std(ddof=1)), "standard deviation"),
        (lambda v: (v.mean(), mean_and_error(v)[1] ** 2), "square"),
        (lambda v: (np.median(v), mean_and_error(v)[1]), "differs"),
        (lambda v: v.mean(), "tuple of 2"),
    ],
    "15.2": [(1.6, "not one"), (800, "probability"), (800 // 3, "sit out"), (2, "not 2")],
    "15.3": [
        (lambda n, e: (power_law(n, e)[0], -power_law(n, e)[1]), "slope"),
        (lambda n, e: power_law(n, e, np.log10), "base 10"),
        (lambda n, e: (math.log(power_law(n, e)[0]), power_law(n, e)[1]), "Undo"),
        (lambda n, e: power_law(n[1:], e[1:]), "differs"),
        (lambda n, e: (1.0, 0.2), "differs"),
    ],
    "15.4": [
        (lambda a1, b1, a2, b2: (a2 / a1) ** (1 / (b1 - b2)), "wrong way round"),
        (lambda a1, b1, a2, b2: (a1 / a2) ** (b1 - b2), "root"),
        (lambda a1, b1, a2, b2: a1 / a2 / (b1 - b2), "differs"),
    ],
    "15.5": [
        (lambda n, e: (*power_law(n, e), 0.0), "15.3"),
        (lambda n, e: tuple(np.array(with_floor(n, e)) * [1, -1, 1]), "slope"),
        (lambda n, e: (*power_law(n, e - e.min() / 2), e.min() / 2), "differs"),
    ],
}
