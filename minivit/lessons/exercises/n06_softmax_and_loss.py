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


def _softplus(z: float) -> float:
    return max(z, 0) + math.log1p(math.exp(-abs(z)))


def _smoothed(z, labels, smoothing, right=1.0, others=None):
    """(p - t) / B with t = right (1 - smoothing) for the label, plus `others` (default smoothing / K) for all."""
    classes = z.shape[1]
    others = smoothing / classes if others is None else others
    t = right * (1 - smoothing) * np.eye(classes)[labels] + others
    return (np.exp(_log_softmax(z)) - t) / len(z)


def _smoothed_over_wrong_classes(z, labels, smoothing):
    wrong = 1 - np.eye(z.shape[1])[labels]
    return _smoothed(z, labels, smoothing, others=wrong * smoothing / (z.shape[1] - 1))


def _temperature(z, t, tau):
    error = (np.exp(_log_softmax(z / tau)) - t) / len(z)
    return error / tau, -(error * z).sum() / tau**2


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


def _logits(rng: np.random.Generator) -> list[tuple]:
    return [
        (rng.standard_normal((rows, classes)), rng.integers(0, classes, rows), smoothing)
        for rows, classes, smoothing in ((4, 3, 0.1), (2, 6, 0.3), (3, 5, 0.0))
    ]


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
            _softplus(10) + 21842 * _softplus(-10),
            {
                21843 * math.log(2): "This is the loss for a bias of 0: K log 2.",
                math.log(21843): "This is the softmax loss. The sigmoid loss asks K questions and sums.",
                21843 * _softplus(-10): "The label's own question is answered wrongly: for it the target is 1.",
                21842 * _softplus(-10): "The label's own question is missing. It is answered wrongly, and costs most.",
                _softplus(10): "The 21842 other questions cost little each, but they are many.",
                (_softplus(10) + 21842 * _softplus(-10)) / 21843: "The loss is summed over the classes, no mean.",
            },
            rtol=1e-4,
        ),
        "Most of it is the label's own question. The others start with a gradient near 0 instead of 1/2.",
    ),
    Exercise(
        "6.3",
        function_like(
            _smoothed,
            _logits,
            {
                "This is the gradient without smoothing.": lambda z, labels, smoothing: _smoothed(z, labels, 0.0),
                "The share is spread over the wrong classes only. Here all K get smoothing / K, the right one "
                "as well.": _smoothed_over_wrong_classes,
                "The targets do not sum to 1: the right class gives away the share that is spread.": (
                    lambda z, labels, smoothing: _smoothed(z, labels, smoothing, right=1 / (1 - smoothing))
                ),
                "The targets do not sum to 1: what the right class gives away must go to the classes.": (
                    lambda z, labels, smoothing: _smoothed(z, labels, smoothing, others=0.0)
                ),
                "The loss is a mean over the B rows, and so is its gradient.": (
                    lambda z, labels, smoothing: len(z) * _smoothed(z, labels, smoothing)
                ),
            },
            allowed=(),
        ),
        "Smoothing changes the targets, nothing else: the gradient is still (p - t) / B.",
    ),
    Exercise(
        "6.4",
        function_like(
            _temperature,
            lambda rng: [
                (rng.standard_normal((rows, classes)), rng.dirichlet(np.ones(classes), rows), tau)
                for rows, classes, tau in ((4, 3, 0.5), (2, 6, 3.0))
            ],
            {
                "dz: the chain rule through z / tau brings a factor 1 / tau.": (
                    lambda z, t, tau: (_temperature(z, t, tau)[0] * tau, _temperature(z, t, tau)[1])
                ),
                "dtau: the derivative of z / tau with respect to tau is -z / tau^2.": (
                    lambda z, t, tau: (_temperature(z, t, tau)[0], -_temperature(z, t, tau)[1] * tau**2)
                ),
                "dtau: the derivative of 1 / tau is -1 / tau^2, with a minus sign.": (
                    lambda z, t, tau: (_temperature(z, t, tau)[0], -_temperature(z, t, tau)[1])
                ),
                "dtau: one power of tau is missing; the derivative of 1 / tau is -1 / tau^2.": (
                    lambda z, t, tau: (_temperature(z, t, tau)[0], _temperature(z, t, tau)[1] * tau)
                ),
                "The softmax must be that of z / tau, in both gradients.": (
                    lambda z, t, tau: (
                        _temperature(z, t, 1.0)[0] / tau,
                        _temperature(z, t, 1.0)[1] / tau**2,
                    )
                ),
            },
            allowed=("softmax", "log_softmax"),
            results="dz dtau",
        ),
        "tau is one number used by every entry, so its gradient is a sum over all of them: dtau = -<dz, z> / tau.",
    ),
    Exercise(
        "6.5",
        _blocks_fault,
        "First time: the log-sum-exp. Second time: the blocks of p - t. The logits are computed twice and never kept.",
    ),
]
