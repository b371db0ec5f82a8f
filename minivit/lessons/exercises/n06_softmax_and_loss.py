"""Exercises of notebook 06, softmax and loss."""

import math
from typing import Any

import numpy as np

from minivit.lessons.exercise import Exercise
from minivit.lessons.judges import function_like, number, peak_bytes


def _log_softmax(z: np.ndarray) -> np.ndarray:
    shifted = z - z.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def _log_sum_exp(z):
    return z[:, 0] - _log_softmax(z)[:, 0]


_judge_log_sum_exp = function_like(
    _log_sum_exp,
    lambda rng: [(rng.standard_normal((3, 5)),), (1e3 * rng.standard_normal((4, 2)),), (np.full((1, 3), -1e3),)],
    {
        "The largest logit was subtracted and must be added again: log sum e^z = m + log sum e^(z - m).": (
            lambda z: np.log(np.exp(z - z.max(axis=1, keepdims=True)).sum(axis=1))
        ),
        "This is the largest logit alone. The other terms of the sum count as well.": lambda z: z.max(axis=1),
        "The mean of the exponentials is not their sum.": lambda z: _log_sum_exp(z) - np.log(z.shape[1]),
        "This is one number for each class: the sum runs over the classes, the last axis.": lambda z: _log_sum_exp(z.T),
    },
    allowed=(),
)


def _log_sum_exp_fault(answer: Any) -> str | None:
    """What is wrong, with words of its own for overflow, which is what the exercise is about."""
    with np.errstate(all="ignore"):
        fault = _judge_log_sum_exp(answer)
    if fault and "not finite" in fault and not _judge_log_sum_exp.without(answer, 1, 2):
        return (
            "It is not finite for large logits: exp(1000) overflows, and exp(-1000) is 0, whose logarithm is -inf. "
            "Subtract from each row a number that makes its largest exponent 0."
        )
    return fault


def _log_softmax_backward(z, dy):
    return dy - np.exp(_log_softmax(z)) * dy.sum(axis=1, keepdims=True)


def _blocks(x, W, labels, block, one_softmax=True):
    """The reference, all at once; or, for a mistake, with a softmax of its own in each block."""
    starts = range(0, W.shape[1], W.shape[1] if one_softmax else block)
    log_p = np.hstack([_log_softmax(x @ W[:, i : i + (starts.step)]) for i in starts])
    t = np.eye(W.shape[1])[labels]
    dz = (np.exp(log_p) - t) / len(x)
    return -(t * log_p).sum() / len(x), dz @ W.T, x.T @ dz


def _without_labels(x, W, labels, block):
    loss, dx, dW = _blocks(x, W, labels, block)
    t = np.eye(W.shape[1])[labels] / len(x)
    return loss, dx + t @ W.T, dW + x.T @ t


def _summed(x, W, labels, block):
    return tuple(len(x) * part for part in _blocks(x, W, labels, block))


def _features(rng: np.random.Generator) -> list[tuple]:
    """Features, a head, labels and a block.

    The second case has logits beyond 709, where exp overflows; the last only logits below -745, where exp is 0.
    """
    cases = [
        (
            scale * rng.standard_normal((rows, width)),
            rng.standard_normal((width, classes)),
            rng.integers(0, classes, rows),
            block,
        )
        for rows, width, classes, block, scale in ((4, 3, 7, 2, 1), (2, 5, 6, 3, 300), (5, 2, 3, 8, 1))
    ]
    x, W = rng.standard_normal((3, 4)), rng.standard_normal((4, 5))
    return [*cases, (x + 20, W - 20, rng.integers(0, 5, 3), 2)]


_judge_blocks = function_like(
    _blocks,
    _features,
    {
        "Each block has a softmax of its own. One log-sum-exp over all classes must be known before the "
        "first probability is.": lambda x, W, labels, block: _blocks(x, W, labels, block, one_softmax=False),
        "The loss is right. In the gradients p - t the targets are missing: subtract 1 / B for the label, in "
        "the block that holds it.": _without_labels,
        "Everything is B times too large: the loss is a mean over the rows.": _summed,
    },
    allowed=("softmax", "log_softmax"),
    results="L dx dW",
)


