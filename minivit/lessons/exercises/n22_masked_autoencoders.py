"""Exercises of notebook 22, masked autoencoders."""

from functools import partial

import numpy as np

from minivit.lessons.diagnosis import diagnosed
from minivit.lessons.exercise import Exercise


def _inverse(order: np.ndarray) -> np.ndarray:
    return np.argsort(order, axis=1)


def _permutations(rng: np.random.Generator) -> list[tuple]:
    return [(rng.random((images, patches)).argsort(axis=1),) for images, patches in ((3, 7), (2, 5), (5, 9), (1, 4))]


def _counted_from_one(order: np.ndarray) -> np.ndarray:
    return np.argsort(order, axis=1) + 1


def _loss(
    y: np.ndarray, x: np.ndarray, visible: np.ndarray, count: float | None = None, pixels: float | None = None
) -> tuple:
    """count, pixels: what the sum is divided by, if not by the missing patches and the pixels of each."""
    missing = ~visible[:, None]
    divisor = (missing.sum() if count is None else count) * (y.shape[1] if pixels is None else pixels)
    error = (y - x) * missing
    return (error**2).sum() / divisor, 2 * error / divisor


def _everywhere(y: np.ndarray, x: np.ndarray, visible: np.ndarray) -> tuple:
    return _loss(y, x, np.zeros_like(visible))


def _with_gradient(of: float, y: np.ndarray, x: np.ndarray, visible: np.ndarray) -> tuple:
    loss, dy = _loss(y, x, visible)
    return loss, of * dy


def _predictions(rng: np.random.Generator) -> list[tuple]:
    cases: list = []
    for seen in ([1, 0, 0, 1, 0], [0, 0, 1, 0, 0, 0, 0], [1, 1, 0], [0, 1, 1, 1, 0, 0]):
        shape = (len(seen), 4 + 2 * len(cases))
        cases.append((*rng.standard_normal((2, *shape)), np.array(seen, bool)))
    return cases


def _in_place_backward(dy: np.ndarray, back: np.ndarray, visible: int, average: bool = False) -> tuple:
    order = np.argsort(back)
    dm = dy[order[visible:]]
    return dy[order[:visible]], dm.mean(axis=0) if average else dm.sum(axis=0)


def _raster(dy: np.ndarray, back: np.ndarray, visible: int) -> tuple:
    return dy[back < visible], dy[back >= visible].sum(axis=0)


def _by_back(dy: np.ndarray, back: np.ndarray, visible: int) -> tuple:
    return dy[back[:visible]], dy[back[visible:]].sum(axis=0)


def _everyone_masked(dy: np.ndarray, back: np.ndarray, visible: int) -> tuple:
    return _in_place_backward(dy, back, visible)[0], dy.sum(axis=0)


def _the_last_alone(dy: np.ndarray, back: np.ndarray, visible: int) -> tuple:
    return _in_place_backward(dy, back, visible)[0], dy[np.flatnonzero(back >= visible)[-1]]


def _placed(rng: np.random.Generator) -> list[tuple]:
    return [
        (rng.standard_normal((patches, width)), rng.permutation(patches), visible)
        for patches, width, visible in ((6, 3, 2), (9, 4, 5), (5, 2, 1), (7, 5, 4))
    ]


def _normalise_backward(
    x: np.ndarray,
    dz: np.ndarray,
    ddof: int = 1,
    through_mean: bool = True,
    through_variance: bool = True,
    divided: int = 1,
    eps: float = 1e-6,
) -> np.ndarray:
    """ddof: of the variance; divided: n less so many in the variance's own term."""
    n = x.shape[-1]
    scale = np.sqrt(x.var(axis=-1, keepdims=True, ddof=ddof) + eps)
    z = (x - x.mean(axis=-1, keepdims=True)) / scale
    dx = dz - through_variance * z * (dz * z).sum(axis=-1, keepdims=True) / (n - divided)
    return (dx - through_mean * dz.mean(axis=-1, keepdims=True)) / scale


def _parts(arguments: tuple, results: tuple) -> str:
    """Which of the three parts of every row of dx are wrong: multiples of dz, of x - mean, and a constant."""
    (x, dz), (dx,) = arguments, results
    if dx.shape != x.shape or not np.isfinite(dx).all():
        return ""
    wrong: set[str] = set()
    for row, g, found, right in zip(x, dz, dx, _normalise_backward(x, dz), strict=True):
        parts = np.stack([g, row - row.mean(), np.ones_like(row)], axis=1)
        size = np.abs(parts).max(axis=0)
        mine, wanted = (np.linalg.lstsq(parts / size, y, rcond=None)[0] for y in (found, right))
        if len(row) < 4 or np.abs(parts / size @ mine - found).max() > 1e-8 * np.abs(found).max():
            continue  # three parts fit any row of three
        pairs = zip(("dz", "x - mean", "1"), mine, wanted, strict=True)
        wrong |= {name for name, a, b in pairs if abs(a - b) > 1e-6 * np.abs(wanted).max()}
    names = [name for name in ("dz", "x - mean", "1") if name in wrong]
    if not names:
        return ""
    return f"A row of dx is made of multiples of dz, of x - mean and of 1; wrong are those of {' and of '.join(names)}."


