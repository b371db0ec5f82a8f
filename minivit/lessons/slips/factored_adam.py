"""Adam with a factored second moment, and its typical slips: for the judge of exercise 12.5."""

from collections.abc import Callable
from functools import partial

import numpy as np


def factored_adam(theta, gradients, lr, b1, b2, eps, slip=""):
    """theta (n, k) after the updates with gradients (steps, n, k).   slip: a key of _WORDS, the mistake to make."""
    b1, b2 = (b2, b1) if slip == "betas" else (b1, b2)
    m, r, c = np.zeros_like(theta), np.zeros(len(theta)), np.zeros(theta.shape[1])
    for t, g in enumerate(gradients, start=1):
        m = b1 * m + (1 if slip == "m summed" else 1 - b1) * g
        r, c = (
            now if slip == "no memory" else b2 * old + (1 - b2) * now
            for old, now in zip((r, c), _mean_squares(g, slip), strict=True)
        )
        of_v = {"v not corrected": 1, "late": 1 - b2 ** (t + 1)}.get(slip, 1 - b2**t)
        of_m = {"m not corrected": 1, "late": 1 - b1 ** (t + 1)}.get(slip, 1 - b1**t)
        v = _second_moment(r, c, of_v, slip)
        divisor = {"eps inside": np.sqrt(v + eps), "no eps": np.sqrt(v), "no root": v + eps}
        direction = g if slip == "no momentum" else m / of_m
        theta = theta - (1 if slip == "rate missing" else lr) * direction / divisor.get(slip, np.sqrt(v) + eps)
    return theta


def _mean_squares(g, slip):
    if slip == "mean first":
        return g.mean(axis=1) ** 2, g.mean(axis=0) ** 2
    if slip == "sums":
        return (g**2).sum(axis=1), (g**2).sum(axis=0)
    if slip == "grand mean":
        return np.full(len(g), (g**2).mean()), np.full(g.shape[1], (g**2).mean())
    return (g**2).mean(axis=1), (g**2).mean(axis=0)


def _second_moment(r, c, correction, slip):
    if slip in ("only r", "only c"):
        return (
            np.outer(r, np.ones_like(c)) / correction if slip == "only r" else np.outer(np.ones_like(r), c) / correction
        )
    v = np.outer(r / correction, c / correction)
    size = (r.sum() if slip == "sum" else r.mean()) / (1 if slip == "mean not corrected" else correction)
    return v * size if slip == "multiplied" else v if slip == "not divided" else v / size


# what `factored_adam` does wrong -> what is said about it
_WORDS = {
    "v not corrected": "r and c are not corrected for having started at zero.",
    "m not corrected": "m is not corrected for having started at zero.",
    "late": "The corrections are those of the update after this one: the first update has t = 1.",
    "not divided": "r c^T has the unit g^4. Divide by the mean of r.",
    "sum": "r holds means over the rows, so divide by the mean of r, not by its sum.",
    "mean not corrected": "The mean in the denominator is that of the corrected r; yours is not.",
    "mean first": "r and c are means of g^2; this squares the means of g.",
    "sums": "r and c are means over a row and a column; these are sums.",
    "eps inside": "The epsilon is added to the root of v, not to v.",
    "no eps": "The epsilon is missing: it is added to the root of v.",
    "no root": "Adam divides by the root of v.",
    "no momentum": "Adam goes along m, the running mean of the gradients, not along the last gradient.",
    "grand mean": "r has one mean per row, c one per column; this has one of the whole matrix.",
    "m summed": "m is a running mean: b1 m + (1 - b1) g.",
    "no memory": "r and c are running means over the updates; these are means of the last g^2 alone.",
    "multiplied": "r c^T is divided by the mean of r, not multiplied.",
    "only r": "This is r alone; v needs the columns as well.",
    "only c": "This is c alone; v needs the rows as well.",
    "rate missing": "The learning rate is missing.",
    "betas": "b1 is the decay of m, b2 that of r and c; here they are exchanged.",
}


def _adam(theta, gradients, lr, b1, b2, eps):
    m, v = np.zeros_like(theta), np.zeros_like(theta)
    for t, g in enumerate(gradients, start=1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g * g
        theta = theta - lr * m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps)
    return theta


def _forgetful(theta, gradients, *numbers):
    """m, r and c begin anew with every gradient."""
    for g in gradients:
        theta = factored_adam(theta, g[None], *numbers)
    return theta


# what is said -> a function that makes this mistake
SLIPS: dict[str, Callable] = {hint: partial(factored_adam, slip=slip) for slip, hint in _WORDS.items()} | {
    "This is Adam with the full matrix v.": _adam,
    "m, r and c must be carried from one update to the next; here they begin anew.": _forgetful,
    "This makes the first update alone.": lambda theta, g, *numbers: factored_adam(theta, g[:1], *numbers),
    "This makes one update, with the mean of all gradients.": (
        lambda theta, g, *numbers: factored_adam(theta, g.mean(axis=0)[None], *numbers)
    ),
    "Nothing has moved.": lambda theta, *rest: theta,
    "An update goes against the gradient: theta - lr ..., not plus.": (
        lambda theta, g, *numbers: factored_adam(theta, -g, *numbers)
    ),
}
