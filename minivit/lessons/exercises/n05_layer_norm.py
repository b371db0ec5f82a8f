"""Exercises of notebook 05, LayerNorm."""

from functools import partial

import numpy as np

from minivit.lessons.exercise import Exercise
from minivit.lessons.judges import function_like, number


def _mean(a: np.ndarray, axis=-1) -> np.ndarray:
    return a.mean(axis=axis, keepdims=True)


def _rms_jacobian(x, gamma, eps, *, through_rho=True, minus_mean=False, scaled=True, by_rho=True, averaged=True):
    """The right Jacobian; each flag makes one mistake."""
    D = len(x)
    rho = 1 / np.sqrt((x * x).mean() + eps)
    x_hat = x * rho
    J = np.eye(D) - through_rho * np.outer(x_hat, x_hat) / (D if averaged else 1) - minus_mean / D
    return (gamma[:, None] if scaled else 1) * J * (rho if by_rho else 1)


def _rms_gamma_of_columns(x, gamma, eps):
    return _rms_jacobian(x, gamma, eps).T


def _layer_norm_jacobian(x, gamma, eps):
    return _rms_jacobian(x - x.mean(), gamma, eps, minus_mean=True)


def _rms_exact_x_hat(x, gamma, eps):
    rho, x_hat = 1 / np.sqrt((x * x).mean() + eps), x / np.sqrt((x * x).mean())
    return rho * gamma[:, None] * (np.eye(len(x)) - np.outer(x_hat, x_hat) / len(x))


