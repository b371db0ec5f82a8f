"""Exercises of notebook 06b, label smoothing, the sigmoid loss and temperature."""

import math

import numpy as np

from minivit.lessons.exercise import Exercise
from minivit.lessons.judges import function_like, number


def _log_softmax(z: np.ndarray) -> np.ndarray:
    shifted = z - z.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


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


def _logits(rng: np.random.Generator) -> list[tuple]:
    return [
        (rng.standard_normal((rows, classes)), rng.integers(0, classes, rows), smoothing)
        for rows, classes, smoothing in ((4, 3, 0.1), (2, 6, 0.3), (3, 5, 0.0))
    ]


EXERCISES = [
    Exercise(
        "6b.1",
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
        "6b.2",
        number(
            -math.log(21842),
            {
                math.log(21842): "With this sign every question is answered yes. 21842 of 21843 answers are no.",
                -math.log(
                    21843
                ): "Nearly: this is log(1/K). The bias is a logit: the logarithm of p / (1 - p), not of p.",
                math.log(21843): "The bias is a logit: the logarithm of p / (1 - p), with p the share of yes.",
                1 / 21843: "This is the best probability of yes. Which bias has it as its sigmoid?",
                0: "At a bias of 0 the K - 1 questions that are answered no push the bias down.",
            },
        ),
        "One yes in K questions: sigmoid(bias) = 1 / K. This is -9.99, and the published start is -10.",
    ),
    Exercise(
        "6b.3",
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
        "6b.4",
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
]
