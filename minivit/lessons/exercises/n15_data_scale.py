"""Exercises of notebook 15, how much data."""

import numpy as np

from minivit.lessons.exercise import Exercise
from minivit.lessons.judges import Arrays, function_like, number


def _mean_and_error(values: np.ndarray) -> Arrays:
    return np.mean(values), np.std(values, ddof=1) / np.sqrt(len(values))


def _power_law(n: np.ndarray, error: np.ndarray) -> Arrays:
    """Least squares of log error = log a - b log n."""
    slope, intercept = np.polyfit(np.log(n), np.log(error), 1)
    return np.exp(intercept), -slope


def _straight_line(n: np.ndarray, error: np.ndarray) -> Arrays:
    slope, intercept = np.polyfit(n, error, 1)
    return intercept, -slope


def _exponential(n: np.ndarray, error: np.ndarray) -> Arrays:
    slope, intercept = np.polyfit(n, np.log(error), 1)
    return np.exp(intercept), -slope


def _crossing(a1: float, b1: float, a2: float, b2: float) -> float:
    return (a1 / a2) ** (1 / (b1 - b2))


def _power_law_with_floor(n: np.ndarray, error: np.ndarray) -> Arrays:
    """For each floor c the rest is a power law; c is searched on ever finer grids for the smallest squared residual."""

    def residual(c: float) -> float:
        a, b = _power_law(n, error - c)
        return float(np.sum((a * n**-b + c - error) ** 2))

    low, high = 0.0, 0.999 * error.min()
    for _ in range(12):
        grid = np.linspace(low, high, 41)
        best, width = min(grid, key=residual), grid[1] - grid[0]
        low, high = max(0.0, best - width), min(0.999 * error.min(), best + width)
    return (*_power_law(n, error - best), best)


def _noisy_power_laws(rng: np.random.Generator) -> list[tuple]:
    """Errors that lie near power laws, at different numbers of sizes; least squares must be used to fit them."""
    cases = []
    for sizes, a, b in (
        ((500, 2e3, 1e4, 5e4), 2.0, 0.2),
        ((1e2, 1e3, 1e4), 1.5, 0.4),
        ((3, 10, 40, 90, 500), 0.9, 0.1),
    ):
        n = np.array(sizes, float)
        cases.append((n, a * n**-b * np.exp(0.05 * rng.standard_normal(len(n)))))
    return cases


def _exact_laws_with_floor(_: np.random.Generator) -> list[tuple]:
    sizes = np.array([500.0, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4])
    laws = ((sizes, 4.0, 0.3, 0.25), (sizes[:5], 2.0, 0.2, 0.1), (sizes[::2], 9.0, 0.5, 0.05))
    return [(n, a * n**-b + c) for n, a, b, c in laws]


EXERCISES = [
    Exercise(
        "15.1",
        function_like(
            _mean_and_error,
            lambda rng: [(rng.random(5),), (rng.random(3),), (rng.random(2),)],
            {
                "This is the standard deviation: how far runs differ from each other. The mean of n runs is more "
                "certain than one run, by a factor sqrt(n).": lambda v: (np.mean(v), np.std(v, ddof=1)),
                "The deviations are measured from the mean of the same runs, which lies too close to them. Divide "
                "their squares by n - 1 instead of n: ddof=1.": lambda v: (np.mean(v), np.std(v) / np.sqrt(len(v))),
                "The variance of a mean is the variance of one run over n. Its root is over sqrt(n).": (
                    lambda v: (np.mean(v), np.std(v, ddof=1) / len(v))
                ),
                "This is its square, the variance of the mean.": lambda v: (np.mean(v), np.var(v, ddof=1) / len(v)),
            },
        ),
        "To halve it takes four times as many runs.",
    ),
    Exercise(
        "15.2",
        number(
            800 * 128 / 500,
            {
                800 / 500: "An update uses a batch of 128 images, not one.",
                500 / 128: "This is how many batches 500 images fill, not how often each is used.",
                800 // (500 // 128): "So many epochs of three batches, yes; but in each, 500 - 3 * 128 images sit out.",
                800 / 3: "So many epochs of three batches, yes; but in each, 500 - 3 * 128 images sit out.",
                800: "An image is in a batch with probability 128 / 500, not in every one.",
                50_000 / 500: "This compares the two sizes; the number of updates has to come in.",
            },
            rtol=1e-2,
        ),
        "800 updates go through 50,000 images about twice. Augmentation makes repetitions differ a little.",
    ),
    Exercise(
        "15.3",
        function_like(
            _power_law,
            _noisy_power_laws,
            {
                "The second number is the slope of the line, which is -b. The law has the minus in it already.": (
                    lambda n, e: (_power_law(n, e)[0], -_power_law(n, e)[1])
                ),
                "The first number is log a. Undo the logarithm.": (
                    lambda n, e: (np.log(_power_law(n, e)[0]), _power_law(n, e)[1])
                ),
                "The logarithms were to base 10, and exp undoes the natural one.": (
                    lambda n, e: (_power_law(n, e)[0] ** (1 / np.log(10)), _power_law(n, e)[1])
                ),
                "This is a straight line through e and n. Only the logarithms of the two lie on one.": _straight_line,
                "This is a straight line through log e and n, an exponential law. Take the logarithm of n as well.": (
                    _exponential
                ),
                "The line goes through the first and the last point and ignores the others: use least squares.": (
                    lambda n, e: _power_law(n[[0, -1]], e[[0, -1]])
                ),
            },
            rtol=1e-6,
        ),
        "Least squares of the logarithms weighs relative errors: 1 % counts the same at every n.",
    ),
    Exercise(
        "15.4",
        function_like(
            _crossing,
            lambda _: [(2.0, 0.2, 1.5, 0.15), (0.9, 0.1, 3.0, 0.35), (5.0, 0.5, 4.0, 0.45)],
            {
                "This is log n. Undo the logarithm.": lambda a1, b1, a2, b2: np.log(_crossing(a1, b1, a2, b2)),
                "This is 1 / n. Either the quotient of the two a or the difference of the b is the wrong way round.": (
                    lambda a1, b1, a2, b2: 1 / _crossing(a1, b1, a2, b2)
                ),
                "n^(b1 - b2) = a1 / a2 is right. To get n from it, take the root: the exponent 1 / (b1 - b2).": (
                    lambda a1, b1, a2, b2: (a1 / a2) ** (b1 - b2)
                ),
            },
        ),
        "The exponent 1 / (b1 - b2) is large where the slopes are close: a small error of b moves the crossing far.",
    ),
    Exercise(
        "15.5",
        function_like(
            _power_law_with_floor,
            _exact_laws_with_floor,
            {
                "The floor is 0 here: this is the law of 15.3, which the points do not lie on.": (
                    lambda n, e: (*_power_law(n, e), 0)
                ),
                "The second number is the slope of the line, which is -b. The law has the minus in it already.": (
                    lambda n, e: tuple(_power_law_with_floor(n, e) * np.array([1, -1, 1]))
                ),
            },
            rtol=0.02,
        ),
        "A floor bends the line upwards, and a straight one through the same points promises too much.",
    ),
]
