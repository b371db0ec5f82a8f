"""Typical points: centres of k-means, and the nearest of them. Visual tokens of BEiT and colours of iGPT are such."""

from collections.abc import Callable
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.backend import Array
from minivit.backend.precision import precision
from minivit.errors import DataError
from minivit.tensor import Tensor, no_grad


def nearest(points: Array, centres: Array) -> Array:
    """The number of the nearest centre.   points: (..., d), centres: (K, d) -> (...)."""
    with no_grad(), precision("float32"):
        alike = F.linear(Tensor(points), Tensor(centres.T)).data
    return (alike * 2 - (centres * centres).sum(axis=1)).argmax(axis=-1)


def of_images(
    data: Any, transform: Any, seed: int, images: int, points: Callable[[np.ndarray], np.ndarray], count: int, kind: str
) -> np.ndarray:
    """Centres (count, d) of the points of random images.   data, transform, seed: as of `Objective.begin`; images: how
    many, if there are as many; points: of images, (M, d). Raises DataError as `k_means`."""
    rng = np.random.default_rng((seed, 4))
    chosen = transform(data.fetch(np.sort(rng.permutation(len(data))[:images]))[0], None)
    return k_means(points(chosen.astype(float)), count, rng, kind)


def k_means(points: np.ndarray, count: int, rng: np.random.Generator, kind: str, rounds: int = 20) -> np.ndarray:
    """Centres (count, d) of points (M, d) by Lloyd's iteration, from randomly chosen points. A centre that has lost all
    its points stays. kind: of the points, for the message. Raises DataError for fewer different points than centres."""
    different = np.unique(points, axis=0)
    if len(different) < count:
        raise DataError(f"there are {len(different)} different {kind} for a vocabulary of {count}; make it smaller")
    centres = different[rng.permutation(len(different))[:count]]
    at_once = max(1, 2**22 // count)
    for _ in range(rounds):
        owner = np.concatenate([nearest(points[i : i + at_once], centres) for i in range(0, len(points), at_once)])
        sizes = np.bincount(owner, minlength=count)
        total = np.stack([np.bincount(owner, x, count) for x in points.T], axis=1)
        centres = np.where(sizes[:, None] > 0, total / np.maximum(sizes, 1)[:, None], centres)
    return centres