def _blocks_fault(answer: Any) -> str | None:
    """What is wrong, with words of its own for overflow."""
    with np.errstate(all="ignore"):
        fault = _judge_blocks(answer)
    if fault and "not finite" in fault and not _judge_blocks.without(answer, 1, 3):
        if not _judge_blocks.without(answer, 3):
            return (
                "It is not finite where all logits of a row are far below zero: every exp is 0, and so is their sum. "
                "The largest logit so far begins with -inf, not with 0 or another number."
            )
        return (
            "It is not finite for large logits: exp overflows. Keep the largest logit of each row so far, and rescale "
            "the sum when a larger one comes."
        )
    return fault or _blocks_memory_fault(answer)


def _blocks_memory_fault(answer: Any) -> str | None:
    """What is wrong with the memory it takes for many classes: blocks need a small part of the logits' bytes."""
    rng = np.random.default_rng(0)
    rows, classes = 200, 600
    args = rng.standard_normal((rows, 2)), rng.standard_normal((2, classes)), rng.integers(0, classes, rows), 6
    used, all_logits = peak_bytes(answer, *args), 8 * rows * classes
    if used < all_logits / 3:
        return None
    return (
        f"The results are right, but with {classes} classes in blocks of 6 it held {used:,} bytes at once, where all "
        f"logits together are {all_logits:,}. Make no array with an entry for each row and class, and keep nothing of "
        "a block when the next one comes."
    )


EXERCISES = [
    Exercise("6.1", _log_sum_exp_fault, "`minivit.ops.log_softmax` is z minus this."),
    Exercise(
        "6.2",
        number(
            math.log1p(9 / math.e),
            {
                0: "The logits that arrive here are probabilities, between 0 and 1: their softmax never reaches 1.",
                math.log(10): "This is the loss for equal probabilities. A sure and right first softmax gives less.",
                math.e / (math.e + 9): "This is the probability of the right class; the loss is minus its logarithm.",
                math.log(9 + math.e): "This is the log-sum-exp. From it the logit of the right class is subtracted.",
                math.log(1 + 1 / math.e): "This is for two classes. Here nine classes are wrong.",
                math.log1p(10 / math.e): "Nine classes are wrong, not ten.",
            },
            rtol=1e-4,
        ),
        "The second softmax sees a 1 and nine 0. A loss that stops at such a value tells of a softmax too many.",
    ),
    Exercise(
        "6.3",
        function_like(
            _log_softmax_backward,
            lambda rng: [tuple(rng.standard_normal((2, rows, classes))) for rows, classes in ((4, 3), (2, 6))],
            {
                "This is the pullback of the softmax, not of its logarithm.": lambda z, dy: (
                    np.exp(_log_softmax(z)) * (dy - (dy * np.exp(_log_softmax(z))).sum(axis=1, keepdims=True))
                ),
                "The sum of dy over each row is missing. It is 1 for minus a target, but here dy is any array.": (
                    lambda z, dy: dy - np.exp(_log_softmax(z))
                ),
                "z is used twice, and the path through lse is missing.": lambda z, dy: dy,
                "Only the path through lse is here. z is used directly, too.": (
                    lambda z, dy: _log_softmax_backward(z, dy) - dy
                ),
                "lse is subtracted, so its path has a minus sign.": lambda z, dy: 2 * dy - _log_softmax_backward(z, dy),
                "Each row has an lse of its own: the sum of dy runs over the classes, not over the rows.": (
                    lambda z, dy: dy - np.exp(_log_softmax(z)) * dy.sum(axis=0)
                ),
            },
            allowed=("softmax",),
        ),
        "For dy = -t / B the row sums are -1 / B, and this becomes (p - t) / B.",
    ),
    Exercise(
        "6.4",
        _blocks_fault,
        "First time: the log-sum-exp. Second time: the blocks of p - t. The logits are computed twice and never kept.",
    ),
]
