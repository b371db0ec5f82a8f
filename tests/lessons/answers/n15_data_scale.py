"""Answers to the exercises of notebook 15."""

import math
import statistics

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


def raw_least_squares(n, error):
    """a and b by halving steps of b; for each b the best a."""

    def fitted(b):
        x = n**-b
        return x @ error / (x @ x), x

    def residual(b):
        a, x = fitted(b)
        return ((a * x - error) ** 2).sum()

    b, step = power_law(n, error)[1], 0.1
    while step > 1e-12:
        best = min((b - step, b, b + step), key=residual)
        step, b = (step / 2, b) if best == b else (step, best)
    return fitted(b)[0], b


def by_covariance(n, error):
    x, y = np.log10(n), np.log10(error)
    b = -np.cov(x, y)[0, 1] / np.var(x, ddof=1)
    return np.array([10 ** (y.mean() + b * x.mean()), b])


def floor_in_hundredths(n, error):
    def fit(c):
        return np.polyfit(np.log(n), np.log(error - c), 1, full=True)

    c = min(np.arange(0, error.min(), 0.01), key=lambda c: fit(c)[1][0])
    slope, start = fit(c)[0]
    return np.exp(start), -slope, c


# number -> answers that must pass
RIGHT = {
    "15.1": [
        mean_and_error,
        lambda v: np.array([v.mean(), v.std(ddof=1) / len(v) ** 0.5]),
        lambda v: [np.average(v), np.std(v) / math.sqrt(len(v) - 1)],
        lambda v: (statistics.mean(v.tolist()), statistics.stdev(v.tolist()) / math.sqrt(len(v))),
    ],
    "15.2": [204.8, 102_400 / 500, 205, np.array([204.8])],
    "15.3": [power_law, by_covariance],
    "15.4": [
        lambda a1, b1, a2, b2: math.exp((math.log(a1) - math.log(a2)) / (b1 - b2)),
        lambda a1, b1, a2, b2: (a2 / a1) ** (1 / (b2 - b1)),
    ],
    "15.5": [with_floor],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "15.1": [
        (lambda v: (v.mean(), v.std() / len(v) ** 0.5), "R - 1"),
        (lambda v: (v.mean(), v.std(ddof=1)), "standard deviation"),
        (lambda v: (v.mean(), mean_and_error(v)[1] ** 2), "square"),
        (lambda v: (np.median(v), mean_and_error(v)[1]), "not the median"),
        (lambda v: v.mean(), "tuple of 2"),
        (lambda v: (v.mean(), v.std(ddof=1) / len(v)), "over sqrt(R)"),
        (lambda v: mean_and_error(v)[::-1], "another order"),
        (lambda v: (v.mean(), 1.96 * mean_and_error(v)[1]), "95 %"),
        (lambda v: (v.mean(), np.ptp(v)), "mean is right"),
    ],
    "15.2": [
        (1.6, "not one"),
        (800, "probability"),
        (800 // 3, "sit out"),
        (200, "more than 500"),
        (2.048, "50,000"),
        (102_400, "in all"),
        (2, "not 2"),
        (203, "not 203"),
        (206.5, "not 206.5"),
    ],
    "15.3": [
        (lambda n, e: (power_law(n, e)[0], -power_law(n, e)[1]), "slope"),
        (lambda n, e: power_law(n, e, np.log10), "base 10"),
        (lambda n, e: (math.log(power_law(n, e)[0]), power_law(n, e)[1]), "Undo"),
        (raw_least_squares, "errors themselves"),
        (lambda n, e: power_law(n, e)[::-1], "another order"),
        (lambda n, e: power_law(n[:2], e[:2]), "first two points"),
        (lambda n, e: power_law(n[[0, -1]], e[[0, -1]]), "first and the last"),
        (lambda n, e: (1.0, 0.2), "differs"),
    ],
    "15.4": [
        (lambda a1, b1, a2, b2: (a2 / a1) ** (1 / (b1 - b2)), "wrong way round"),
        (lambda a1, b1, a2, b2: (a1 / a2) ** (b1 - b2), "root"),
        (lambda a1, b1, a2, b2: a1 / a2 / (b1 - b2), "not a multiple"),
        (lambda a1, b1, a2, b2: (a1 - a2) / (b1 - b2), "straight lines"),
        (lambda a1, b1, a2, b2: (math.log(a1) - math.log(a2)) / (b1 - b2), "Undo the logarithm"),
        (lambda a1, b1, a2, b2: (a1 / a2) ** (1 / (b1 + b2)), "not added"),
        (lambda a1, b1, a2, b2: (a1 / a2) ** (1 / abs(b1 - b2)), "b1 < b2"),
    ],
    "15.5": [
        (floor_in_hundredths, "c"),
        (lambda n, e: (*power_law(n, e), 0.0), "15.3"),
        (lambda n, e: tuple(np.array(with_floor(n, e)) * [1, -1, 1]), "slope"),
        (lambda n, e: (*power_law(n, e - e.min() / 2), e.min() / 2), "half of the smallest"),
        (lambda n, e: (*power_law(n, e), with_floor(n, e)[2]), "fit them to error - c"),
        (lambda n, e: (math.log(with_floor(n, e)[0]), *with_floor(n, e)[1:]), "Undo the logarithm"),
        (lambda n, e: (*with_floor(n, e)[:2], e.min()), "not the floor"),
        (lambda n, e: with_floor(n, e)[::-1], "another order"),
    ],
}

# number -> a change of a right answer that leaves it right -> why
EQUIVALENT = {
    "15.3": {
        "b = -np.cov(y, x)[0, 1] / np.var(x, ddof=1)": "a covariance is symmetric",
    },
    "15.5": {
        "for _ in range(…": "a step more or less of 200 that halve the interval many times over",
        "low, high, golden = (…": "another interval or another ratio, in which the search still ends at the floor",
        "return np.mean((np.log(a) - b * np.log(n) - np.log(error - c)) ** 2)": "a factor does not move a minimum",
        "low, high = … bend(left) <= bend(right) else (left, high)": "where the two are equal, either side will do",
    },
}
