"""Exercises of notebook 12, optimisers."""

import math
from functools import partial
from typing import Any

import numpy as np

from minivit.lessons.diagnosis import diagnosed
from minivit.lessons.exercise import Exercise
from minivit.lessons.judges import function_like, number
from minivit.lessons.slips.factored_adam import SLIPS, factored_adam


def _first_update(g, lr, of_m=1.0, of_v=1.0, root=True, inside=0.0):
    """of_m, of_v: m / g and v / g^2.   inside: added to v."""
    v = of_v * g * g + inside
    return -lr * of_m * g / ((np.sqrt(v) if root else v) + 1e-8)


def _scaled(a, b, scale):
    return a * scale, b * scale


def _norm(*given):
    return math.sqrt(sum((x * x).sum() for x in given))


def _clip(a, b, max_norm, added=0.0):
    """added: to the norm."""
    return _scaled(a, b, min(1.0, max_norm / (_norm(a, b) + added)))


def _clip_each(a, b, max_norm):
    return tuple(x * min(1.0, max_norm / math.sqrt((x * x).sum())) for x in (a, b))


def _norms_added(a, b, max_norm):
    return _scaled(a, b, min(1.0, max_norm / (_norm(a) + _norm(b))))


def _without_root(a, b, max_norm):
    return _scaled(a, b, min(1.0, max_norm / _norm(a, b) ** 2))


def _by_the_longer(a, b, max_norm):
    return _scaled(a, b, min(1.0, max_norm / max(_norm(a), _norm(b))))


def _by_the_largest_entry(a, b, max_norm):
    return _scaled(a, b, min(1.0, max_norm / max(np.abs(a).max(), np.abs(b).max())))


def _by_the_mean_square(a, b, max_norm):
    return _scaled(a, b, min(1.0, max_norm / (_norm(a, b) / math.sqrt(a.size + b.size))))


def _clip_cases(rng: np.random.Generator) -> list[tuple]:
    """Longer than the limit; shorter; of which one array alone is shorter, or each is, but not both together."""
    a, b = rng.standard_normal((3, 4)), rng.standard_normal(5)
    both = [(3 * a, 0.1 * b, 2.0), (0.1 * a, 3 * b, 2.0), (0.2 * a, 0.3 * b, 0.9)]
    equal = a / _norm(a), b / _norm(b), 1.2  # norms 1 and 1, together sqrt(2)
    return [(a, b, 1.0), (a, b, 20.0), *both, equal, (1e-3 * b, 2e-3 * a, 0.5), (a, b, 0.1)]


def _is_short(a, b, max_norm):
    return _norm(a, b) <= max_norm


def _matrix_cases(rng: np.random.Generator) -> list[tuple]:
    """The last gradients are as small as their epsilon."""
    return [
        (rng.standard_normal((rows, columns)), size * rng.standard_normal((steps, rows, columns)), lr, b1, b2, eps)
        for rows, columns, steps, size, lr, b1, b2, eps in (
            (3, 5, 1, 1.0, 0.1, 0.8, 0.95, 1e-8),
            (4, 2, 6, 1.0, 0.1, 0.8, 0.95, 1e-8),
            (2, 3, 4, 20.0, 0.01, 0.9, 0.7, 1e-2),
            (3, 4, 3, 1e-3, 0.3, 0.5, 0.99, 1e-3),
        )
    ]


