"""Mixing pairs of images and their labels: mixup and CutMix. Image i is mixed with image i - 1 of the batch.

Images are (B, height, width, C) float32, labels dense (B, K): after mixing, each row is still a distribution over the
classes. One mixing weight is drawn for the whole batch, as big_vision does.
"""

import math
from typing import NamedTuple

import numpy as np


def one_hot(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Dense labels (B, K) float32: 1 in column labels[i] of row i, else 0.   labels: (B,) integers."""
    dense = np.zeros((len(labels), num_classes), np.float32)
    dense[np.arange(len(labels)), labels] = 1
    return dense


def mixup(
    images: np.ndarray, dense_labels: np.ndarray, alpha: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """x_i becomes lam x_i + (1 - lam) x_(i-1), its label likewise; lam ~ Beta(alpha, alpha), or 1 - lam if larger.

    Source: Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization", section 2; the maximum as big_vision, which
    keeps image i the dominant one.
    """
    return mix(images, dense_labels, draw_mixup(alpha, rng))


def cutmix(
    images: np.ndarray, dense_labels: np.ndarray, alpha: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One box of each image i is replaced by the same box of image i - 1; label i keeps the share of pixels it keeps.

    The box has a share 1 - lam of the area, lam ~ Beta(alpha, alpha), and the image's aspect ratio; its centre is
    uniform, and what sticks out is cut off, so lam is recomputed from the pixels that were really replaced.
    Source: Yun et al. 2019, "CutMix", section 3.1 and algorithm A1.
    """
    return mix(images, dense_labels, draw_cutmix(images.shape[1], images.shape[2], alpha, rng))


class Mixing(NamedTuple):
    """How a batch is mixed. share: the weight of label i in its mixture with label i - 1.

    box: (top, bottom, left, right) of what image i gets from image i - 1, or None: images are weighted like labels.
    """

    share: float
    box: tuple[int, int, int, int] | None


def draw_mixup(alpha: float, rng: np.random.Generator) -> Mixing:
    """What `mixup` does to a batch."""
    lam = rng.beta(alpha, alpha)
    return Mixing(max(lam, 1 - lam), None)


def draw_cutmix(height: int, width: int, alpha: float, rng: np.random.Generator) -> Mixing:
    """What `cutmix` does to a batch of images of this size."""
    side = math.sqrt(1 - rng.beta(alpha, alpha))
    top, bottom = _interval(height, round(height * side), rng)
    left, right = _interval(width, round(width * side), rng)
    return Mixing(1 - (bottom - top) * (right - left) / (height * width), (top, bottom, left, right))


def mix(images: np.ndarray, dense_labels: np.ndarray, mixing: Mixing) -> tuple[np.ndarray, np.ndarray]:
    """The mixed images and labels."""
    if mixing.box is None:
        return _blend(images, mixing.share), _blend(dense_labels, mixing.share)
    top, bottom, left, right = mixing.box
    mixed = images.copy()
    mixed[:, top:bottom, left:right] = np.roll(images[:, top:bottom, left:right], 1, axis=0)
    return mixed, _blend(dense_labels, mixing.share)


def _blend(x: np.ndarray, lam: float) -> np.ndarray:
    return float(lam) * x + float(1 - lam) * np.roll(x, 1, axis=0)


def _interval(length: int, extent: int, rng: np.random.Generator) -> tuple[int, int]:
    """Start and end of a run of `extent` pixels around a uniform centre, cut off at 0 and `length`."""
    start = int(rng.integers(0, length)) - extent // 2
    return max(0, start), min(length, start + extent)
