"""Exercises of notebook 25, the parts of a modern ViT."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from minivit.lessons.diagnosis import diagnosed
from minivit.lessons.exercise import Exercise
from minivit.lessons.judges import number


def _turn(x: np.ndarray, phi: np.ndarray, halves: bool = False) -> np.ndarray:
    pairs = phi.shape[1]
    first, second = (slice(pairs), slice(pairs, None)) if halves else (slice(0, None, 2), slice(1, None, 2))
    a, b, y = x[:, first], x[:, second], np.empty_like(x)
    y[:, first], y[:, second] = a * np.cos(phi) - b * np.sin(phi), a * np.sin(phi) + b * np.cos(phi)
    return y


def _rope(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    row: np.ndarray,
    column: np.ndarray,
    base: float,
    turned: tuple[int, int, int] = (1, 1, 0),
    quarter: int = 4,
    x_first: bool = False,
    halves: bool = False,
    class_turned: bool = False,
    scaled: bool = True,
    axis: int = 1,
) -> np.ndarray:
    """One head of attention.   turned: 1, -1 or 0, times the angles, of q, k and v; quarter: the exponent of the base
    grows by quarter / Dh from one frequency to the next; axis: that of the softmax."""
    width = q.shape[1]
    f = base ** (-quarter * np.arange(width // 4) / width)
    axes = (column, row) if x_first else (row, column)
    phi = np.concatenate([np.outer(place, f) for place in axes], axis=1)
    phi = np.concatenate([phi[:1] if class_turned else np.zeros_like(phi[:1]), phi])  # an angle of 0 does not turn
    q, k, v = (_turn(x, times * phi, halves) for x, times in zip((q, k, v), turned, strict=True))
    scores = q @ k.T / (math.sqrt(width) if scaled else 1)
    weights = np.exp(scores - scores.max(axis=axis, keepdims=True))
    return weights / weights.sum(axis=axis, keepdims=True) @ v


def _places(rng: np.random.Generator) -> list[tuple]:
    """No patch is at place 0, so that a turned [class] token is seen."""
    return [
        (
            *rng.standard_normal((3, patches + 1, width)),
            *rng.integers(1, 9, (2, patches)).astype(float),
            float(base),
        )
        for patches, width, base in ((6, 4, 100), (4, 8, 30), (9, 16, 1000), (2, 12, 10))
    ]


def _hat(x: np.ndarray, gamma: np.ndarray, eps: float, centred: bool, over: tuple) -> tuple[np.ndarray, Callable]:
    c = x - x.mean(axis=over, keepdims=True) if centred else x
    rho = 1 / np.sqrt((c * c).mean(axis=over, keepdims=True) + eps)
    hat = c * rho

    def back(dy: np.ndarray, through_length: bool, with_gamma: bool) -> tuple[np.ndarray, np.ndarray]:
        g = dy * gamma if with_gamma else dy
        dx = g - through_length * hat * (g * hat).mean(axis=over, keepdims=True)
        dx = dx - centred * g.mean(axis=over, keepdims=True)
        return dx * rho, (dy * hat).sum(axis=(0, 1))

    return hat * gamma, back


def _qk_backward(
    q: np.ndarray,
    k: np.ndarray,
    gamma_q: np.ndarray,
    gamma_k: np.ndarray,
    dS: np.ndarray,
    eps: float = 1e-6,
    scaled: bool = True,
    through_length: bool = True,
    with_gamma: bool = True,
    centred: bool = False,
    over: tuple = (-1,),
    transposed: bool = True,
) -> tuple:
    """over: the axes of the mean; (0, 2) for all heads together."""
    (y_q, back_q), (y_k, back_k) = (_hat(x, gamma, eps, centred, over) for x, gamma in ((q, gamma_q), (k, gamma_k)))
    dS = dS / math.sqrt(q.shape[2]) if scaled else dS
    dq, dgamma_q = back_q(dS @ y_k, through_length, with_gamma)
    dk, dgamma_k = back_k((dS.swapaxes(1, 2) if transposed else dS) @ y_q, through_length, with_gamma)
    return dq, dk, dgamma_q, dgamma_k


def _heads(rng: np.random.Generator) -> list[tuple]:
    """In the last case queries and keys are so short that epsilon counts."""
    cases = []
    for (heads, tokens, width), size in (((2, 3, 4), 1), ((3, 5, 6), 2), ((4, 2, 5), 1), ((2, 4, 3), 1e-3)):
        q, k = size * rng.standard_normal((2, heads, tokens, width))
        cases.append((q, k, *rng.uniform(0.5, 2, (2, width)), rng.standard_normal((heads, tokens, tokens))))
    return cases


EXERCISES = [
    Exercise(
        "25.1",
        number(
            512,
            {
                0: "The matrices have equally many numbers. The biases count, too.",
                -512: "It has more, not fewer: gate and value have a bias each.",
                -393728: "This counts two matrices in the gated MLP. It has three: gate, value and out.",
                -392704: "This counts two matrices in the gated MLP. It has three: gate, value and out.",
                591360: "The gated MLP is narrower inside: 1,024 features, not 1,536.",
                1182080: "This is the whole gated MLP. Asked is how many more it has than the other one.",
                1024: "The other MLP has a bias of 1,536 numbers in the middle, the gated one two of 1,024.",
                2048: "These are the two biases of gate and value. The other MLP has a bias in the middle as well.",
                896: "Both have a bias of 384 numbers at the end.",
            },
        ),
        "3 matrices of two thirds the size: equally many weights. Only the biases differ, and they hardly count.",
    ),
    Exercise(
        "25.2",
        diagnosed(
            _rope,
            _places,
            {
                "Values are turned, too. Nothing turns them back, so the result carries absolute places.": partial(
                    _rope, turned=(1, 1, 1)
                ),
                "Keys are not turned. Only two rotations together depend on the offset.": partial(
                    _rope, turned=(1, 0, 0)
                ),
                "Queries are not turned. Only two rotations together depend on the offset.": partial(
                    _rope, turned=(0, 1, 0)
                ),
                "Nothing is turned: this is attention without positions.": partial(_rope, turned=(0, 0, 0)),
                "Queries and keys are turned in opposite directions, so a score depends on the sum of two places.": (
                    partial(_rope, turned=(1, -1, 0))
                ),
                "All pairs are turned in the wrong direction. R has the minus sign at the upper right.": partial(
                    _rope, turned=(-1, -1, 0)
                ),
                "The exponents of the base fall too slowly: an axis has Dh/4 frequencies, so -i / (Dh/4).": partial(
                    _rope, quarter=2
                ),
                "The exponents of the base fall too slowly: -i / (Dh/4), and this divides by Dh.": partial(
                    _rope, quarter=1
                ),
                "The frequencies rise with i. The exponent is negative.": partial(_rope, quarter=-4),
                "All frequencies are 1: the base is missing.": partial(_rope, quarter=0),
                "The first half of the pairs turns with the column here. It turns with the row.": partial(
                    _rope, x_first=True
                ),
                "A pair is made of neighbours, features 2j and 2j + 1, not of features j and Dh/2 + j.": partial(
                    _rope, halves=True
                ),
                "The [class] token is turned. It has no place, and stays as it is.": partial(_rope, class_turned=True),
                "The scores are not divided by the square root of Dh.": partial(_rope, scaled=False),
                "The softmax runs over the queries. The weights of a query sum to 1 over the keys.": partial(
                    _rope, axis=0
                ),
            },
            where={"a head has more than one frequency for each axis": lambda q, *others: q.shape[1] > 4},
            allowed=(),
            advice="To find the place: move all patches by the same offset, with one query and one key.",
        ),
        "Two rotations, one offset. Positions cost no parameters, and each block sees them anew.",
    ),
    Exercise(
        "25.3",
        diagnosed(
            _qk_backward,
            _heads,
            {
                "The factor 1/sqrt(Dh) is missing. QK-norm does not replace it.": partial(_qk_backward, scaled=False),
                "The length of a query depends on all its features, and this takes it as a constant: a term is "
                "missing.": partial(_qk_backward, through_length=False),
                "gamma is missing on the way back to q and k.": partial(_qk_backward, with_gamma=False),
                "This is LayerNorm's gradient. Here no mean is subtracted.": partial(_qk_backward, centred=True),
                "The norm runs over all heads together. Each head is normalised by itself.": partial(
                    _qk_backward, over=(0, 2)
                ),
                "For dk the rows of dS must be the keys: transpose it.": partial(_qk_backward, transposed=False),
                "Epsilon is missing under the root. It counts where queries and keys are short.": partial(
                    _qk_backward, eps=0.0
                ),
            },
            where={"queries and keys are so short that epsilon counts": lambda q, *others: bool(np.abs(q).max() < 0.1)},
            allowed=(),
            results="dq dk dgamma_q dgamma_k",
        ),
        "Both gradients are at right angles to what they belong to: a longer query changes no score.",
    ),
    Exercise(
        "25.4",
        number(
            math.exp(4) / (math.exp(4) + 64 * math.exp(-4)),
            {
                math.exp(4) / (math.exp(4) + 64): "The other scores are 0 here. They can be lower than that.",
                math.exp(4) / (math.exp(4) + 65 * math.exp(-4)): "There are 64 other keys: one of 65 is the largest.",
                math.exp(4) / (math.exp(4) + 65): "There are 64 other keys, and their scores can be below 0.",
                math.exp(16) / (math.exp(16) + 64): "The scores are divided by the square root of Dh.",
                math.e / (math.e + 64 / math.e): "A normalised query has the length sqrt(Dh), not 1.",
                1.0: "The scores are bounded by the square root of Dh, so the weight does not reach 1.",
                1 / 65: "That is the weight if all scores are equal.",
                4.0: "That is the bound on a score. Put it through the softmax.",
                64 * math.exp(-4) / (math.exp(4) + 64 * math.exp(-4)): "That is the sum of the other weights.",
                math.exp(-4) / (math.exp(4) + 64 * math.exp(-4)): "That is one of the small weights.",
            },
        ),
        "With gamma 1 a head of width 16 cannot become fully sharp. A larger gamma can: the bound is learned.",
    ),
]
