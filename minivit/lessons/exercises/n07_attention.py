"""Exercises of notebook 07, scaled dot-product attention."""

from typing import Any

import numpy as np

from minivit.lessons.exercise import Exercise
from minivit.lessons.judges import function_like, number, peak_bytes


def _softmax(scores: np.ndarray) -> np.ndarray:
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _causal_weights(q: np.ndarray, k: np.ndarray) -> np.ndarray:
    scores = q @ k.T / q.shape[1] ** 0.5
    return _softmax(np.where(np.tri(len(q), dtype=bool), scores, -np.inf))


def _causal(q, k, v):
    return _causal_weights(q, k) @ v


def _causal_backward(q, k, v, dY, A=None):
    A = _causal_weights(q, k) if A is None else A
    dA = dY @ v.T
    dS = A * (dA - (dA * A).sum(axis=1, keepdims=True)) / q.shape[1] ** 0.5
    return dS @ k, dS.T @ q, A.T @ dY


def _attention(q, k, v, *_):
    return _softmax(q @ k.T / q.shape[1] ** 0.5) @ v


def _zeroed_after_softmax(q, k, v):
    return (_softmax(q @ k.T / q.shape[1] ** 0.5) * np.tri(len(q))) @ v


def _zeroed_scores(q, k, v):
    return _softmax(q @ k.T / q.shape[1] ** 0.5 * np.tri(len(q))) @ v


def _strictly_earlier(q, k, v):
    scores = np.where(np.tri(len(q), k=-1, dtype=bool), q @ k.T / q.shape[1] ** 0.5, -1e30)
    return _softmax(scores) @ v


def _nothing_left(q, k, v):
    scores = np.where(np.tri(len(q), k=-1, dtype=bool), q @ k.T / q.shape[1] ** 0.5, -np.inf)
    return _softmax(scores) @ v


def _zero_times_infinity(q, k, v):
    return _softmax(q @ k.T / q.shape[1] ** 0.5 + np.triu(np.ones((len(q), len(q))), 1) * -np.inf) @ v


def _looking_ahead(q, k, v):
    return _softmax(np.where(np.tri(len(q), dtype=bool).T, q @ k.T / q.shape[1] ** 0.5, -np.inf)) @ v


def _without_row_sum(q, k, v, dY):
    A = _causal_weights(q, k)
    dS = A * (dY @ v.T) / q.shape[1] ** 0.5
    return dS @ k, dS.T @ q, A.T @ dY


def _without_scale(q, k, v, dY):
    dq, dk, dv = _causal_backward(q, k, v, dY)
    return dq * q.shape[1] ** 0.5, dk * q.shape[1] ** 0.5, dv


def _keys_not_transposed(q, k, v, dY):
    dq, _, dv = _causal_backward(q, k, v, dY)
    A, dA = _causal_weights(q, k), dY @ v.T
    return dq, A * (dA - (dA * A).sum(axis=1, keepdims=True)) @ q / q.shape[1] ** 0.5, dv


def _uncorrected(q, k, v, block, correct_sum=False):
    """The maximum moves on, but what was summed under the old one is not corrected (or the sum of weights alone is)."""
    largest, total, y = np.full((len(q), 1), -np.inf), np.zeros((len(q), 1)), np.zeros_like(v)
    for start in range(0, len(k), block):
        scores = q @ k[start : start + block].T / q.shape[1] ** 0.5
        new = np.maximum(largest, scores.max(axis=1, keepdims=True))
        weights = np.exp(scores - new)
        total = total * (np.exp(largest - new) if correct_sum else 1) + weights.sum(axis=1, keepdims=True)
        y = y + weights @ v[start : start + block]
        largest = new
    return y / total


def _softmax_per_block(q, k, v, block):
    parts = [_attention(q, k[s : s + block], v[s : s + block]) for s in range(0, len(k), block)]
    return sum(parts) / len(parts)


def _three(rng: np.random.Generator) -> list[tuple]:
    return [tuple(rng.standard_normal((3, tokens, width))) for tokens, width in ((4, 3), (7, 2), (1, 5))]


def _causal_cases(rng: np.random.Generator) -> list[tuple]:
    """The last has scores of some hundreds, positive and negative."""
    q, k, v = rng.standard_normal((3, 6, 4))
    return [*_three(rng), (150 * q, k, v)]


def _masked_with(score):
    def causal(q, k, v):
        return _softmax(np.where(np.tri(len(q), dtype=bool), q @ k.T / q.shape[1] ** 0.5, score)) @ v

    return causal


_CAUSAL = function_like(
    _causal,
    _causal_cases,
    {
        "The masked score of -100 is not below all others: scores may be lower still. Use -inf.": _masked_with(-100.0),
        "The later tokens weigh 0, but the others were normalised together with them: rows no longer sum "
        "to 1. Mask the scores before the softmax.": _zeroed_after_softmax,
        "A score of 0 is not a weight of 0: exp(0) = 1. Use -inf.": _zeroed_scores,
        "A token may look at itself: mask j > i, not j >= i, which leaves row 0 no key.": _strictly_earlier,
        "Row 0 has no key left, and its softmax is 0 / 0. Mask j > i, not j >= i: a token may look at itself.": (
            _nothing_left
        ),
        "The mask itself is NaN: 0 * -inf is NaN, not 0. Choose with np.where instead of multiplying.": (
            _zero_times_infinity
        ),
        "The scores are divided by sqrt(D_h) (Eq. 6).": lambda q, k, v: _causal(q * q.shape[1] ** 0.5, k, v),
        "This one looks at later tokens only: the mask is transposed.": _looking_ahead,
        "This is attention without a mask.": _attention,
    },
    allowed=("softmax",),
)


