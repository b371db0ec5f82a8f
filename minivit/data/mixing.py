"""Mixing pairs of images and their labels: mixup and CutMix. Image i is mixed with image i - 1 of the batch.

Images are (B, height, width, C) float32, labels dense (B, K): after mixing, each row is still a distribution over the
classes. One mixing weight is drawn for the whole batch, as big_vision does.
"""

import dataclasses
import math
from collections.abc import Mapping
from numbers import Real
from typing import NamedTuple

import numpy as np

from minivit.backend import Array, xp_of
from minivit.errors import ConfigError


def one_hot(labels: Array, num_classes: int) -> Array:
    """Dense labels (B, K) float32: 1 in column labels[i] of row i, else 0.   labels: (B,) integers, on any device."""
    return (labels[:, None] == xp_of(labels).arange(num_classes)).astype("float32")


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
    """The mixing of a batch. share: the weight of label i in its mixture with label i - 1.

    box: (top, bottom, left, right) of the part that image i takes from image i - 1; None: images are mixed like labels.
    """

    share: float
    box: tuple[int, int, int, int] | None


@dataclasses.dataclass(frozen=True)
class Mixer:
    """Mixes training batches by mixup, by CutMix, or, if both are set, by either with probability 1/2.

    mixup, cutmix: alpha of their Beta distributions, 0 for none; classes: K of the dense labels. Raises ConfigError for
    invalid numbers.
    """

    mixup: float
    cutmix: float
    classes: int

    def __post_init__(self) -> None:
        for name, alpha in (("mixup", self.mixup), ("cutmix", self.cutmix)):
            if not (isinstance(alpha, Real) and 0 <= alpha < math.inf):
                raise ConfigError(f"{name} is {alpha}, expected 0 or more")

    def draw(self, height: int, width: int, rng: np.random.Generator) -> "Mixing":
        """Draw the mixing of a batch of height x width images."""
        if self.cutmix and (not self.mixup or rng.random() < 0.5):
            return draw_cutmix(height, width, self.cutmix, rng)
        return draw_mixup(self.mixup, rng)

    def __call__(self, batch: Mapping[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
        """The batch with its images mixed and its labels (B,) made dense and mixed."""
        images = batch["images"]
        mixing = self.draw(images.shape[1], images.shape[2], rng)
        mixed, labels = mix(images, one_hot(batch["labels"], self.classes), mixing)
        return {**batch, "images": mixed, "labels": labels}


def draw_mixup(alpha: float, rng: np.random.Generator) -> Mixing:
    """What `mixup` does to a batch."""
    lam = rng.beta(alpha, alpha)
    return Mixing(max(lam, 1 - lam), None)


def draw_cutmix(height: int, width: int, alpha: float, rng: np.random.Generator) -> Mixing:
    """The draws of `cutmix` for a batch of images of this size."""
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
