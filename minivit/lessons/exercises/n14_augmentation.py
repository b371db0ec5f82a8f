"""Exercises of notebook 14, augmentation and regularisation."""

from functools import partial

import numpy as np

from minivit.lessons.diagnosis import diagnosed
from minivit.lessons.exercise import Exercise
from minivit.lessons.judges import choice
from minivit.lessons.slips.cutmix import SLIPS, cutmix, sticks_out


def _skip(z, f, u, rate, dz_new, dropped=None, factor=None, factor_back=None, branch_in_dz=0):
    """Stochastic depth; each of the last four replaces what is right.   branch_in_dz: how often df is added to dz."""
    dropped = u < rate if dropped is None else dropped
    factor = 1 / (1 - rate) if factor is None else factor
    kept = ~dropped[:, None, None]
    df = kept * (factor if factor_back is None else factor_back) * dz_new
    return z + kept * factor * f, dz_new + branch_in_dz * df, df


def _skipped_images_lost(z, f, u, rate, dz_new):
    """The residual connection dropped as well."""
    m = (u >= rate)[:, None, None] / (1 - rate)
    return m * (z + f), m * dz_new, m * dz_new


def _unmasked_backward(z, f, u, rate, dz_new, factor=1.0):
    return *_skip(z, f, u, rate, dz_new)[:2], dz_new * factor


def _streams(rng: np.random.Generator) -> list[tuple]:
    cases = []
    for shape, rate in (((6, 3, 2), 0.3), ((5, 2, 4), 0.45), ((3, 4, 5), 0.5), ((2, 1, 3), 0.0)):
        u = rng.permuted(np.linspace(0.05, 0.95, shape[0]))  # some below the rate, some above
        if shape[0] == 3:
            u = np.array([0.2, 0.5, 0.7])  # one of them is the rate
        cases.append((rng.standard_normal(shape), rng.standard_normal(shape), u, rate, rng.standard_normal(shape)))
    return cases


def _batches(rng: np.random.Generator) -> list[tuple]:
    """Boxes inside, cut off below and right, above and left; empty; of all pixels; of an image that is its partner;
    with sides that are to be 2.5 and 4.5 pixels.
    """
    shapes = (
        ((3, 8, 6, 2), 4, 0.6, (4, 2)),
        ((4, 7, 10, 1), 5, 0.3, (6, 8)),
        ((5, 9, 7, 3), 2, 0.7, (1, 4)),
        ((2, 11, 5, 1), 3, 0.8, (0, 0)),
        ((3, 5, 8, 2), 3, 1.0, (2, 3)),
        ((2, 6, 4, 2), 4, 0.0, (3, 2)),
        ((1, 7, 9, 1), 3, 0.5, (4, 4)),
        ((3, 5, 9, 1), 2, 0.75, (2, 4)),
    )
    return [
        (rng.standard_normal(shape), rng.dirichlet(np.ones(classes), shape[0]), lam, centre)
        for shape, classes, lam, centre in shapes
    ]


