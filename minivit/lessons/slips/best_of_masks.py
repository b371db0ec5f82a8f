"""Dice error of the best of several masks and its gradient, with typical slips: for the judge of exercise 34.3."""

from collections.abc import Callable
from functools import partial

import numpy as np


def best_of(
    z: np.ndarray,
    t: np.ndarray,
    *,
    learns: str = "best",
    by: str = "dice",
    constant: bool = False,
    doubled: bool = True,
    smooth: float = 1.0,
    through: str = "sigmoid",
    sign: float = 1.0,
) -> tuple:
    """Loss and gradient.   z: (masks, n) logits, t: (n,) booleans.

    learns: "best", "all", "sum", "worst" or "first"; by: "dice", "hard" (of masks), "overlap" or "sum", by which a mask
    is the best; constant: whether the denominator counts as one; doubled: whether the numerator is twice the overlap;
    smooth: added above and below; through: "sigmoid", "nothing" or "p", the derivative that follows the ratio's.
    """
    p, t = 1 / (1 + np.exp(-z)), t.astype(float)
    above, below = (1 + doubled) * (p * t).sum(axis=1) + smooth, p.sum(axis=1) + t.sum() + smooth
    loss = 1 - above / below
    dp = -((1 + doubled) * t * below[:, None] - (not constant) * above[:, None]) / below[:, None] ** 2
    dz = sign * dp * {"sigmoid": p * (1 - p), "nothing": np.ones_like(p), "p": p}[through]
    covered = ((z > 0) * t).sum(axis=1)
    hard = -covered / ((z > 0).sum(axis=1) + t.sum())
    order = {"dice": loss, "hard": hard, "overlap": -covered, "sum": -p.sum(axis=1)}[by]
    if learns in ("all", "sum"):
        return (loss.mean(), dz / len(z)) if learns == "all" else (loss.sum(), dz)
    i = {"best": order.argmin(), "worst": order.argmax(), "first": 0}[learns]
    kept = np.zeros_like(dz)
    kept[i] = dz[i]
    return loss[i], kept


def _minimum_of_all(z: np.ndarray, t: np.ndarray) -> tuple:
    return best_of(z, t)[0], len(z) * best_of(z, t, learns="all")[1]


def _mean_and_best(z: np.ndarray, t: np.ndarray) -> tuple:
    return best_of(z, t, learns="all")[0], best_of(z, t)[1]


SLIPS: dict[str, Callable[..., tuple]] = {
    "The loss is the smallest of the errors, not their mean, and one mask alone has a gradient.": partial(
        best_of, learns="all"
    ),
    "The loss is the smallest of the errors, not their sum, and one mask alone has a gradient.": partial(
        best_of, learns="sum"
    ),
    "The loss is right. All masks get a gradient; the smallest error depends on one of them.": _minimum_of_all,
    "The gradient is right. The loss is the smallest error, not the mean.": _mean_and_best,
    "This is the worst mask: the largest error.": partial(best_of, learns="worst"),
    "The first mask learns whatever the others say.": partial(best_of, learns="first"),
    "The best mask is the one with the smallest error, not the one that covers most of the target.": partial(
        best_of, by="overlap"
    ),
    "The best mask is the one with the smallest error of probabilities, not of pixels above 0.": partial(
        best_of, by="hard"
    ),
    "The loss is right. The denominator depends on p, too.": partial(best_of, constant=True),
    "The overlap counts twice in the numerator.": partial(best_of, doubled=False),
    "The 1 above and below is missing.": partial(best_of, smooth=0.0),
    "The loss is right. This is the gradient of the probabilities; the logits come before them.": partial(
        best_of, through="nothing"
    ),
    "The loss is right. The derivative of the sigmoid is p (1 - p), not p.": partial(best_of, through="p"),
    "The loss is right. The gradient has the wrong sign.": partial(best_of, sign=-1.0),
}
