"""Exercises of notebook 12, optimisers."""

import math

import numpy as np

from minivit.lessons.exercise import Exercise
from minivit.lessons.judges import function_like, number


def _first_update(g, lr, eps=1e-8):
    return -lr * g / (np.abs(g) + eps)


def _first_without_correction(g, lr, eps=1e-8):
    return -lr * 0.1 * g / (np.sqrt(0.001 * g * g) + eps)


def _first_half_corrected(g, lr, eps=1e-8):
    return -lr * 0.1 * g / (np.abs(g) + eps)


def _first_mean_corrected(g, lr, eps=1e-8):
    return -lr * g / (np.sqrt(0.001 * g * g) + eps)


def _clip(a, b, max_norm):
    norm = math.sqrt((a * a).sum() + (b * b).sum())
    scale = min(1.0, max_norm / norm)
    return a * scale, b * scale


def _clip_each(a, b, max_norm):
    return tuple(x * min(1.0, max_norm / math.sqrt((x * x).sum())) for x in (a, b))


def _always_scaled(a, b, max_norm):
    norm = math.sqrt((a * a).sum() + (b * b).sum())
    return a * max_norm / norm, b * max_norm / norm


def _norms_added(a, b, max_norm):
    norm = math.sqrt((a * a).sum()) + math.sqrt((b * b).sum())
    return tuple(x * min(1.0, max_norm / norm) for x in (a, b))


def _without_root(a, b, max_norm):
    norm = (a * a).sum() + (b * b).sum()
    return tuple(x * min(1.0, max_norm / norm) for x in (a, b))


def _clip_cases(rng: np.random.Generator) -> list[tuple]:
    """Longer than the limit; shorter; and of which one array alone is shorter."""
    a, b = rng.standard_normal((3, 4)), rng.standard_normal(5)
    return [(a, b, 1.0), (a, b, 20.0), (3 * a, 0.1 * b, 2.0), (0.2 * a, 0.3 * b, 0.9)]


def _factored(theta, gradients, lr, b1, b2, eps, *, correct=True, divide=True, by_sum=False, correct_mean=True):
    m, r, c = np.zeros_like(theta), np.zeros(len(theta)), np.zeros(theta.shape[1])
    for t, g in enumerate(gradients, start=1):
        m = b1 * m + (1 - b1) * g
        r = b2 * r + (1 - b2) * (g * g).mean(axis=1)
        c = b2 * c + (1 - b2) * (g * g).mean(axis=0)
        correction = 1 - b2**t if correct else 1
        v = np.outer(r / correction, c / correction)
        if divide:
            v /= (r.sum() if by_sum else r.mean()) / (correction if correct_mean else 1)
        theta = theta - lr * m / (1 - b1**t) / (np.sqrt(v) + eps)
    return theta


def _adam(theta, gradients, lr, b1, b2, eps):
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    for t, g in enumerate(gradients, start=1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g * g
        theta = theta - lr * m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps)
    return theta


def _matrix_cases(rng: np.random.Generator) -> list[tuple]:
    return [
        (rng.standard_normal((n, k)), rng.standard_normal((steps, n, k)), 0.1, 0.8, 0.95, 1e-8)
        for n, k, steps in ((3, 5, 1), (4, 2, 6))
    ]


