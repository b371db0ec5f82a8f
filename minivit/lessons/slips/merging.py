"""Merging counts, means and sums of squared deviations, with typical slips: for the judge of exercise 28.5."""

from collections.abc import Callable
from functools import partial


def merged(n1, mean1, ss1, n2, mean2, ss2):
    """Count, mean and sum of squared deviations of both parts together. Source: Chan, Golub and LeVeque 1979."""
    n, gap = n1 + n2, mean2 - mean1
    return n, mean1 + gap * (n2 / n), ss1 + ss2 + gap * gap * (n1 * n2 / n)


def _plain_mean(n1, mean1, ss1, n2, mean2, ss2):
    _, _, ss = merged(n1, mean1, ss1, n2, mean2, ss2)
    return n1 + n2, (mean1 + mean2) / 2, ss


def _without_gap(n1, mean1, ss1, n2, mean2, ss2):
    n, mean, _ = merged(n1, mean1, ss1, n2, mean2, ss2)
    return n, mean, ss1 + ss2


def _gap_weighted(weight, n1, mean1, ss1, n2, mean2, ss2):
    """weight: a function of n1 and n2, in place of n1 n2 / (n1 + n2)."""
    n, mean, _ = merged(n1, mean1, ss1, n2, mean2, ss2)
    return n, mean, ss1 + ss2 + (mean2 - mean1) ** 2 * weight(n1, n2)


def _gap_not_squared(n1, mean1, ss1, n2, mean2, ss2):
    n, mean, _ = merged(n1, mean1, ss1, n2, mean2, ss2)
    return n, mean, ss1 + ss2 + abs(mean2 - mean1) * (n1 * n2 / n)


def _variances(n1, mean1, ss1, n2, mean2, ss2):
    n, mean, ss = merged(n1, mean1, ss1, n2, mean2, ss2)
    return n, mean, ss / n


def _weighted_squares(n1, mean1, ss1, n2, mean2, ss2):
    """The mean of the two sums, weighted by the counts, as one merges variances."""
    n, mean, ss = merged(n1, mean1, ss1, n2, mean2, ss2)
    return n, mean, ss - ss1 - ss2 + (n1 * ss1 + n2 * ss2) / n


def _counts_exchanged(n1, mean1, ss1, n2, mean2, ss2):
    n, _, ss = merged(n1, mean1, ss1, n2, mean2, ss2)
    return n, (n2 * mean1 + n1 * mean2) / n, ss


def _through_squares(n1, mean1, ss1, n2, mean2, ss2):
    n, mean, _ = merged(n1, mean1, ss1, n2, mean2, ss2)
    return n, mean, (ss1 + n1 * mean1**2) + (ss2 + n2 * mean2**2) - n * mean**2


# what is said -> a function that makes this mistake
SLIPS: dict[str, Callable] = {
    "The means must be weighted by the counts.": _plain_mean,
    "Each part's deviations are from its own mean. From the common mean they are larger: a term with the "
    "gap between the two means is missing.": _without_gap,
    "The gap between the means is one number, but all numbers of both parts are off: write out the sum "
    "over each part.": partial(_gap_weighted, lambda n1, n2: 1),
    "The term with the gap has the right form but not the right counts: n1 times the square of the way to "
    "the common mean, and n2 times that of the other way.": partial(_gap_weighted, lambda n1, n2: n1 + n2),
    "The two parts are off by different amounts: neither by the whole gap.": (
        partial(_gap_weighted, lambda n1, n2: n1 * n2)
    ),
    "The two parts are off by different amounts; this takes half the gap for each.": (
        partial(_gap_weighted, lambda n1, n2: (n1 + n2) / 4)
    ),
    "No n - 1 here: sums of squares are added, nothing is estimated.": (
        partial(_gap_weighted, lambda n1, n2: n1 * n2 / (n1 + n2 - 1))
    ),
    "The term with the gap is subtracted; it is added.": (partial(_gap_weighted, lambda n1, n2: -n1 * n2 / (n1 + n2))),
    "The gap counts for n1 numbers only: those of the second part are off as well.": (
        partial(_gap_weighted, lambda n1, n2: n1)
    ),
    "The gap counts for n2 numbers only: those of the first part are off as well.": (
        partial(_gap_weighted, lambda n1, n2: n2)
    ),
    "n1 times the square of the first way is right; the second part needs a term of its own.": (
        partial(_gap_weighted, lambda n1, n2: n1 * (n2 / (n1 + n2)) ** 2)
    ),
    "n2 times the square of the second way is right; the first part needs a term of its own.": (
        partial(_gap_weighted, lambda n1, n2: n2 * (n1 / (n1 + n2)) ** 2)
    ),
    "Deviations are squared: so is the gap between the means.": _gap_not_squared,
    "The last one is the variance; return the sum of the squares.": _variances,
    "The sums of squares are added; it is variances whose mean is taken.": _weighted_squares,
    "Each mean is weighted by its own part's count.": _counts_exchanged,
    "This goes through sums of squares: for large means their difference loses its digits. Use the gap "
    "between the means.": _through_squares,
}
