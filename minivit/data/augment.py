"""Random changes to whole batches that keep the label: flip, crop, resized crop, erasing; and normalisation.

Each is a pure function of arrays and a NumPy generator: equal generator states give equal results, and inputs are never
changed. Images are (B, height, width, C). Random draws never depend on the pixels. So most functions have two halves:
`draw_...`, which draws on the host for every device, and one that applies the draws to NumPy arrays.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from minivit.data.dataset import Images
from minivit.data.images import resize

PerChannel = float | tuple[float, ...]


def normalize(images: np.ndarray, mean: PerChannel = 0.5, std: PerChannel = 0.5) -> np.ndarray:
    """(x / 255 - mean) / std as float32.   images: uint8.   mean, std: numbers, or one per channel.

    The default is the published ViT's (x - 127.5) / 127.5, in [-1, 1], bit for bit.
    Source: google-research/vision_transformer, input_pipeline.py.
    """
    batch, height, width, channels = images.shape
    x = images.reshape(batch, height, width * channels).astype(np.float32)
    # A value for each entry of a row: NumPy is several times slower when it broadcasts an axis as short as C.
    x -= np.broadcast_to(255 * np.asarray(mean), (width, channels)).ravel().astype(np.float32)
    x /= np.broadcast_to(255 * np.asarray(std), (width, channels)).ravel().astype(np.float32)
    return x.reshape(images.shape)


def random_flip(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each image mirrored left to right with probability 1/2."""
    return flip(images, draw_flips(len(images), rng))


def draw_flips(count: int, rng: np.random.Generator) -> np.ndarray:
    """Which of `count` images to mirror: (count,) bool."""
    return rng.random(count) < 0.5


def flip(images: np.ndarray, flipped: np.ndarray) -> np.ndarray:
    """Those images mirrored for which `flipped` (B,) is True."""
    out = images.copy()
    out[flipped] = images[flipped, :, ::-1]
    return out


def random_crop(images: np.ndarray, padding: int, rng: np.random.Generator) -> np.ndarray:
    """Each image shifted by up to `padding` pixels each way, with black (0) where it has moved away.

    It is padded all round, then a window of its old size is cut out at a uniformly random place.
    Source: He et al. 2016, "Deep Residual Learning for Image Recognition", section 4.2 (CIFAR, padding 4).
    """
    return crop(images, padding, draw_corners(len(images), padding, rng))


def draw_corners(count: int, padding: int, rng: np.random.Generator) -> np.ndarray:
    """(top, left) of each of `count` windows in images with this padding, in pixels: (2, count) integers."""
    return rng.integers(0, 2 * padding + 1, (2, count))


def crop(images: np.ndarray, padding: int, corners: np.ndarray) -> np.ndarray:
    """The window of each padded image whose upper left corner is at `corners` (2, B): tops, lefts."""
    batch, height, width, channels = images.shape
    padded = np.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    top, left = corners
    # All crops at once: rows are runs of width * C bytes; of the view of all windows, pick one an image.
    rows = padded.reshape(batch, height + 2 * padding, -1)
    windows = sliding_window_view(rows, (height, width * channels), axis=(1, 2))
    return windows[np.arange(batch), top, left * channels].reshape(images.shape)


def random_resized_crop(
    images: Images,
    size: tuple[int, int],
    rng: np.random.Generator,
    scale: tuple[float, float] = (0.05, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> np.ndarray:
    """A random part of each image, resized bilinearly to `size`: (B, height, width, C) uint8.

    images: uint8, an array or a list of (h, w, C) of any sizes.   scale, ratio: see `crop_box`.
    Source: Szegedy et al. 2015, "Going Deeper with Convolutions", section 6; scale (0.05, 1) as published for ViT.
    """
    out = []
    for image in images:
        left, top, right, bottom = crop_box(image.shape[0], image.shape[1], rng, scale, ratio)
        out.append(resize(image[top:bottom, left:right], size))
    return np.stack(out)


def crop_box(
    height: int,
    width: int,
    rng: np.random.Generator,
    scale: tuple[float, float] = (0.05, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> tuple[int, int, int, int]:
    """A random box (left, top, right, bottom), in whole pixels, inside a height x width image.

    Its share of the area is uniform in `scale`, its width : height log-uniform in `ratio`, its place uniform. If ten
    draws do not fit into the image, the largest central box with an allowed ratio (as in torchvision).
    """
    for _ in range(10):
        area = height * width * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
            return left, top, left + w, top + h
    return central_box(height, width, min(max(width / height, ratio[0]), ratio[1]))


def central_box(height: int, width: int, aspect: float) -> tuple[int, int, int, int]:
    """The largest central box (left, top, right, bottom) of an image with width : height = `aspect`."""
    w = min(width, max(1, round(height * aspect)))
    h = min(height, max(1, round(width / aspect)))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def random_erasing(
    images: np.ndarray,
    probability: float,
    rng: np.random.Generator,
    area: Sequence[float] = (0.02, 1 / 3),
    ratio: Sequence[float] = (0.3, 1 / 0.3),
) -> np.ndarray:
    """Each image, with this probability, with one random box replaced by normal noise.   images: float32, normalised.

    area: the range of the box's share of the image.   ratio: the range of its width : height.
    Source: Zhong et al. 2020, "Random Erasing Data Augmentation"; ranges and N(0, 1) noise as timm's "pixel" mode,
    which DeiT uses with probability 0.25.
    """
    return erase(images, draw_erasures(images.shape, probability, rng, area, ratio))


class Erasure(NamedTuple):
    """Image number `image` of a batch gets `noise` (h, w, C) float32, with its upper left corner at (top, left)."""

    image: int
    top: int
    left: int
    noise: np.ndarray


def draw_erasures(
    shape: tuple[int, ...],
    probability: float,
    rng: np.random.Generator,
    area: Sequence[float] = (0.02, 1 / 3),
    ratio: Sequence[float] = (0.3, 1 / 0.3),
) -> list[Erasure]:
    """The draws of `random_erasing` for a batch of this shape (B, height, width, C)."""
    batch, height, width, channels = shape
    erasures = []
    for i in np.flatnonzero(rng.random(batch) < probability):
        left, top, right, bottom = crop_box(height, width, rng, (area[0], area[1]), (ratio[0], ratio[1]))
        noise = rng.standard_normal((bottom - top, right - left, channels), np.float32)
        erasures.append(Erasure(int(i), top, left, noise))
    return erasures


def erase(images: np.ndarray, erasures: Sequence[Erasure]) -> np.ndarray:
    """A copy of the images with the noise laid over them."""
    out = images.copy()
    for i, top, left, noise in erasures:
        out[i, top : top + noise.shape[0], left : left + noise.shape[1]] = noise
    return out