EXERCISES = [
    Exercise(
        "14.1",
        choice(
            "hue",
            {
                "shift": "The same lamp is lit, a little further to the side.",
                "flip": "A mirrored red lamp is a red lamp.",
                "rotate": "Cameras are tilted by as much. The lamp keeps its colour.",
            },
        ),
        "Only the colour tells these classes apart. For other classes it is different: a hue shift does not change the "
        "make of a car, and a flip turns a left arrow into a "
        "right one.",
    ),
    Exercise(
        "14.2",
        diagnosed(
            _skip,
            _streams,
            {
                "The branch is to be dropped where u < rate; this keeps it there.": (
                    lambda z, f, u, rate, dz: _skip(z, f, u, rate, dz, dropped=u >= rate)
                ),
                "Where u equals the rate the branch is kept: it is dropped where u < rate.": (
                    lambda z, f, u, rate, dz: _skip(z, f, u, rate, dz, dropped=u <= rate)
                ),
                "The branches that are kept have to be divided by 1 - rate.": partial(_skip, factor=1),
                "This divides by the rate; the probability of being kept is 1 - rate.": (
                    lambda z, f, u, rate, dz: _skip(z, f, u, rate, dz, factor=np.divide(1, rate))
                ),
                "This multiplies by 1 - rate, as one does in evaluation if training was without a factor.": (
                    lambda z, f, u, rate, dz: _skip(z, f, u, rate, dz, factor=1 - rate)
                ),
                "The new z is right. df has to go through the same factors m, 1 / (1 - rate) included.": (
                    partial(_skip, factor_back=1)
                ),
                "The gradients are right. The branches that are kept have to be divided by 1 - rate forward as well.": (
                    lambda z, f, u, rate, dz: _skip(z, f, u, rate, dz, factor=1, factor_back=1 / (1 - rate))
                ),
                "The new z is right. Where the branch was dropped, f did not enter z', and its gradient is zero.": (
                    _unmasked_backward
                ),
                "The new z is right, and so is the factor of df, but where the branch was dropped df is zero.": (
                    lambda z, f, u, rate, dz: _unmasked_backward(z, f, u, rate, dz, 1 / (1 - rate))
                ),
                "Nothing is dropped: the branch is left out where u < rate.": (
                    lambda z, f, u, rate, dz: _skip(z, f, u, rate, dz, dropped=np.zeros(len(u), bool))
                ),
                "Only the branch is dropped. The residual connection carries every image past it, and every "
                "gradient.": _skipped_images_lost,
                "z also passes by the branch unchanged: its gradient is that of the new z. (What f hands on to z is "
                "the business of the branch.)": (
                    lambda z, f, u, rate, dz: (_skip(z, f, u, rate, dz)[0], *[_skip(z, f, u, rate, dz)[2]] * 2)
                ),
                "dz holds df as well. What f hands on to z is the business of the branch, which is not seen here.": (
                    partial(_skip, branch_in_dz=1)
                ),
                "This is the branch alone: the residual connection adds z to it.": (
                    lambda z, f, u, rate, dz: (_skip(z, f, u, rate, dz)[0] - z, *_skip(z, f, u, rate, dz)[1:])
                ),
                "z was added as well: its gradient is that of the new z, not zero.": (
                    lambda z, f, u, rate, dz: (_skip(z, f, u, rate, dz)[0], 0 * dz, _skip(z, f, u, rate, dz)[2])
                ),
            },
            where={"a branch is dropped": lambda z, f, u, rate, dz: bool((u < rate).any())},
            allowed=(),
            results="z_new dz df",
        ),
        "One factor per image instead of one per number; the rest is dropout.",
    ),
    Exercise(
        "14.3",
        diagnosed(
            lambda L, rate: L * (1 - rate / 2),
            lambda rng: [(12, 0.1), (4, 0.3), (2, 0.5), (7, 0.9), (3, 0.2), (24, 0.4)],
            {
                "This would be so if all blocks had the last rate; it rises from 0.": lambda L, rate: L * (1 - rate),
                "This is how many are skipped; the others are passed.": lambda L, rate: L * rate / 2,
                "The last block has the full rate: the rates are rate i / (L - 1) with i from 0 to L - 1.": (
                    lambda L, rate: L - rate * (L - 1) / 2
                ),
                "The rates go from 0, not from rate / L, to the full rate: the first block is never skipped.": (
                    lambda L, rate: L - rate * (L + 1) / 2
                ),
                "This is the share of the blocks; how many are they?": lambda L, rate: 1 - rate / 2,
                "This is the probability that no block is skipped. How many are applied on average?": (
                    lambda L, rate: float(np.prod(1 - rate * np.arange(L) / (L - 1)))
                ),
                "A block's two branches count as halves, so an average of L blocks at most is passed.": (
                    lambda L, rate: 2 * L * (1 - rate / 2)
                ),
                "Only the last block has the full rate; the mean rate is half of it, for each of the L blocks.": (
                    lambda L, rate: L - rate / 2
                ),
                "The two branches of a block count as halves, not as two chances: a block counts 1 - rate.": (
                    lambda L, rate: float(np.sum((1 - rate * np.arange(L) / (L - 1)) ** 2))
                ),
                "All blocks are passed with the probability 1 - rate, none with certainty but the first.": (
                    lambda L, rate: L
                ),
            },
            terms={
                "L": lambda L, rate: L,
                "L rate": lambda L, rate: L * rate,
                "rate": lambda L, rate: rate,
                "no letter": lambda L, rate: 1,
            },
        ),
        "The mean of rates that rise linearly from 0 is half of the last one.",
    ),
    Exercise(
        "14.4",
        diagnosed(
            cutmix,
            _batches,
            SLIPS,
            where={
                "the box sticks out of the image": sticks_out,
                "the box lies inside the image": lambda *given: not sticks_out(*given),
            },
            allowed=(),
            results="images labels",
        ),
        "The same as minivit.data.cutmix, but for the draws.",
    ),
]
