"""Exercises of notebook 16, scaling depth, width and patches."""

import numpy as np

from minivit.lessons.diagnosis import diagnosed
from minivit.lessons.exercise import Exercise
from minivit.lessons.slips.pareto import SLIPS, explained, front, some_equal
from minivit.lessons.slips.smallest_patch import judge_patch


def _models(rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Equal prices, the better model first or last, equal accuracies, one model, all on the front, one on the front."""
    ties = np.array([1.0, 1.0, 2.0, 3.0, 3.0]), np.array([0.1, 0.5, 0.5, 0.6, 0.7])
    shuffled = np.array([3.0, 2.0, 1.0, 3.0, 1.0, 5.0, 4.0]), np.array([0.7, 0.5, 0.5, 0.6, 0.1, 0.9, 0.7])
    one, falling = (np.array([2.0]), np.array([0.3])), (np.array([3.0, 1.0, 2.0]), np.array([0.2, 0.6, 0.4]))
    cases = [ties, shuffled, one, falling, (np.array([9.0, 1.0, 4.0, 2.0]), np.array([0.8, 0.2, 0.5, 0.45]))]
    for n in (6, 9, 13):
        prices = rng.permutation(n) + 1.0
        scores = np.log(prices) + 1.5 * rng.standard_normal(n)
        cases.append((prices, np.round(1 / (1 + np.exp(-scores)), 3)))  # accuracies: in 0..1
    return cases


EXERCISES = [
    Exercise(
        "16.1",
        diagnosed(
            lambda N: 4 * (N - 1) + 1,
            lambda rng: [(17,), (197,), (50,), (2,)],
            {
                "The patches become four times as many; the [class] token stays one.": lambda N: 4 * N,
                "Half the side means twice as many patches in each direction: four times as many.": (
                    lambda N: 2 * (N - 1) + 1
                ),
                "Twice in each direction is four times, and the [class] token is not doubled.": lambda N: 2 * N,
                "These are the patches; the [class] token is a token as well.": lambda N: 4 * (N - 1),
                "N counts the [class] token already: N - 1 patches become four times as many.": lambda N: 4 * N + 1,
                "Patches of half the side are more, not fewer.": lambda N: (N - 1) / 4 + 1,
                "Four times as many patches, not sixteen times.": lambda N: 16 * (N - 1) + 1,
                "Four times as many patches, not the square of their number.": lambda N: (N - 1) ** 2 + 1,
            },
            terms={"N": lambda N: N, "no letter": lambda N: 1, "N^2": lambda N: N * N},
        ),
        "Four times the tokens: four times the products with weights, sixteen times the work inside attention.",
    ),
    Exercise(
        "16.2",
        diagnosed(
            lambda D, F: 2 * D + F,
            lambda rng: [(768, 3072), (64, 100), (192, 768), (5, 3), (2, 9), (30, 31), (7, 1)],
            {
                "This is right for F = 4 D only.": lambda D, F: 6 * D,
                "The products with weights are those of attention, 8 N D^2, and of the MLP, 4 N D F; this leaves out "
                "the MLP.": lambda D, F: 2 * D,
                "This leaves out the projections of attention, 8 N D^2.": lambda D, F: F,
                "Inside attention there are two products, q k^T and A v: 4 N^2 D.": lambda D, F: 2 * (2 * D + F),
                "The projections of attention cost 8 N D^2. Divided by 4 N D that is 2 D.": lambda D, F: D + F,
                "4 N^2 D are FLOP, two for each multiply-add. Count the products with weights in FLOP as well.": (
                    lambda D, F: D + F / 2
                ),
                "The MLP has two products, D to F and F to D: 4 N D F.": lambda D, F: 2 * D + F / 2,
                "Attention has four projections, D to D: queries, keys, values, and the one after the heads.": (
                    lambda D, F: 1.5 * D + F
                ),
                "The MLP has two products, 2 N D F each: 4 N D F together.": lambda D, F: 2 * D + 2 * F,
                "Both sides have one N more than this takes away: 4 N^2 D = 8 N D^2 + 4 N D F.": (
                    lambda D, F: (2 * D + F) ** 0.5
                ),
                "Divide by 4 N D: D is in every term once more than this takes away.": lambda D, F: 2 * D**2 + D * F,
            },
            terms={
                "D": lambda D, F: D,
                "F": lambda D, F: F,
                "no letter": lambda D, F: 1,
                "F^2 / D": lambda D, F: F * F / D,
                "D^2 / F": lambda D, F: D * D / F,
            },
        ),
        "With F = 4 D it is 6 D: 4,608 tokens for ViT-B, an image of more than 1,000 pixels with patches of 16.",
    ),
    Exercise(
        "16.3",
        diagnosed(
            front,
            _models,
            SLIPS,
            where={"two prices or accuracies are equal": some_equal},
            explained=explained,
        ),
        "Sorted by price, and by falling accuracy where prices agree, it is where the running maximum rises.",
    ),
    Exercise(
        "16.4",
        judge_patch,
        "Small patches are paid for twice: once per token, and once per pair of tokens.",
    ),
]
