"""Exercises of notebook 15, how much data."""

import functools
from collections.abc import Callable
from functools import partial

import numpy as np

from minivit.lessons.diagnosis import diagnosed
from minivit.lessons.exercise import Exercise
from minivit.lessons.judges import number
from minivit.lessons.slips.power_law import SLIPS, power_law


def _mean_and_error(values: np.ndarray) -> tuple[float, ...]:
    return np.mean(values), np.std(values, ddof=1) / np.sqrt(len(values))


def _crossing(a1: float, b1: float, a2: float, b2: float) -> float:
    return (a1 / a2) ** (1 / (b1 - b2))


def _power_law_with_floor(n: np.ndarray, error: np.ndarray) -> tuple[float, ...]:
    return _searched(tuple(n), tuple(error))


@functools.cache
def _searched(sizes: tuple[float, ...], errors: tuple[float, ...]) -> tuple[float, ...]:
    """For each floor c the rest is a power law; c is searched on ever finer grids for the smallest squared residual."""
    n, error = np.array(sizes), np.array(errors)

    def residual(c: float) -> float:
        a, b = power_law(n, error - c)
        return float(np.sum((a * n**-b + c - error) ** 2))

    low, high = 0.0, 0.999 * error.min()
    for _ in range(12):
        grid = np.linspace(low, high, 41)
        best, width = min(grid, key=residual), grid[1] - grid[0]
        low, high = max(0.0, best - width), min(0.999 * error.min(), best + width)
    return (*power_law(n, error - best), best)


def _noisy_power_laws(rng: np.random.Generator) -> list[tuple]:
    """Errors that lie near power laws, at different numbers of sizes; least squares must be used to fit them."""
    cases = []
    for sizes, a, b in (
        ((500, 2e3, 1e4, 5e4), 2.0, 0.2),
        ((1e2, 1e3, 1e4), 1.5, 0.4),
        ((90, 3, 500, 10, 40), 0.9, 0.1),
        ((7e3, 800), 0.3, 0.05),
    ):
        n = np.array(sizes, float)
        cases.append((n, a * n**-b * np.exp(0.05 * rng.standard_normal(len(n)))))
    return cases


def _exact_laws_with_floor(_: np.random.Generator) -> list[tuple]:
    sizes = np.array([500.0, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4])
    laws = ((sizes, 4.0, 0.3, 0.2537), (sizes[:5], 2.0, 0.2, 0.0961), (sizes[[6, 0, 4, 2]], 9.0, 0.5, 0.0546))
    return [(n, a * n**-b + c) for n, a, b, c in laws]


def _no_floor(n: np.ndarray, error: np.ndarray) -> tuple[float, ...]:
    return *power_law(n, error), 0.0


def _floor_at(share: float, n: np.ndarray, error: np.ndarray) -> tuple[float, ...]:
    """The floor a fixed share of the smallest error."""
    c = share * error.min()
    return *power_law(n, error - c), c


def _noted(which: int, change: Callable[[float], float], n: np.ndarray, error: np.ndarray) -> tuple[float, ...]:
    """The right a, b, c with one of them changed."""
    found = list(_power_law_with_floor(n, error))
    found[which] = change(found[which])
    return tuple(found)


def _not_subtracted(n: np.ndarray, error: np.ndarray) -> tuple[float, ...]:
    """The right floor, but a and b of the errors with it."""
    return *power_law(n, error), _power_law_with_floor(n, error)[2]