def _patches(rng: np.random.Generator) -> list[tuple]:
    """The variance of the last is so small that epsilon counts."""
    cases = [(rng.standard_normal((p, n)) * 3 + 1, rng.standard_normal((p, n))) for p, n in ((4, 3), (2, 5), (3, 8))]
    return [*cases, (1e-3 * rng.standard_normal((2, 4)), rng.standard_normal((2, 4)))]


EXERCISES = [
    Exercise(
        "22.1",
        diagnosed(
            _inverse,
            _permutations,
            {
                "This is `order` itself. It says which patch stands at a place; `back` says at which place a patch "
                "stands.": lambda order: order,
                "Each image has an order of its own: sort along the patches, axis 1.": lambda order: np.argsort(
                    order, axis=0
                ),
                "This turns the order around; the inverse permutation is something else.": lambda order: order[:, ::-1],
                "Places are counted from 0.": _counted_from_one,
                "All images get the inverse of the first one's order.": lambda order: np.repeat(
                    _inverse(order[:1]), len(order), axis=0
                ),
            },
            where={"there is more than one image": lambda order: len(order) > 1},
            allowed=(),
        ),
        "Noise, argsort, argsort: two sorts make a mask and its way back, for a whole batch at once.",
    ),
    Exercise(
        "22.2",
        diagnosed(
            _loss,
            _predictions,
            {
                "The loss is taken over all patches. What is visible could be copied; only missing patches count.": (
                    _everywhere
                ),
                "Visible and missing patches are exchanged.": lambda y, x, visible: _loss(y, x, ~visible),
                "The sum over the missing patches is divided by the number of all.": (
                    lambda y, x, visible: _loss(y, x, visible, count=len(y))
                ),
                "This is the sum over the missing patches; the mean is asked.": (
                    lambda y, x, visible: _loss(y, x, visible, count=1)
                ),
                "The error of a patch is the mean over its pixels, not their sum.": (
                    lambda y, x, visible: _loss(y, x, visible, pixels=1)
                ),
                "The loss is right. The derivative of a square has a factor 2.": partial(_with_gradient, 0.5),
                "The loss is right. dy has the sign changed: a larger prediction above the target makes it worse.": (
                    partial(_with_gradient, -1.0)
                ),
                "The loss is right. Visible patches are in no term of it, so their gradient is 0.": (
                    lambda y, x, visible: (
                        _loss(y, x, visible)[0],
                        2 * (y - x) / ((~visible).sum() * y.shape[1]),
                    )
                ),
                "The loss is right. Its gradient is divided by the number of all patches.": (
                    lambda y, x, visible: (_loss(y, x, visible)[0], _loss(y, x, visible, count=len(y))[1])
                ),
                "Squares are asked, not absolute values.": (
                    lambda y, x, visible: (
                        np.abs((y - x)[~visible]).mean(),
                        np.sign(y - x) * ~visible[:, None] / ((~visible).sum() * y.shape[1]),
                    )
                ),
            },
            allowed=(),
            results="loss dy",
        ),
        "The decoder computes all patches, and learns from the missing ones alone.",
    ),
    Exercise(
        "22.3",
        diagnosed(
            _in_place_backward,
            _placed,
            {
                "dm is the mean over the missing places. The one [mask] token stands in all of them, and gets the sum "
                "of their gradients.": partial(_in_place_backward, average=True),
                "dm is right. The visible tokens stand in the order of the draw, not in that of the image: row j of dx "
                "belongs to the patch p with back[p] = j.": _raster,
                "`back` says where a patch stands among the tokens; this reads it as the patch that stands there. "
                "The inverse of `back` is needed.": _by_back,
                "dx is right. The [mask] token stands in the missing places only.": _everyone_masked,
                "dx is right. The [mask] token stands in all missing places, and this keeps the gradient of one.": (
                    _the_last_alone
                ),
            },
            where={"more than one patch is visible": lambda dy, back, visible: visible > 1},
            allowed=(),
            results="dx dm",
        ),
        "A gather pulls back as a scatter, and a token that was used many times collects.",
    ),
    Exercise(
        "22.4",
        diagnosed(
            _normalise_backward,
            _patches,
            {
                "The variance has n in its divisor here. The published code divides by n - 1.": partial(
                    _normalise_backward, ddof=0, divided=0
                ),
                "The deviation is right, with n - 1. Its derivative has the same divisor, and this has n.": partial(
                    _normalise_backward, divided=0
                ),
                "The deviation has n in its divisor, its derivative n - 1: both have n - 1.": partial(
                    _normalise_backward, ddof=0
                ),
                "The mean depends on all pixels, too: a term is missing.": partial(
                    _normalise_backward, through_mean=False
                ),
                "The deviation depends on all pixels, too: a term is missing.": partial(
                    _normalise_backward, through_variance=False
                ),
                "Mean and deviation depend on the pixels: this takes both as constants.": partial(
                    _normalise_backward, through_mean=False, through_variance=False
                ),
                "Epsilon is missing in the deviation. Where a patch is nearly of one colour, that is seen.": partial(
                    _normalise_backward, eps=0.0
                ),
            },
            where={"the variance is so small that epsilon counts": lambda x, dz: bool(x.var() < 1e-4)},
            explained=_parts,
            allowed=(),
        ),
        "It is LayerNorm's derivative with n - 1 in the place of n. No parameter needs it: the target only has a "
        "gradient to the image.",
    ),
]