def _group_backward(x, gamma, dy, groups, eps, axes=(1, 2, 4), interleaved=False, scaled=True):
    """axes: over which a mean is taken, of (B, height, width, groups, channels of a group)."""
    B, height, width, C = x.shape
    shape = (B, height, width, groups, C // groups)

    def split(a):
        return a.reshape(*shape[:3], -1, groups).swapaxes(3, 4) if interleaved else a.reshape(shape)

    def merged(a):
        return (a.swapaxes(3, 4) if interleaved else a).reshape(x.shape)

    c = split(x) - _mean(split(x), axes)
    rho = 1 / np.sqrt(_mean(c * c, axes) + eps)
    x_hat, g = c * rho, split(dy * gamma if scaled else dy)
    dx = rho * (g - _mean(g, axes) - x_hat * _mean(g * x_hat, axes))
    return merged(dx), (dy * merged(x_hat)).sum(axis=(0, 1, 2)), dy.sum(axis=(0, 1, 2))


def _group_by_reshape_alone(x, gamma, dy, groups, eps):
    rows = x.reshape(len(x) * groups, -1)
    c = rows - _mean(rows)
    rho = 1 / np.sqrt(_mean(c * c) + eps)
    x_hat, g = c * rho, (dy * gamma).reshape(rows.shape)
    dx = rho * (g - _mean(g) - x_hat * _mean(g * x_hat))
    return dx.reshape(x.shape), (dy * x_hat.reshape(x.shape)).sum(axis=(0, 1, 2)), dy.sum(axis=(0, 1, 2))


def _rows(rng: np.random.Generator) -> list[tuple]:
    return [
        (2 + rng.standard_normal(D), rng.uniform(0.5, 2, D), eps)
        for D, eps in ((7, 1e-6), (4, 1e-2), (1, 1.0), (5, 0.5))
    ]


def _images(rng: np.random.Generator) -> list[tuple]:
    cases = []
    for shape, groups, eps in (((2, 5, 3, 12), 4, 1e-6), ((3, 2, 4, 10), 5, 1e-2)):
        x, dy = 2 + rng.standard_normal(shape), rng.standard_normal(shape)
        cases.append((x, rng.uniform(0.5, 2, shape[-1]), dy, groups, eps))
    return cases


EXERCISES = [
    Exercise(
        "5.1",
        function_like(
            lambda a, gamma, beta: beta,
            lambda rng: [(a, rng.standard_normal(d), rng.standard_normal(d)) for a, d in ((3.0, 4), (-0.5, 7))],
            {
                "x_hat is 0, but the bias is still added.": lambda a, gamma, beta: np.zeros_like(beta),
                "Compute x - mean first: what is left of a constant row?": lambda a, gamma, beta: a * gamma + beta,
                "The mean of the row is a, and it is subtracted.": lambda a, gamma, beta: np.full_like(beta, a),
                "x_hat is 0 here, not 1: x - mean is 0 for every feature, and epsilon keeps 0 / 0 away.": (
                    lambda a, gamma, beta: gamma + beta
                ),
            },
            allowed=(),
        ),
        "x - mean is 0, epsilon makes it 0 / sqrt(epsilon), and the bias alone is left: the level of a token is lost.",
    ),
    Exercise(
        "5.2",
        number(
            (767 / 768) ** 0.5,
            {
                (768 / 767) ** 0.5: "It is the other way round: a larger variance makes x_hat smaller.",
                767 / 768: "This is the ratio of variances. x_hat is divided by the standard deviation.",
                768 / 767: "This is the ratio of variances, theirs over ours. What does it do to x_hat?",
                1.0: "Nearly. Six digits, please.",
            },
            rtol=5e-7,
        ),
        "Less than a thousandth, at every LayerNorm: too little to see in a figure, enough to fail a comparison.",
    ),
    Exercise(
        "5.3",
        function_like(
            _rms_jacobian,
            _rows,
            {
                "Minus 1 / D came from the step that subtracts the mean. RMSNorm subtracts none.": (
                    partial(_rms_jacobian, minus_mean=True)
                ),
                "rho depends on every x[j] as well: its path gives the term with x_hat.": (
                    partial(_rms_jacobian, through_rho=False)
                ),
                "gamma is missing: y[i] is multiplied by gamma[i].": partial(_rms_jacobian, scaled=False),
                "gamma belongs to the rows: gamma[i] multiplies y[i], so all of row i. This is the transpose.": (
                    _rms_gamma_of_columns
                ),
                "The factor rho = 1 / sqrt(mean(x * x) + eps) is missing.": partial(_rms_jacobian, by_rho=False),
                "A mean has D terms: what does 1 / D become when it is differentiated?": (
                    partial(_rms_jacobian, averaged=False)
                ),
                "This is the Jacobian of LayerNorm. Here x_hat is x * rho, without a mean.": _layer_norm_jacobian,
                "eps is missing: rho = 1 / sqrt(mean(x * x) + eps).": lambda x, gamma, eps: _rms_jacobian(
                    x, gamma, 0.0
                ),
                "x_hat depends on eps, too, and x_hat * x_hat has not quite the mean 1: use the same rho everywhere.": (
                    _rms_exact_x_hat
                ),
            },
            allowed=(),
        ),
        "rho (I - x_hat x_hat^T / D), each row times its gamma. LayerNorm's has one more term, from steps 1 and 2.",
    ),
    Exercise(
        "5.4",
        function_like(
            _group_backward,
            _images,
            {
                "Mean and variance are taken over the pixels as well, not for each pixel alone.": (
                    partial(_group_backward, axes=(4,))
                ),
                "These are means over the pixels of each channel. The channels of a group share theirs.": (
                    partial(_group_backward, axes=(1, 2))
                ),
                "These means run over all channels: keep the groups apart.": (
                    partial(_group_backward, axes=(1, 2, 3, 4))
                ),
                "These means run over the images of the batch too. Each image is normalised alone.": (
                    partial(_group_backward, axes=(0, 1, 2, 4))
                ),
                "The channels of a group must be neighbours: reshape D to (groups, D / groups).": (
                    partial(_group_backward, interleaved=True)
                ),
                "A reshape alone mixes the groups: the pixels stand between the images and the channels. See "
                "notebook 03.": _group_by_reshape_alone,
                "gamma is missing: what reaches x_hat is dy * gamma, before any mean.": (
                    partial(_group_backward, scaled=False)
                ),
                "eps is missing: rho = 1 / sqrt(variance + eps).": lambda x, gamma, dy, groups, eps: _group_backward(
                    x, gamma, dy, groups, 0.0
                ),
            },
            allowed=(),
            results="dx dgamma dbeta",
        ),
        "One formula for LayerNorm, GroupNorm and BatchNorm in training: they differ in the set that a mean is over.",
    ),
]