EXERCISES = [
    Exercise(
        "12.1",
        function_like(
            _first_update,
            lambda rng: [
                (rng.uniform(0.5, 2, n) * rng.choice([-1.0, 1.0], n) * size, lr)
                for n, lr, size in ((4, 0.1, 1.0), (7, 0.003, 50.0))
            ],
            {
                "That is plain gradient descent. Adam divides by the root of v, which is |g| here.": (
                    lambda g, lr: -lr * g
                ),
                "Without the corrections m = 0.1 g and v = 0.001 g^2. With them both factors are gone.": (
                    _first_without_correction
                ),
                "v is corrected, m is not: m / (1 - 0.9) = g.": _first_half_corrected,
                "m is corrected, v is not: v / (1 - 0.999) = g^2.": _first_mean_corrected,
                "v is the square of g here, and its root |g|: you divided by v itself.": lambda g, lr: -lr / g,
                "The sign of every entry is its own: divide by |g|, entry by entry, not by the norm.": (
                    lambda g, lr: -lr * g / np.sqrt((g * g).sum())
                ),
            },
        ),
        "The first step of Adam has length lr in every coordinate, however small or uncertain the gradient is, and the "
        "betas cancel. One more reason to begin with a small learning rate.",
    ),
    Exercise(
        "12.2",
        function_like(
            _clip,
            _clip_cases,
            {
                "Each array is clipped by its own norm. Then their proportion changes, and with it the direction.": (
                    _clip_each
                ),
                "Gradients shorter than the limit must stay as they are; these are made longer.": _always_scaled,
                "Norms do not add up, squares do: the norm of both together is sqrt(|a|^2 + |b|^2).": _norms_added,
                "You divide by the sum of squares; the norm is its root.": _without_root,
                "Each entry is clipped for itself; the direction changes. Scale all entries by one factor.": (
                    lambda a, b, c: (np.clip(a, -c, c), np.clip(b, -c, c))
                ),
            },
        ),
        "One factor for all arrays: the direction of the step stays.",
    ),
    Exercise(
        "12.3",
        function_like(
            lambda lr, wd: math.log(0.5) / math.log(1 - lr * wd),
            lambda rng: [(0.1, 0.5), (0.3, 0.9), (3e-3, 0.3)],
            {
                "Near, for small lr wd. Exactly, each update multiplies by 1 - lr wd: solve (1 - lr wd)^n = 1/2.": (
                    lambda lr, wd: math.log(2) / (lr * wd)
                ),
                "Not rounded, please: the number need not be whole.": lambda lr, wd: math.ceil(
                    math.log(0.5) / math.log(1 - lr * wd)
                ),
                "Each update takes lr wd of what is left, not of what there was at first.": lambda lr, wd: (
                    0.5 / (lr * wd)
                ),
                "The decay of one update is lr wd, not wd.": lambda lr, wd: math.log(0.5) / math.log(1 - wd),
                "In AdamW the learning rate multiplies the decay as well; you have left wd out.": (
                    lambda lr, wd: math.log(0.5) / math.log(1 - lr)
                ),
            },
        ),
        "About ln 2 / (lr wd). At the peak rates of Table 3 that is between hundreds and tens of thousands of updates, "
        "far less than the runs have: at the end the initial values are all but forgotten (the falling rates "
        "give about half as many half-lives).",
    ),
    Exercise(
        "12.4",
        number(
            0.1,
            {
                1e-4: "In our AdamW the decay of an update is lr * weight_decay * theta; with 0.0001 it would be 1,000 "
                "times too small.",
                1e-7: "The other way round: which weight_decay, multiplied by the learning rate, gives theirs?",
                10.0: "Set lr * weight_decay = (lr / 0.001) * 0.0001, and solve for weight_decay.",
            },
        ),
        "lambda = lambda' / peak rate. The same number in a recipe can mean a thousandfold difference: read the code.",
    ),
    Exercise(
        "12.5",
        function_like(
            _factored,
            _matrix_cases,
            {
                "r and c are not corrected for having started at zero.": (
                    lambda theta, gradients, *numbers: _factored(theta, gradients, *numbers, correct=False)
                ),
                "r c^T has the unit g^4. Divide by the mean of r.": (
                    lambda theta, gradients, *numbers: _factored(theta, gradients, *numbers, divide=False)
                ),
                "r holds means over the rows, so divide by the mean of r, not by its sum.": (
                    lambda theta, gradients, *numbers: _factored(theta, gradients, *numbers, by_sum=True)
                ),
                "The mean in the denominator is that of the corrected r; yours is not.": (
                    lambda theta, gradients, *numbers: _factored(theta, gradients, *numbers, correct_mean=False)
                ),
                "This is Adam with the full matrix v.": _adam,
            },
        ),
        "n + k numbers instead of n k: the second moment of Adafactor (Shazeer & Stern 2018). It is exact where the "
        "running mean of g^2 is a product of a factor per row and a factor per column.",
    ),
]