EXERCISES = [
    Exercise(
        "15.1",
        diagnosed(
            _mean_and_error,
            lambda rng: [(rng.random(5),), (rng.random(3),), (rng.random(2),), (40 + 20 * rng.random(11),)],
            {
                "This is the standard deviation: how far runs differ from each other. The mean of R runs is more "
                "certain than one run, by a factor sqrt(R).": lambda v: (np.mean(v), np.std(v, ddof=1)),
                "This is the standard deviation, with the squares divided by R: neither is divided by R - 1, nor is "
                "the uncertainty that of a mean.": lambda v: (np.mean(v), np.std(v)),
                "The deviations are measured from the mean of the same runs, which lies too close to them. Divide "
                "their squares by R - 1 instead of R: ddof=1.": lambda v: (np.mean(v), np.std(v) / np.sqrt(len(v))),
                "The variance of a mean is the variance of one run over R. Its root is over sqrt(R).": (
                    lambda v: (np.mean(v), np.std(v, ddof=1) / len(v))
                ),
                "This is its square, the variance of the mean.": lambda v: (np.mean(v), np.var(v, ddof=1) / len(v)),
                "This is the variance: the standard error is a root, and that of a mean.": (
                    lambda v: (np.mean(v), np.var(v, ddof=1))
                ),
                "R - 1 takes the place of R once, in the variance; then divide by sqrt(R).": (
                    lambda v: (np.mean(v), np.std(v, ddof=1) / np.sqrt(len(v) - 1))
                ),
                "The root of R divides the standard deviation; this divides the variance by it.": (
                    lambda v: (np.mean(v), np.var(v, ddof=1) / np.sqrt(len(v)))
                ),
                "This is the mean distance from the mean; the standard error begins with the squares.": (
                    lambda v: (np.mean(v), np.abs(v - v.mean()).mean() / np.sqrt(len(v)))
                ),
                "This is half of the width of the 95 % interval; the standard error itself is asked.": (
                    lambda v: (np.mean(v), 1.96 * np.std(v, ddof=1) / np.sqrt(len(v)))
                ),
                "This is twice the standard error.": lambda v: (np.mean(v), 2 * _mean_and_error(v)[1]),
                "The mean is asked, not the median.": lambda v: (np.median(v), _mean_and_error(v)[1]),
                "The first number is the mean, not the sum.": lambda v: (np.sum(v), _mean_and_error(v)[1]),
            },
            results="mean error",
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
                200: "So many epochs of four batches; but 4 * 128 images are more than 500.",
                800: "An image is in a batch with probability 128 / 500, not in every one.",
                800
                / 128: "The 500 images have to come in: how many images do 800 batches have, and how many are there?",
                800 * 128: "So many images are used in all, each of the 500 its share of them.",
                800 * 500 / 128: "Upside down: more images in a batch means that each is used more often.",
                500 / (800 * 128): "This is the inverse: images there are over images used.",
                128 / 500: "This is how often an image is used in one update, on average.",
                800 * 128 / 50_000: "This is for 50,000 images; here n = 500.",
                50_000 / 500: "This compares the two sizes; the number of updates has to come in.",
            },
            rtol=1e-3,  # 205 will do
        ),
        "800 updates go through 50,000 images about twice. Augmentation makes repetitions differ a little.",
    ),
    Exercise(
        "15.3",
        diagnosed(
            power_law,
            _noisy_power_laws,
            SLIPS,
            rtol=1e-6,
            where={"there are more than two sizes": lambda n, error: len(n) > 2},
            results="a b",
        ),
        "Least squares of the logarithms weighs relative errors: 1 % counts the same at every n.",
    ),
    Exercise(
        "15.4",
        diagnosed(
            _crossing,
            lambda _: [(2.0, 0.2, 1.5, 0.15), (0.9, 0.1, 3.0, 0.35), (5.0, 0.5, 4.0, 0.45), (2.5, 0.3, 0.7, 0.55)],
            {
                "This is log n. Undo the logarithm.": lambda a1, b1, a2, b2: np.log(_crossing(a1, b1, a2, b2)),
                "This is the logarithm of n to base 10. Undo it.": (
                    lambda a1, b1, a2, b2: np.log10(_crossing(a1, b1, a2, b2))
                ),
                "This is 1 / n. Either the quotient of the two a or the difference of the b is the wrong way round.": (
                    lambda a1, b1, a2, b2: 1 / _crossing(a1, b1, a2, b2)
                ),
                "n^(b1 - b2) = a1 / a2 is right. To get n from it, take the root: the exponent 1 / (b1 - b2).": (
                    lambda a1, b1, a2, b2: (a1 / a2) ** (b1 - b2)
                ),
                "n stands to the powers -b1 and -b2. Divide one by the other: the exponents are subtracted, not "
                "added.": lambda a1, b1, a2, b2: (a1 / a2) ** (1 / (b1 + b2)),
                "n^-b1 / n^-b2 is a power of n with the difference of the exponents, not their quotient.": (
                    lambda a1, b1, a2, b2: (a1 / a2) ** (b1 / b2)
                ),
                "n is a power of the quotient a1 / a2, not a multiple: take a root, do not divide by b1 - b2.": (
                    lambda a1, b1, a2, b2: a1 / a2 / (b1 - b2)
                ),
                "This would be for straight lines, a - b n. The laws are powers of n.": (
                    lambda a1, b1, a2, b2: (a1 - a2) / (b1 - b2)
                ),
                "The quotient of a1 and a2 is right, but the exponent of n is b1 - b2.": (
                    lambda a1, b1, a2, b2: a1 / a2
                ),
                "From the logarithms follows log n = (log a1 - log a2) / (b1 - b2); this takes the logarithm of the "
                "difference.": lambda a1, b1, a2, b2: np.exp(np.log(abs(a1 - a2)) / (b1 - b2)),
                "The logarithms of a are natural, so n is exp of the quotient, not 10 to its power.": (
                    lambda a1, b1, a2, b2: 10 ** (np.log(a1 / a2) / (b1 - b2))
                ),
                "The logarithms of a are to base 10, so n is 10 to the power of the quotient, not exp.": (
                    lambda a1, b1, a2, b2: np.exp(np.log10(a1 / a2) / (b1 - b2))
                ),
                "log n = (log a1 - log a2) / (b1 - b2): the logarithms are subtracted, not added.": (
                    lambda a1, b1, a2, b2: (a1 * a2) ** (1 / (b1 - b2))
                ),
                "The exponent has the difference of b1 and b2; this has b1 alone.": (
                    lambda a1, b1, a2, b2: (a1 / a2) ** (1 / b1)
                ),
                "The exponent has the difference of b1 and b2; this has b2 alone.": (
                    lambda a1, b1, a2, b2: (a1 / a2) ** (1 / b2)
                ),
                "a2 has to come in: it is the quotient a1 / a2.": lambda a1, b1, a2, b2: a1 ** (1 / (b1 - b2)),
                "a1 has to come in: it is the quotient a1 / a2.": lambda a1, b1, a2, b2: a2 ** (1 / (b1 - b2)),
                "This is the error at which they meet; the n is asked.": (
                    lambda a1, b1, a2, b2: a1 * _crossing(a1, b1, a2, b2) ** -b1
                ),
            },
            where={"b1 is larger than b2": lambda a1, b1, a2, b2: b1 > b2, "b1 < b2": lambda a1, b1, a2, b2: b1 < b2},
        ),
        "The exponent 1 / (b1 - b2) is large where the slopes are close: a small error of b moves the crossing far.",
    ),
    Exercise(
        "15.5",
        diagnosed(
            _power_law_with_floor,
            _exact_laws_with_floor,
            {
                "The floor is 0 here: this is the law of 15.3, which the points do not lie on.": _no_floor,
                "The second number is the slope of the line, which is -b. The law has the minus in it already.": (
                    partial(_noted, 1, lambda b: -b)
                ),
                "The first number is log a. Undo the logarithm.": partial(_noted, 0, np.log),
                "The floor is right. a and b are those of 15.3 without it: fit them to error - c.": _not_subtracted,
                "The floor is half of the smallest error here; search for the one that fits best.": (
                    partial(_floor_at, 0.5)
                ),
                "The floor is 0.9 times the smallest error here; search for the one that fits best.": (
                    partial(_floor_at, 0.9)
                ),
                "The floor is just below the smallest error, the end of the search. Which c leaves the smallest "
                "residual?": partial(_floor_at, 0.999),
                "The smallest error is not the floor: the error still falls there.": (
                    lambda n, e: (*_power_law_with_floor(n, e)[:2], e.min())
                ),
            },
            rtol=0.02,
            results="a b c",
        ),
        "A floor bends the line upwards, and a straight one through the same points promises too much.",
    ),
]