_CLIPPING = diagnosed(
    _clip,
    _clip_cases,
    {
        "Each array is clipped by its own norm. Then their proportion changes, and with it the direction.": _clip_each,
        "Gradients shorter than the limit must stay as they are; these are made longer.": (
            lambda a, b, c: _scaled(a, b, c / _norm(a, b))
        ),
        "Norms do not add up, squares do: the norm of both together is sqrt(|a|^2 + |b|^2).": _norms_added,
        "You divide by the sum of squares; the norm is its root.": _without_root,
        "Each entry is clipped for itself; the direction changes. Scale all entries by one factor.": (
            lambda a, b, c: (np.clip(a, -c, c), np.clip(b, -c, c))
        ),
        "Nothing is clipped: gradients longer than the limit must become as long as the limit.": (
            lambda a, b, c: (a, b)
        ),
        "This takes the larger of the two norms; that of both together is sqrt(|a|^2 + |b|^2).": _by_the_longer,
        "The norm is the root of the sum of all squares, not the largest entry.": _by_the_largest_entry,
        "The norm is the root of the sum of all squares; this takes their mean.": _by_the_mean_square,
        "The factor is the limit over the norm, not its root or its square: clipped gradients are as long as the "
        "limit.": lambda a, b, c: _scaled(a, b, min(1.0, c / _norm(a, b)) ** 2),
        "Gradients longer than the limit are to become as long as the limit; these get length 1.": (
            lambda a, b, c: (a, b) if _is_short(a, b, c) else _scaled(a, b, 1 / _norm(a, b))
        ),
        "The norm of a alone decides here; take both arrays.": lambda a, b, c: _scaled(a, b, min(1.0, c / _norm(a))),
        "The norm of b alone decides here; take both arrays.": lambda a, b, c: _scaled(a, b, min(1.0, c / _norm(b))),
        "Only a is scaled; b needs the same factor.": lambda a, b, c: (_clip(a, b, c)[0], b),
        "This takes the larger of 1 and the factor: short gradients grow, long ones stay.": (
            lambda a, b, c: _scaled(a, b, max(1.0, c / _norm(a, b)))
        ),
    },
    where={
        "the gradients are shorter than the limit": _is_short,
        "the gradients are longer than the limit": lambda *g: not _is_short(*g),
    },
    also=partial(_clip, added=1e-6),  # as PyTorch
    allowed=(),
)

_FIRST_UPDATE = function_like(
    _first_update,
    lambda rng: [
        (rng.uniform(0.5, 2, n) * np.where(np.arange(n) % 2, -size, size), lr)
        for n, lr, size in ((4, 0.1, 40.0), (7, 0.003, 300.0), (1, 2.0, 20.0))
    ],
    {
        "That is plain gradient descent. Adam divides by the root of v, which is |g| here.": (lambda g, lr: -lr * g),
        "Without the corrections m = 0.1 g and v = 0.001 g^2. With them both factors are gone.": (
            partial(_first_update, of_m=0.1, of_v=0.001)
        ),
        "v is corrected, m is not: m / (1 - 0.9) = g.": partial(_first_update, of_m=0.1),
        "m is corrected, v is not: v / (1 - 0.999) = g^2.": partial(_first_update, of_v=0.001),
        "v is the square of g here, and its root |g|: you divided by v itself.": (partial(_first_update, root=False)),
        "The sign of every entry is its own: divide by |g|, entry by entry, not by the norm.": (
            lambda g, lr: -lr * g / np.sqrt((g * g).sum())
        ),
        "The two betas are exchanged: 1 - 0.999 belongs to v, 1 - 0.9 to m.": (
            partial(_first_update, of_m=0.001, of_v=0.1)
        ),
        "The update has the sign of -g, entry by entry.": lambda g, lr: np.full_like(g, -lr),
        "v is the running mean of g^2; the root of g itself is no number where g is negative.": (
            lambda g, lr: -lr * g / np.sqrt(g)
        ),
        "The learning rate is missing.": lambda g, lr: -np.sign(g),
    },
    rtol=1e-7,  # of which epsilon, 1e-8, is the tenth part
)

_OF_SMALL_GRADIENTS = function_like(
    _first_update,
    lambda rng: [(size * np.array([1.3, -0.7, 1.9]), 0.01) for size in (1e-3, 2e-3)],
    {
        "The epsilon stands inside the root: it acts like its own root there, 1e-4. Add it behind the root, or "
        "leave it out.": partial(_first_update, inside=1e-8),
    },
    rtol=1e-4,
)


_OF_ZEROS = function_like(lambda a, b, c: (a, b), lambda _: [(np.zeros((3, 4)), np.zeros(5), 0.7)], allowed=())


def _first_update_fault(answer: Any) -> str | None:
    """What is wrong, for large gradients, or else for small ones, which tell where epsilon is."""
    return _FIRST_UPDATE(answer) or _OF_SMALL_GRADIENTS(answer)


