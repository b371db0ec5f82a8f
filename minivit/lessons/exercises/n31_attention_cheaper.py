"""Exercises of notebook 31, attention that costs less."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from minivit.lessons.diagnosis import diagnosed
from minivit.lessons.exercise import Exercise
from minivit.lessons.judges import peak_bytes
from minivit.lessons.slips.causal_features import SLIPS, causal_performer


def _features_needed(
    q: np.ndarray,
    k: np.ndarray,
    error: float,
    shrink: float = 0.25,
    power: int = 2,
    less: float = 1.0,
    relative: bool = True,
    whole: Callable[[float], float] = math.ceil,
    sign: int = 1,
) -> float:
    """shrink: q and k are divided by this power of Dh; power: of the error; sign: of the key in the exponent."""
    a, b = q * q.shape[0] ** -shrink, k * k.shape[0] ** -shrink
    size = 1.0 if relative else math.exp(2 * a @ b)
    return whole(size * (math.exp(np.square(a + sign * b).sum()) - less) / error**power)


def _by_sines(q: np.ndarray, k: np.ndarray, error: float) -> float:
    a, b = q * q.shape[0] ** -0.25, k * k.shape[0] ** -0.25
    law = math.exp(np.square(a + b).sum() - 4 * a @ b) * math.expm1(-np.square(a - b).sum()) ** 2
    return math.ceil(law / (2 * error**2))


def _lengths_alone(q: np.ndarray, k: np.ndarray, error: float) -> float:
    a, b = q * q.shape[0] ** -0.25, k * k.shape[0] ** -0.25
    return math.ceil((math.exp(a @ a + b @ b) - 1) / error**2)


def _scores(rng: np.random.Generator) -> list[tuple]:
    pairs = [rng.standard_normal((2, width)) * size for width, size in ((8, 0.6), (3, 0.7), (5, 1.0), (16, 0.8))]
    return [(*pair, error) for pair, error in zip(pairs, (0.1, 0.05, 0.3, 0.02), strict=True)]


def _shares(lse1: np.ndarray, lse2: np.ndarray) -> tuple:
    """Weights of the two parts and lse of both."""
    lse = np.logaddexp(lse1, lse2)
    common = np.where(lse == -np.inf, 0, lse)
    return np.exp(lse1 - common)[:, None], np.exp(lse2 - common)[:, None], lse


def _combine(y1: np.ndarray, lse1: np.ndarray, y2: np.ndarray, lse2: np.ndarray) -> tuple:
    first, second, lse = _shares(lse1, lse2)
    return first * y1 + second * y2, lse


def _exchanged(y1: np.ndarray, lse1: np.ndarray, y2: np.ndarray, lse2: np.ndarray) -> tuple:
    return _combine(y2, lse1, y1, lse2)


def _weighted(by: Callable[..., Any], y1: np.ndarray, lse1: np.ndarray, y2: np.ndarray, lse2: np.ndarray) -> tuple:
    """by: the weights of the two results, from lse1 and lse2."""
    first, second = by(lse1, lse2)
    return first * y1 + second * y2, np.logaddexp(lse1, lse2)


def _with_lse(by: Callable, y1: np.ndarray, lse1: np.ndarray, y2: np.ndarray, lse2: np.ndarray) -> tuple:
    return _combine(y1, lse1, y2, lse2)[0], by(lse1, lse2)


def _unguarded(y1: np.ndarray, lse1: np.ndarray, y2: np.ndarray, lse2: np.ndarray) -> tuple:
    m = np.maximum(lse1, lse2)
    e1, e2 = np.exp(lse1 - m)[:, None], np.exp(lse2 - m)[:, None]
    return (e1 * y1 + e2 * y2) / (e1 + e2), m + np.log(e1 + e2)[:, 0]


def _overflowing(y1: np.ndarray, lse1: np.ndarray, y2: np.ndarray, lse2: np.ndarray) -> tuple:
    e1, e2 = np.exp(lse1)[:, None], np.exp(lse2)[:, None]
    below = np.where(e1 + e2 == 0, 1, e1 + e2)
    return (e1 * y1 + e2 * y2) / below, np.log(e1 + e2)[:, 0]


def _halves(rng: np.random.Generator) -> list[tuple]:
    """The third has scores in the thousands, the last queries that have seen nothing on one side or on both."""
    cases = []
    for n, width, mean in ((3, 2, 0.0), (5, 3, 2.0), (4, 6, 2000.0), (6, 4, -3000.0), (7, 5, 0.0)):
        y1, y2 = rng.standard_normal((2, n, width))
        cases.append((y1, mean + rng.standard_normal(n), y2, mean + rng.standard_normal(n)))
    y1, lse1, y2, lse2 = cases[-1]
    for y, lse, unseen in ((y1, lse1, [0, 2]), (y2, lse2, [2, 5])):
        y[unseen], lse[unseen] = 0, -np.inf
    return cases


def _backward(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    dy: np.ndarray,
    dlse: np.ndarray,
    *,
    of_lse: float = 1.0,
    weighted: bool = True,
    delta: bool = True,
    scaled: bool = True,
) -> tuple:
    """of_lse: factor of dlse; weighted: by A."""
    scale = 1 / math.sqrt(q.shape[1])
    s = scale * q @ k.T
    e = np.exp(s - s.max(axis=1, keepdims=True))
    a = e / e.sum(axis=1, keepdims=True)
    da, extra = dy @ v.T, of_lse * dlse[:, None]
    ds = a * (da - delta * (a * da).sum(axis=1, keepdims=True)) + (a * extra if weighted else extra)
    scale = scale if scaled else 1.0
    return scale * ds @ k, scale * ds.T @ q, a.T @ dy


def _attentions(rng: np.random.Generator) -> list[tuple]:
    return [
        (*rng.standard_normal((4, n, width)), rng.standard_normal(n)) for n, width in ((3, 2), (5, 3), (4, 7), (6, 5))
    ]


def _heads(rng: np.random.Generator) -> list[tuple]:
    sizes = ((4, 3, 6), (6, 2, 5), (3, 5, 7), (7, 4, 2))
    return [(*rng.standard_normal((3, n, width)), rng.standard_normal((r, width))) for n, width, r in sizes]


TOKENS, LIMIT = 1500, 1500 * 1500 // 2  # bytes: half of a matrix of truth values


def _without_a_matrix(answer: Any) -> str | None:
    """A right answer may not have an array of N^2 entries."""
    fault = diagnosed(causal_performer, _heads, SLIPS, allowed=())(answer)
    if fault is not None:
        return fault
    rng = np.random.default_rng(1)
    held = peak_bytes(answer, *rng.standard_normal((3, TOKENS, 2)), rng.standard_normal((3, 2)))
    if held > LIMIT:
        return (
            f"The results are right. With {TOKENS} tokens it holds {held / 2**20:.0f} MiB: somewhere there is an array "
            "with an entry for each pair of tokens. What has to be known about all keys up to i?"
        )
    return None


def _mixed_weights(
    q: np.ndarray, k: np.ndarray, keys: np.ndarray, values: np.ndarray, scale: float = 0.5, summed: bool = False
) -> np.ndarray:
    """scale: the power of Dh that divides the scores; summed: rows are divided by their sums."""
    s = q @ (keys @ k).T / q.shape[1] ** scale
    e = np.exp(s - s.max(axis=1, keepdims=True))
    w = e / e.sum(axis=1, keepdims=True) @ values
    return w / w.sum(axis=1, keepdims=True) if summed else w


def _weights_mixed_after(q: np.ndarray, k: np.ndarray, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    return _mixed_weights(q, k, np.eye(len(k)), np.eye(len(k))) @ keys.T @ values


def _mixtures(rng: np.random.Generator) -> list[tuple]:
    sizes = ((5, 3, 2), (7, 2, 4), (4, 6, 3), (6, 5, 1))
    return [(*rng.standard_normal((2, n, width)), *rng.standard_normal((2, r, n))) for n, width, r in sizes]


EXERCISES = [
    Exercise(
        "31.1",
        diagnosed(
            _features_needed,
            _scores,
            {
                "Query and key are divided by Dh^(1/4) each before (5).": partial(_features_needed, shrink=0.0),
                "Query and key are divided by Dh^(1/4) each, not by its square root.": (
                    partial(_features_needed, shrink=0.5)
                ),
                "(5) is a variance; the error is its root.": partial(_features_needed, power=1),
                "The 1 in (5) is missing.": partial(_features_needed, less=0.0),
                "The error is relative to s: s^2 cancels.": partial(_features_needed, relative=False),
                "A whole number is asked for: how is this one rounded so that the error is small enough?": (
                    partial(_features_needed, whole=float)
                ),
                "Rounded down, the error is a little too large.": partial(_features_needed, whole=math.floor),
                "Rounded to the nearest number, the error may be a little too large.": (
                    partial(_features_needed, whole=round)
                ),
                "One more would be needed only if the quotient were a whole number and the error had to be below it.": (
                    lambda q, k, error: _features_needed(q, k, error, whole=math.floor) + 2
                ),
                "The exponent has the sum of query and key, not their difference.": partial(_features_needed, sign=-1),
                "These are the squared lengths of query and key; their inner product counts as well.": _lengths_alone,
                "This is the law of trigonometric features.": _by_sines,
            },
            allowed=(),
        ),
        "Exponential in |a + b|^2. Some pairs of the trained heads have more than 50 there.",
    ),
    Exercise(
        "31.2",
        diagnosed(
            _combine,
            _halves,
            {
                "Each result counts by its own sum of exponentials; the two are exchanged.": _exchanged,
                "The two results are not equally important: a part with larger scores has more weight.": (
                    partial(_weighted, lambda lse1, lse2: (0.5, 0.5))
                ),
                "The results are added. Each is a mean over its own keys, and the result is a mean over all.": (
                    partial(_weighted, lambda lse1, lse2: (1, 1))
                ),
                "y is right. lse is the logarithm of a sum, not the sum of logarithms.": (
                    partial(_with_lse, lambda lse1, lse2: lse1 + lse2)
                ),
                "y is right. lse of both is larger than either: the maximum is only nearly right.": (
                    partial(_with_lse, np.maximum)
                ),
                "A query that has seen nothing on either side gives NaN: -inf minus -inf.": _unguarded,
                "Large scores overflow: subtract the larger lse before `exp`.": _overflowing,
            },
            where={
                "scores are in the thousands": lambda y1, lse1, y2, lse2: bool(np.abs(lse1[1]) > 500),
                "a query has seen nothing on one side": lambda y1, lse1, y2, lse2: bool(np.isinf(lse1).any()),
            },
            allowed=(),
            results="y lse",
        ),
        "Keys can be split over machines: each sends its result and one number for each query.",
    ),
    Exercise(
        "31.3",
        diagnosed(
            _backward,
            _attentions,
            {
                "dlse has no effect. What is the derivative of lse with respect to a score? (If dlse is added to dA "
                "before the pullback of the softmax: a constant of a row is lost there.)": (
                    partial(_backward, of_lse=0.0)
                ),
                "The part with dlse has the wrong sign.": partial(_backward, of_lse=-1.0),
                "dlse is added to every score of a row. A score with a small weight changes lse little.": (
                    partial(_backward, weighted=False)
                ),
                "dv is right. delta is missing.": partial(_backward, delta=False),
                "dv is right. dq and dk are not divided by the square root of Dh.": partial(_backward, scaled=False),
            },
            allowed=(),
            results="dq dk dv",
        ),
        "dS = A (dA - delta + dlse): the extra gradient costs one number for each query.",
    ),
    Exercise(
        "31.4",
        _without_a_matrix,
        "Sums that grow from token to token replace all earlier keys and values: a recurrent network in disguise.",
    ),
    Exercise(
        "31.5",
        diagnosed(
            _mixed_weights,
            _mixtures,
            {
                "Keys are mixed before the softmax. Here exact weights are computed first, and mixed then.": (
                    _weights_mixed_after
                ),
                "The two mixtures are exchanged: Gk belongs to the keys.": (
                    lambda q, k, keys, values: _mixed_weights(q, k, values, keys)
                ),
                "Values have a mixture of their own, Gv.": lambda q, k, keys, values: _mixed_weights(q, k, keys, keys),
                "Keys have a mixture of their own, Gk.": lambda q, k, keys, values: _mixed_weights(
                    q, k, values, values
                ),
                "The scores are divided by the square root of Dh.": partial(_mixed_weights, scale=0.0),
                "The scores are divided by Dh; its square root is right.": partial(_mixed_weights, scale=1.0),
                "Nothing makes these rows sum to 1: (7) does not divide by their sums.": (
                    partial(_mixed_weights, summed=True)
                ),
                "These are the weights of the mixtures, (N, R). How much of each token is in a mixed value?": (
                    lambda q, k, keys, values: _mixed_weights(q, k, keys, np.eye(len(keys)))
                ),
            },
            allowed=(),
        ),
        "Its rank is at most R. Its rows sum to 1 if those of Gv do, and its entries may be negative.",
    ),
]