def _blocks(rng: np.random.Generator) -> list[tuple]:
    """The second case has large scores, the last only scores far below zero."""
    cases = [
        (*(scale * rng.standard_normal((3, tokens, width))), block)
        for tokens, width, block, scale in ((7, 3, 2, 1), (6, 4, 2, 30), (5, 2, 5, 1))
    ]
    q, k, v = rng.standard_normal((3, 5, 4))
    return [*cases, (q + 40, k - 40, v, 2)]


_IN_BLOCKS = function_like(
    _attention,
    _blocks,
    {
        "Each block has a softmax of its own. The weights of all keys must sum to 1 together: keep the sum "
        "of exponentials, and divide once, at the end.": _softmax_per_block,
        "When the maximum rises from m to m', everything summed so far must be multiplied by exp(m - m'): the "
        "weights' sum and the values' sum.": _uncorrected,
        "The sum of the weights is corrected for the new maximum, the weighted sum of the values is not.": (
            lambda q, k, v, block: _uncorrected(q, k, v, block, correct_sum=True)
        ),
        "The scores are divided by sqrt(D_h) (Eq. 6).": lambda q, k, v, block: _attention(q * q.shape[1] ** 0.5, k, v),
    },
    allowed=(),
)


def _in_blocks_fault(answer: Any) -> str | None:
    """What is wrong, with words of its own for overflow, and for memory: blocks need a small part of the bytes of A."""
    with np.errstate(all="ignore"):
        fault = _IN_BLOCKS(answer)
    if fault and "not finite" in fault and not _IN_BLOCKS.without(answer, 1, 3):
        return (
            "It is not finite for large scores: exp overflows, and if all are far below zero every exp is 0. Subtract "
            "the largest score of all blocks so far, beginning with -inf, and correct both sums when it rises."
        )
    if fault:
        return fault
    tokens = 300
    q, k, v = np.random.default_rng(0).standard_normal((3, tokens, 2))
    used, all_scores = peak_bytes(answer, q, k, v, 5), 8 * tokens * tokens
    if used < all_scores / 3:
        return None
    return (
        f"The result is right, but for {tokens} tokens and a block of 5 it held {used:,} bytes at once, where all "
        f"scores together are {all_scores:,}. Make no array with an entry for each query and key, and keep nothing "
        "of a block when the next one comes."
    )


EXERCISES = [
    Exercise(
        "7.1",
        function_like(
            lambda v: v.mean(axis=0),
            lambda rng: [(rng.standard_normal((4, 3)),), (rng.standard_normal((7, 5)),)],
            {
                "The scores are all 0, but softmax(0) is not 0: N equal scores give N equal weights, 1/N each.": (
                    lambda v: np.zeros(v.shape[1])
                ),
                "The weights are 1/N each, not 1 each: the rows of A sum to 1.": lambda v: v.sum(axis=0),
                "This is the mean over the features of each token. The sum in A v runs over the tokens.": (
                    lambda v: v.mean(axis=1)
                ),
            },
            allowed=(),
        ),
        "With equal weights attention is the plain mean over the tokens.",
    ),
    Exercise(
        "7.2",
        _CAUSAL,
        "exp(-inf) is exactly 0, and the remaining weights sum to 1.",
    ),
    Exercise(
        "7.3",
        function_like(
            _causal_backward,
            lambda rng: [tuple(rng.standard_normal((4, tokens, width))) for tokens, width in ((4, 3), (7, 2))],
            {
                "The row sum is missing: the softmax hands back A * (dA - r), with r the sum of dA * A over each "
                "row.": _without_row_sum,
                "S is q k^T divided by sqrt(D_h), and so are dq and dk.": _without_scale,
                "dk needs dS transposed: key j is column j of S.": _keys_not_transposed,
                "These are the gradients of attention without the mask: A must be the masked one.": (
                    lambda q, k, v, dY: _causal_backward(q, k, v, dY, _softmax(q @ k.T / q.shape[1] ** 0.5))
                ),
            },
            allowed=("softmax",),
            results="dq dk dv",
        ),
        "No line for the mask: where A is 0, A * (dA - r) is 0 as well. The forward pass has said it all.",
    ),
    Exercise(
        "7.4",
        _in_blocks_fault,
        "This is the online softmax, the core of FlashAttention (Dao et al. 2022); notebook 28 measures what it saves.",
    ),
    Exercise(
        "7.5",
        number(
            544,
            {
                528: "With 33 x 33 patches and [class] there are 1090 tokens. Eq. 5 still takes more.",
                1152: "At so many tokens the two are equal. Asked is the side of the image in pixels.",
                1157: "This is the number of tokens. Asked is the side of the image in pixels.",
                34: "So many patches lie along a side. Asked is the side in pixels.",
                448: "This is where N exceeds D. Eq. 5 takes 3 N D^2, Eq. 6 and 7 take N^2 D each.",
                320: "This is where N exceeds D / 2. Two products of N^2 D are right, but Eq. 5 takes 3 N D^2.",
                640: "This is where N exceeds 2 D: it counts a fourth matrix of D^2, which Eq. 5 does not have.",
                768: "This is where N exceeds 3 D: Eq. 6 and 7 take N^2 D each, so 2 N^2 D together.",
            },
        ),
        "34 x 34 patches and [class] are 1157 tokens, more than 1.5 D = 1152.",
    ),
]
