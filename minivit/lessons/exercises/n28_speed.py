"""Exercises of notebook 28, speed."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from minivit.lessons.diagnosis import diagnosed
from minivit.lessons.exercise import Exercise
from minivit.lessons.slips import fitting
from minivit.lessons.slips.merging import SLIPS, merged


def _divisors(L: int) -> list[int]:
    return [s for s in range(1, L + 1) if L % s == 0]


def _peak(L: int, a: float, b: float, s: float) -> float:
    return L / s * b + s * a


def _best_segment(L: int, a: float, b: float) -> int:
    return min(_divisors(L), key=lambda s: _peak(L, a, b, s))


def _best_whole_number(L: int, a: float, b: float) -> int:
    return min(range(1, L + 1), key=lambda s: _peak(L, a, b, s))


def _worst_segment(L: int, a: float, b: float) -> int:
    return max(_divisors(L), key=lambda s: _peak(L, a, b, s))


def _nearest_divisor(L: int, a: float, b: float) -> int:
    return min(_divisors(L), key=lambda s: abs(s - math.sqrt(L * b / a)))


def _divisor_below(L: int, a: float, b: float) -> int:
    return max((s for s in _divisors(L) if s * s * a <= L * b), default=1)


def _divisor_above(L: int, a: float, b: float) -> int:
    return min((s for s in _divisors(L) if s * s * a >= L * b), default=L)


def _among(leave_out: int, L: int, a: float, b: float) -> int:
    """The best divisor but for 1 or L."""
    left = [s for s in _divisors(L) if s != (1 if leave_out == 1 else L)] or [1]
    return min(left, key=lambda s: _peak(L, a, b, s))


def _root_of(quotient: Callable[[int, float, float], float], L: int, a: float, b: float) -> float:
    return math.sqrt(quotient(L, a, b))


_LAYERS = [
    (12, 10.0, 1.0),
    (24, 9.0, 4.0),
    (16, 1.0, 1.0),
    (36, 1.0, 5.0),
    (12, 1.0, 100.0),
    (12, 1.0, 6.3),
    (13, 1.0, 2.0),
    (48, 7.0, 3.0),
    (60, 2.0, 1.1),
    (96, 34.0, 4.0),
    (30, 3.0, 10.0),
    (24, 1.0, 0.9),
]


def _parts(rng: np.random.Generator) -> list[tuple]:
    """Counts, means and sums of squared deviations; the last with means so large that their squares lose the rest."""
    cases = []
    for n1, n2, mean in ((3, 5, 0.0), (1, 7, 2.0), (40, 2, -3.0), (6, 6, 1.0), (1, 1, 0.5), (4, 4, 1e8), (2, 9, -1e8)):
        parts = [mean + rng.standard_normal(n) + 2 * i for i, n in enumerate((n1, n2))]
        cases.append(tuple(v for p in parts for v in (len(p), float(p.mean()), float(((p - p.mean()) ** 2).sum()))))
    return cases


EXERCISES = [
    Exercise(
        "28.1",
        diagnosed(
            lambda side: 2 * side**3 / (3 * side**2 * 4),
            lambda rng: [(64,), (1000,), (7,), (3,)],
            {
                "Three matrices are moved: two are read, one is written.": lambda side: side / 4,
                "This is half of it: a multiplication and an addition for each of side**3 terms are two FLOP, and a "
                "float32 has 4 bytes, not 8.": lambda side: side / 12,
                "A float32 has 4 bytes; this counts numbers, not bytes.": lambda side: 2 * side / 3,
                "A float32 has 4 bytes; this counts 2, as a float16 has.": lambda side: side / 3,
                "A float32 has 32 bits, which are 4 bytes.": lambda side: side / 48,
                "Three matrices are moved, two to be read and one to be written; this counts one.": lambda side: (
                    side / 2
                ),
                "Each matrix is moved once: the result is written, not read before that as well.": lambda side: (
                    side / 8
                ),
                "An entry of the result takes side multiplications and side - 1 additions, true; with the usual 2 side "
                "FLOP it becomes a simple fraction of side.": lambda side: (2 * side - 1) / 12,
                "This is bytes per FLOP.": lambda side: 6 / side,
                "These are the FLOP; divide by the bytes.": lambda side: 2 * side**3,
                "These are the bytes; how many FLOP are there for each?": lambda side: 12 * side**2,
                "Each of the side**2 entries of the result takes side multiplications and as many additions.": (
                    lambda side: 1 / 6
                ),
            },
            terms={"side": lambda side: side, "no letter": lambda side: 1},
        ),
        "side/6: it grows with side, which is why large products run at the peak and small ones do not.",
    ),
    Exercise(
        "28.2",
        diagnosed(
            lambda work, traffic, peak, bandwidth: max(work / peak, traffic / bandwidth),
            lambda rng: [
                (2e9, 1e6, 1e11, 1e10),
                (1e6, 4e8, 1e11, 1e10),
                (3e9, 5e8, 2e10, 3e9),
                (5e10, 3e9, 7e11, 2e11),
            ],
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
                "This looks at the traffic alone.": lambda work, traffic, peak, bandwidth: traffic / bandwidth,
                "The larger of the two times counts, not their mean.": (
                    lambda work, traffic, peak, bandwidth: (work / peak + traffic / bandwidth) / 2
                ),
                "The work is done at the peak and the traffic at the bandwidth; here the two are exchanged.": (
                    lambda work, traffic, peak, bandwidth: max(work / bandwidth, traffic / peak)
                ),
                "A time is an amount over a rate, not a rate over an amount.": (
                    lambda work, traffic, peak, bandwidth: max(peak / work, bandwidth / traffic)
                ),
                "A rate is an amount over a time, so a time is an amount over a rate, not times it.": (
                    lambda work, traffic, peak, bandwidth: max(work * peak, traffic * bandwidth)
                ),
                "This is 1 over the time.": (
                    lambda work, traffic, peak, bandwidth: min(peak / work, bandwidth / traffic)
                ),
            },
            where={
                "the traffic takes longer than the arithmetic": lambda w, t, p, b: t / b > w / p,
                "the arithmetic takes longer than the traffic": lambda w, t, p, b: t / b < w / p,
            },
        ),
        "Divide the work by it, and you have the roof.",
    ),
    Exercise(
        "28.3",
        diagnosed(
            _best_segment,
            lambda rng: _LAYERS,
            {
                "This is the best real number, sqrt(L b / a). A segment is a whole number of blocks that divides L: "
                "compare the divisors.": lambda L, a, b: math.sqrt(L * b / a),
                "The whole number below sqrt(L b / a) need not divide L: compare the divisors.": (
                    lambda L, a, b: min(L, max(1, int(math.sqrt(L * b / a))))
                ),
                "The divisor nearest to sqrt(L b / a) need not be the best: compare the peaks.": _nearest_divisor,
                "The divisor below sqrt(L b / a) need not be the best: compare the peaks.": _divisor_below,
                "The divisor above sqrt(L b / a) need not be the best: compare the peaks.": _divisor_above,
                "Rounding sqrt(L b / a) need not give a divisor of L, nor does the best of all whole numbers.": (
                    _best_whole_number
                ),
                "This is L / s, the best number of segments, or a and b are exchanged: the larger a is, the shorter a "
                "segment should be.": lambda L, a, b: L // _best_segment(L, a, b),
                "This is the peak; which s gives it?": lambda L, a, b: _peak(L, a, b, _best_segment(L, a, b)),
                "This segment has the largest peak; the smallest is best.": _worst_segment,
                "sqrt(L) is best only if activations and input of a block are equally large.": (
                    lambda L, a, b: _best_segment(L, 1, 1)
                ),
                "This is the root of b / a; the number of blocks has to come in.": (
                    partial(_root_of, lambda L, a, b: b / a)
                ),
                "This is the root of L; the sizes a and b have to come in.": partial(_root_of, lambda L, a, b: L),
                "The root of L a / b gives the number of segments; how many blocks does one have?": (
                    partial(_root_of, lambda L, a, b: L * a / b)
                ),
                "A segment of one block is allowed as well.": partial(_among, 1),
                "One segment of all L blocks is allowed as well.": partial(_among, 0),
                "One block in a segment leaves the most inputs to keep; compare the peaks.": lambda L, a, b: 1,
                "One segment of all blocks holds the most activations; compare the peaks.": lambda L, a, b: L,
            },
            where={"L is prime": lambda L, a, b: len(_divisors(L)) == 2},
        ),
        "With a = b the best segment is near sqrt(L), and the memory grows with sqrt(L) only (Chen et al. 2016).",
    ),
    Exercise(
        "28.4",
        diagnosed(
            fitting.largest_batch,
            lambda rng: fitting.TRAININGS,
            fitting.SLIPS,
            where={"not even the parameters with gradients and moments fit": lambda memory, n, *_: 16 * n > memory},
        ),
        "The fixed part is 16 bytes a parameter. The rest grows with the batch, and a large batch can be split into "
        "pieces whose gradients are added.",
    ),
    Exercise(
        "28.5",
        diagnosed(
            merged,
            _parts,
            SLIPS,
            rtol=1e-6,
            where={
                "the means are large: does something lose its digits, as a difference of squares does": (
                    lambda *parts: abs(parts[1]) > 1e6
                ),
                "the counts are different": lambda *parts: parts[0] != parts[3],
            },
            results="n mean ss",
        ),
        "Chan, Golub and LeVeque (1979). It merges results of any size: of tiles, of threads, of machines.",
    ),
]
