"""Exercises of notebook 16, scaling depth, width and patches."""

import numpy as np

from minivit.lessons.exercise import Exercise
from minivit.lessons.judges import function_like


def _front(prices: np.ndarray, accuracies: np.ndarray) -> np.ndarray:
    best = [
        i
        for i, (price, value) in enumerate(zip(prices, accuracies, strict=True))
        if not any(
            p <= price and a >= value and (p < price or a > value) for p, a in zip(prices, accuracies, strict=True)
        )
    ]
    return np.array(sorted(best, key=lambda i: prices[i]))


def _all_by_price(prices: np.ndarray, accuracies: np.ndarray) -> np.ndarray:
    return np.argsort(prices, kind="stable")


def _worst_front(prices: np.ndarray, accuracies: np.ndarray) -> np.ndarray:
    return _front(prices, -np.asarray(accuracies))


def _running_maximum(prices: np.ndarray, accuracies: np.ndarray) -> np.ndarray:
    """Keeps a model to which another of the same price is preferable."""
    order = np.argsort(prices, kind="stable")
    return np.array([i for k, i in enumerate(order) if accuracies[i] > np.max(accuracies[order[:k]], initial=-np.inf)])


def _in_given_order(prices: np.ndarray, accuracies: np.ndarray) -> np.ndarray:
    return np.sort(_front(prices, accuracies))


def _models(rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    ties = np.array([1.0, 1.0, 2.0, 3.0, 3.0]), np.array([0.1, 0.5, 0.5, 0.6, 0.7])
    cases = [ties]
    for n in (6, 9, 13):
        prices = rng.permutation(n) + 1.0
        scores = np.log(prices) + 1.5 * rng.standard_normal(n)
        cases.append((prices, np.round(1 / (1 + np.exp(-scores)), 3)))  # accuracies: in 0..1
    return cases


def _block_flop(N: int, D: int, M: int, of_attention: int = 4) -> int:
    return 8 * N * D**2 + of_attention * N**2 * D + 4 * N * D * M


def _smallest_patch(
    side: int, D: int, L: int, budget: float, of_attention: int = 4, class_tokens: int = 0
) -> int | None:
    """of_attention: the factor of N^2 D."""
    for patch in range(1, side + 1):
        tokens = (side // patch) ** 2 + class_tokens
        if side % patch == 0 and L * _block_flop(tokens, D, 4 * D, of_attention) <= budget:
            return patch
    return None


def _any_patch(side: int, D: int, L: int, budget: float) -> int | None:
    """The smallest that is affordable, whether it divides the side or not."""
    sides = range(1, side + 1)
    return next((p for p in sides if L * _block_flop((side // p) ** 2, D, 4 * D) <= budget), None)


def _largest_patch(side: int, D: int, L: int, budget: float) -> int | None:
    fits = [p for p in range(1, side + 1) if side % p == 0 and L * _block_flop((side // p) ** 2, D, 4 * D) <= budget]
    return max(fits, default=None)


def _number_or_minus_one(patch: object) -> object:
    """None as a number, since answers are compared as numbers; a number below 1 as none that could be right."""
    return -1 if patch is None else -2 if isinstance(patch, int | float) and patch < 1 else patch


def _judge_patch(answer):
    if not callable(answer):
        return "The answer should be a function of side, D, L and budget."

    def as_number(side, D, L, budget):
        patch = answer(side, D, L, budget)
        if patch is ... or (patch is None and (side, budget) == CASES[0][::3]):
            return None  # not answered yet: there is an affordable patch in the first case
        return _number_or_minus_one(patch)

    return _PATCHES(as_number)


CASES = [
    (224, 768, 12, 40e9),
    (32, 64, 4, 8e6),
    (48, 64, 2, 1e9),
    (30, 128, 3, 2e8),
    (32, 64, 4, 1e5),
    (36, 48, 4, 3e7),
    (24, 32, 2, 1.01 * 2 * _block_flop(36, 32, 4 * 32)),  # just enough for 36 tokens, not for 37
]
_PATCHES = function_like(
    lambda *case: _number_or_minus_one(_smallest_patch(*case)),
    lambda rng: CASES,
    {
        "A patch must divide the side of the image.": lambda *case: _number_or_minus_one(_any_patch(*case)),
        "This is the largest patch, the cheapest model.": lambda *case: _number_or_minus_one(_largest_patch(*case)),
        "This leaves out the products inside attention.": (
            lambda side, D, L, budget: _number_or_minus_one(_smallest_patch(side, D, L, budget, of_attention=0))
        ),
        "Inside attention there are two products, q k^T and A v: 4 N^2 D.": (
            lambda side, D, L, budget: _number_or_minus_one(_smallest_patch(side, D, L, budget, of_attention=2))
        ),
        "This counts a [class] token, and there is none here.": (
            lambda side, D, L, budget: _number_or_minus_one(_smallest_patch(side, D, L, budget, class_tokens=1))
        ),
        "If even a single patch is too expensive, return None.": (
            lambda *case: _smallest_patch(*case) or _number_or_minus_one(0)
        ),
    },
)

EXERCISES = [
    Exercise(
        "16.1",
        function_like(
            lambda N: 4 * (N - 1) + 1,
            lambda rng: [(17,), (197,), (50,)],
            {
                "The patches become four times as many; the [class] token stays one.": lambda N: 4 * N,
                "Half the side means twice as many patches in each direction: four times as many.": (
                    lambda N: 2 * (N - 1) + 1
                ),
                "Twice in each direction is four times, and the [class] token is not doubled.": lambda N: 2 * N,
            },
        ),
        "Four times the tokens: four times the products with weights, sixteen times the work inside attention.",
    ),
    Exercise(
        "16.2",
        function_like(
            lambda D, F: 2 * D + F,
            lambda rng: [(768, 3072), (64, 100), (192, 768)],
            {
                "This is right for F = 4 D only.": lambda D, F: 6 * D,
                "The products with weights are those of attention, 8 N D^2, and of the MLP, 4 N D F; this leaves out "
                "the MLP.": lambda D, F: 2 * D,
                "This leaves out the projections of attention, 8 N D^2.": lambda D, F: F,
                "Inside attention there are two products, q k^T and A v: 4 N^2 D.": lambda D, F: 2 * (2 * D + F),
                "The projections of attention cost 8 N D^2. Divided by 4 N D that is 2 D.": lambda D, F: D + F,
            },
        ),
        "With F = 4 D it is 6 D: 4,608 tokens for ViT-B, an image of more than 1,000 pixels with patches of 16.",
    ),
    Exercise(
        "16.3",
        function_like(
            _front,
            _models,
            {
                "These are all models. One that another beats in both is not on the front.": _all_by_price,
                "This is the front of the least accurate models.": _worst_front,
                "The right models, but not sorted by price.": _in_given_order,
                "Of two models of the same price only the more accurate one is on the front.": _running_maximum,
            },
        ),
        "Sorted by price, and by falling accuracy where prices agree, it is where the running maximum rises.",
    ),
    Exercise(
        "16.4",
        _judge_patch,
        "Small patches are paid for twice: once per token, and once per pair of tokens.",
    ),
]