def _clipping_fault(answer: Any) -> str | None:
    """What is wrong, with gradients of zero as the last case: many wrong answers, too, divide by their norm."""
    fault = _CLIPPING(answer)
    if fault:
        return fault
    with np.errstate(all="ignore"):
        if _OF_ZEROS(answer) is None:
            return None
    return "Gradients of zero must stay as they are. Their norm is 0: what becomes of a quotient with it?"


EXERCISES = [
    Exercise(
        "12.1",
        _first_update_fault,
        "The first step of Adam has length lr in every coordinate, however small or uncertain the gradient is, and the "
        "betas cancel. One more reason to begin with a small learning rate.",
    ),
    Exercise(
        "12.2",
        _clipping_fault,
        "One factor for all arrays: the direction of the step stays.",
    ),
    Exercise(
        "12.3",
        function_like(
            lambda lr, wd: math.log(0.5) / math.log(1 - lr * wd),
            lambda rng: [(0.1, 0.5), (0.3, 0.9), (3e-3, 0.3), (0.2, 0.7)],
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
                "This is the time after which 1 / e is left, not one half.": lambda lr, wd: -1 / math.log(1 - lr * wd),
                "Near, for small lr wd, were it 1 / e that is left. Solve (1 - lr wd)^n = 1/2.": (
                    lambda lr, wd: 1 / (lr * wd)
                ),
                "Each update multiplies by 1 - lr wd: it shrinks, it does not grow by 1 + lr wd.": (
                    lambda lr, wd: math.log(2) / math.log(1 + lr * wd)
                ),
                "Logarithms to two bases: take the same one of 1/2 and of 1 - lr wd.": (
                    lambda lr, wd: math.log(0.5) / math.log10(1 - lr * wd)
                ),
                "Logarithms to two bases, 2 and 10: take the same one of 1/2 and of 1 - lr wd.": (
                    lambda lr, wd: -1 / math.log10(1 - lr * wd)
                ),
                "Half of it is to be left; this is what is left after one update.": lambda lr, wd: 1 - lr * wd,
                "The decay of one update is lr wd, one factor 1 - lr wd; these are two, 1 - lr and 1 - wd.": (
                    lambda lr, wd: math.log(0.5) / math.log((1 - lr) * (1 - wd))
                ),
                "The decay of one update is the product lr wd, not the sum.": (
                    lambda lr, wd: math.log(0.5) / math.log(abs(1 - lr - wd))
                ),
                "The decay of an update is lr wd, without the factor 2 of the derivative of wd theta^2.": (
                    lambda lr, wd: math.log(0.5) / math.log(1 - 2 * lr * wd)
                ),
                "Not rounded, please: the number need not be whole. (And this one is rounded down.)": (
                    lambda lr, wd: math.floor(math.log(0.5) / math.log(1 - lr * wd))
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
                0.001: "This is the peak rate. Set lr * weight_decay = (lr / 0.001) * 0.0001, and solve.",
                1000.0: "This is 1 over the peak rate; the decay lambda' has to come in.",
                0.2: "Both decay theta itself; there is no factor 2 from the derivative of theta^2.",
                0.05: "Both decay theta itself; there is no factor 2 from the derivative of theta^2.",
                10.0: "Set lr * weight_decay = (lr / 0.001) * 0.0001, and solve for weight_decay.",
            },
        ),
        "lambda = lambda' / peak rate. The same number in a recipe can mean a thousandfold difference: read the code.",
    ),
    Exercise(
        "12.5",
        diagnosed(
            factored_adam,
            _matrix_cases,
            SLIPS,
            allowed=(),
            where={
                "there is more than one gradient": lambda theta, gradients, *numbers: len(gradients) > 1,
                "epsilon is not small beside the gradients": lambda *given: given[-1] > 1e-4,
            },
        ),
        "One number per row and per column instead of one per entry: the second moment of Adafactor (Shazeer & Stern "
        "2018). It is exact where the running mean of g^2 is a product of a factor per row and a factor per column.",
    ),
]
