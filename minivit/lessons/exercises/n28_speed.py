"""Exercises of notebook 28, speed."""

import math

import numpy as np

from minivit.lessons.exercise import Exercise
from minivit.lessons.judges import function_like


def _best_segment(L: int, a: float, x: float) -> int:
    divisors = [s for s in range(1, L + 1) if L % s == 0]
    return min(divisors, key=lambda s: L / s * x + s * a)


def _nearest_divisor(L: int, a: float, x: float) -> int:
    best = math.sqrt(L * x / a)
    return min((s for s in range(1, L + 1) if L % s == 0), key=lambda s: abs(s - best))


def _parts(rng: np.random.Generator) -> list[tuple]:
    """Counts, means and sums of squared deviations; the last with means so large that their squares lose the rest."""
    cases = []
    for n1, n2, mean in ((3, 5, 0.0), (1, 7, 2.0), (40, 2, -3.0), (4, 4, 1e8)):
        parts = [mean + rng.standard_normal(n) + i for i, n in enumerate((n1, n2))]
        cases.append(tuple(v for p in parts for v in (len(p), float(p.mean()), float(((p - p.mean()) ** 2).sum()))))
    return cases


def _merged(n1, mean1, ss1, n2, mean2, ss2):
    n, gap = n1 + n2, mean2 - mean1
    return n, mean1 + gap * (n2 / n), ss1 + ss2 + gap * gap * (n1 * n2 / n)


def _plain_mean(n1, mean1, ss1, n2, mean2, ss2):
    _, _, ss = _merged(n1, mean1, ss1, n2, mean2, ss2)
    return n1 + n2, (mean1 + mean2) / 2, ss


def _without_gap(n1, mean1, ss1, n2, mean2, ss2):
    n, mean, _ = _merged(n1, mean1, ss1, n2, mean2, ss2)
    return n, mean, ss1 + ss2


def _gap_not_weighted(n1, mean1, ss1, n2, mean2, ss2):
    n, mean, _ = _merged(n1, mean1, ss1, n2, mean2, ss2)
    return n, mean, ss1 + ss2 + (mean2 - mean1) ** 2


def _counts_exchanged(n1, mean1, ss1, n2, mean2, ss2):
    n, _, ss = _merged(n1, mean1, ss1, n2, mean2, ss2)
    return n, (n2 * mean1 + n1 * mean2) / n, ss


def _through_squares(n1, mean1, ss1, n2, mean2, ss2):
    n, mean, _ = _merged(n1, mean1, ss1, n2, mean2, ss2)
    return n, mean, (ss1 + n1 * mean1**2) + (ss2 + n2 * mean2**2) - n * mean**2


EXERCISES = [
    Exercise(
        "28.1",
        function_like(
            lambda n: 2 * n**3 / (3 * n**2 * 4),
            lambda rng: [(64,), (1000,), (7,)],
            {
                "Three matrices are moved: two are read, one is written.": lambda n: 2 * n**3 / (2 * n**2 * 4),
                "A multiplication and an addition for each of n**3 terms are two FLOP.": (
                    lambda n: n**3 / (3 * n**2 * 4)
                ),
                "A float32 has 4 bytes; this counts numbers, not bytes.": lambda n: 2 * n**3 / (3 * n**2),
                "This is bytes per FLOP.": lambda n: 6 / n,
            },
        ),
        "n/6: it grows with n, which is why large products run at the peak and small ones do not.",
    ),
    Exercise(
        "28.2",
        function_like(
            lambda work, traffic, peak, bandwidth: max(work / peak, traffic / bandwidth),
            lambda rng: [(2e9, 1e6, 1e11, 1e10), (1e6, 4e8, 1e11, 1e10), (3e9, 5e8, 2e10, 3e9)],
            {
                "Arithmetic and traffic go on at the same time: the bound is the larger of the two, not their sum.": (
                    lambda work, traffic, peak, bandwidth: work / peak + traffic / bandwidth
                ),
                "Both limits hold, so the larger time counts.": (
                    lambda work, traffic, peak, bandwidth: min(work / peak, traffic / bandwidth)
                ),
                "This is a rate in FLOP per second; the time is the work divided by it.": (
                    lambda work, traffic, peak, bandwidth: min(peak, work / traffic * bandwidth)
                ),
                "This looks at the arithmetic alone.": lambda work, traffic, peak, bandwidth: work / peak,
            },
        ),
        "Divide the work by it, and you have the roof.",
    ),
    Exercise(
        "28.3",
        function_like(
            _best_segment,
            lambda rng: [
                (12, 10.0, 1.0),
                (24, 9.0, 4.0),
                (16, 1.0, 1.0),
                (36, 1.0, 5.0),
                (12, 1.0, 100.0),
                (12, 1.0, 6.3),
            ],
            {
                "This is the best real number, sqrt(L x / a). A segment is a whole number of blocks that divides L: "
                "compare the divisors.": lambda L, a, x: math.sqrt(L * x / a),
                "Rounding sqrt(L x / a) need not give a divisor of L.": (
                    lambda L, a, x: min(L, max(1, round(math.sqrt(L * x / a))))
                ),
                "The whole number below sqrt(L x / a) need not divide L: compare the divisors.": (
                    lambda L, a, x: min(L, max(1, int(math.sqrt(L * x / a))))
                ),
                "The divisor nearest to sqrt(L x / a) need not be the best: compare the peaks.": _nearest_divisor,
                "sqrt(L) is best only if activations and input of a block are equally large.": (
                    lambda L, a, x: _best_segment(L, 1, 1)
                ),
                "a and x are exchanged: the larger a is, the shorter a segment should be.": (
                    lambda L, a, x: _best_segment(L, x, a)
                ),
            },
        ),
        "With a = x the best segment is near sqrt(L), and the memory grows with sqrt(L) only (Chen et al. 2016).",
    ),
    Exercise(
        "28.4",
        function_like(
            _merged,
            _parts,
            {
                "The means must be weighted by the counts.": _plain_mean,
                "Each part's deviations are from its own mean. From the common mean they are larger: a term with the "
                "gap between the two means is missing.": _without_gap,
                "The gap between the means is one number, but all numbers of both parts are off: write out the sum "
                "over each part.": _gap_not_weighted,
                "Each mean is weighted by its own part's count.": _counts_exchanged,
                "This goes through sums of squares: for large means their difference loses its digits. Use the gap "
                "between the means.": _through_squares,
            },
            rtol=1e-6,
        ),
        "Chan, Golub and LeVeque (1979). It merges results of any size: of tiles, of threads, of machines.",
    ),
]
