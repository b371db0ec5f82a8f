"""Fitting a power law, and its typical slips: for the judge of exercise 15.3."""

from collections.abc import Callable
from functools import partial

import numpy as np

Pair = tuple[float, float]


def power_law(n: np.ndarray, error: np.ndarray) -> Pair:
    """Least squares of log error = log a - b log n."""
    slope, intercept = np.polyfit(np.log(n), np.log(error), 1)
    return np.exp(intercept), -slope


def _straight_line(n: np.ndarray, error: np.ndarray) -> Pair:
    slope, intercept = np.polyfit(n, error, 1)
    return intercept, -slope


def _exponential(n: np.ndarray, error: np.ndarray) -> Pair:
    slope, intercept = np.polyfit(n, np.log(error), 1)
    return np.exp(intercept), -slope


def _through_one(n: np.ndarray, error: np.ndarray) -> Pair:
    """a = 1."""
    return 1.0, -(np.log(n) @ np.log(error)) / (np.log(n) @ np.log(n))


def _sizes_from_errors(n: np.ndarray, error: np.ndarray) -> Pair:
    """Least squares of log n."""
    slope, intercept = np.polyfit(np.log(error), np.log(n), 1)
    return np.exp(-intercept / slope), -1 / slope


def _errors_as_they_are(n: np.ndarray, error: np.ndarray) -> Pair:
    """Least squares of error - a n^-b, by Gauss and Newton."""
    a, b = power_law(n, error)
    for _ in range(50):
        model = a * n**-b
        step = np.linalg.lstsq(np.stack([model / a, -model * np.log(n)], axis=1), error - model, rcond=None)[0]
        a, b = a + step[0], b + step[1]
    return a, b


def _weighted_by_size(n: np.ndarray, error: np.ndarray) -> Pair:
    slope, intercept = np.polyfit(np.log(n), np.log(error), 1, w=np.sqrt(n))
    return np.exp(intercept), -slope


def _fit_to(part: slice | list[int], n: np.ndarray, error: np.ndarray) -> Pair:
    return power_law(n[part], error[part])


def _logarithms_to(base: float, n: np.ndarray, error: np.ndarray) -> Pair:
    """exp of a logarithm to another base."""
    a, b = power_law(n, error)
    return np.exp(np.log(a) / np.log(base)), b


# what is said -> a function that makes this mistake
SLIPS: dict[str, Callable] = {
    "The second number is the slope of the line, which is -b. The law has the minus in it already.": (
        lambda n, e: (power_law(n, e)[0], -power_law(n, e)[1])
    ),
    "The first number is log a. Undo the logarithm.": (lambda n, e: (np.log(power_law(n, e)[0]), power_law(n, e)[1])),
    "The first number is the logarithm of a to base 10. Undo it.": (
        lambda n, e: (np.log10(power_law(n, e)[0]), power_law(n, e)[1])
    ),
    "The first number is log a, the second the slope, which is -b.": (
        lambda n, e: (np.log(power_law(n, e)[0]), -power_law(n, e)[1])
    ),
    "The logarithms were to base 10, and exp undoes the natural one.": partial(_logarithms_to, 10),
    "The logarithms were to base 2, and exp undoes the natural one.": partial(_logarithms_to, 2),
    "The logarithms were natural, and 10 to a power undoes those to base 10.": (
        lambda n, e: (10 ** np.log(power_law(n, e)[0]), power_law(n, e)[1])
    ),
    "This is a straight line through e and n. Only the logarithms of the two lie on one.": _straight_line,
    "This is a straight line through log e and n, an exponential law. Take the logarithm of n as well.": (_exponential),
    "The line goes through the first and the last point and ignores the others: use least squares.": (
        partial(_fit_to, [0, -1])
    ),
    "The line goes through the first two points and ignores the others: use least squares.": (
        partial(_fit_to, slice(2))
    ),
    "These are the least squares of the errors themselves; use those of their logarithms, in which "
    "1 % counts the same at every n.": _errors_as_they_are,
    "This weighs the points by their sizes; all are to count the same.": _weighted_by_size,
    "This fits log n to log e. The errors scatter, so it is their distances from the line that count.": (
        _sizes_from_errors
    ),
    "a is 1 here: the line needs an intercept.": _through_one,
}
