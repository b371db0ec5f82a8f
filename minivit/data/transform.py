"""`Augment`: from fetched uint8 images to the float32 batch a model sees, for training and for evaluation."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Self

import numpy as np

from minivit.data.augment import (
    Erasure,
    PerChannel,
    central_box,
    crop,
    crop_box,
    draw_corners,
    draw_erasures,
    draw_flips,
    erase,
    flip,
    normalize,
)
from minivit.data.dataset import Images
from minivit.data.images import Box, Cut, resize
from minivit.data.randaugment import apply_operations, draw_operations, strength_of
from minivit.errors import ConfigError
from minivit.files.fields import settle


@dataclass(frozen=True)
class Changes:
    """The draws of an `Augment` for a batch of B images; None or empty for an unused change.

    They depend on no image. A resized crop needs more or fewer numbers, depending on the size of its image, so each
    image has its own generator for them, and only its seed is drawn.
    """

    crops: np.ndarray | None  # (B,), the seed of each image's resized crop
    corners: np.ndarray | None  # (2, B), see `draw_corners`
    flipped: np.ndarray | None  # (B,), see `draw_flips`
    operations: np.ndarray | None  # (B, n, 3), see `draw_operations`
    erasures: list[Erasure]

    def of(self, rows: np.ndarray) -> "Changes":
        """The draws for the images with these numbers in the batch, (R,), in this order."""
        crops, corners, flipped, operations = (
            None if x is None else x[..., rows] if x is self.corners else x[rows]
            for x in (self.crops, self.corners, self.flipped, self.operations)
        )
        by_image = {erasure.image: erasure for erasure in self.erasures}
        kept = [by_image[row]._replace(image=i) for i, row in enumerate(rows.tolist()) if row in by_image]
        return Changes(crops, corners, flipped, operations, kept)


@dataclass(frozen=True)
class Augment:
    """Resize, change at random, normalise: a function of (images, rng).

    With only image size, mean, std and resize it is not random and needs no rng: that is the transform for evaluation.
    image_size: (height, width) of the result.
    flip: mirror half of the images.   crop_padding: pixels to pad before a random crop (CIFAR: 4).
    resized_crop: (smallest, largest) share of the area for a random resized crop (ImageNet: (0.05, 1)), or None.
    randaugment: (number of operations, magnitude), or None.   erasing: probability of erasing a random box.
    mean, std: for normalisation, of pixels in 0..1; numbers, or one per channel.
    resize: how images of another size are resized without `resized_crop`: "squash" resizes height and width
    independently, as the published code does; "crop" first cuts off the edges: it keeps the central 7/8 (224 of 256
    pixels) of the largest part that has the result's aspect ratio.
    Raises ConfigError for invalid values.
    """

    image_size: tuple[int, int]
    flip: bool = False
    crop_padding: int = 0
    resized_crop: tuple[float, float] | None = None
    randaugment: tuple[int, float] | None = None
    erasing: float = 0.0
    mean: PerChannel = 0.5
    std: PerChannel = 0.5
    resize: str = "squash"

    def __post_init__(self) -> None:
        if self.resize not in ("squash", "crop"):
            raise ConfigError(f'resize is "{self.resize}", expected "squash" or "crop"')
        settle(self)
        if len(self.image_size) != 2 or not all(_is_count(side, 1) for side in self.image_size):
            raise ConfigError(f"image_size is {self.image_size}, expected (height, width) of at least 1 pixel")
        if not _is_count(self.crop_padding, 0):
            raise ConfigError(f"crop_padding is {self.crop_padding}, expected 0 or more pixels")
        if not 0 <= self.erasing <= 1:
            raise ConfigError(f"erasing is {self.erasing}, expected a probability")
        if self.resized_crop is not None and not 0 < self.resized_crop[0] <= self.resized_crop[1] <= 1:
            raise ConfigError(f"resized_crop is {self.resized_crop}, expected 0 < min <= max <= 1")
        if self.randaugment is not None and not (_is_count(self.randaugment[0], 0) and self.randaugment[1] >= 0):
            raise ConfigError(f"randaugment is {self.randaugment}, expected two numbers >= 0, the first a whole one")
        if not np.all(np.isfinite(self.mean)) or not np.all(np.isfinite(self.std)) or np.min(self.std) <= 0:
            raise ConfigError(f"mean is {self.mean} and std {self.std}, expected finite numbers, std above 0")

    @property
    def is_random(self) -> bool:
        """Whether the result depends on the generator."""
        return bool(self.flip or self.crop_padding or self.resized_crop or self.randaugment or self.erasing)

    @property
    def decode_size(self) -> tuple[int, int] | None:
        """The size to which `read_image` may shrink large JPEGs, leaving room for a good resize."""
        if self.resized_crop is not None:
            return None  # a crop may be a twentieth of the area; only `read_cut` knows how many pixels it needs
        return 2 * self.image_size[0], 2 * self.image_size[1]

    def evaluation(self) -> Self:
        """The same image size, resize, mean and std, without anything random."""
        return replace(self, flip=False, crop_padding=0, resized_crop=None, randaugment=None, erasing=0.0)

    def __call__(self, images: Images, rng: np.random.Generator | None = None) -> np.ndarray:
        """(B, height, width, C) float32 from uint8 images (B, h, w, C), or a list of B of any sizes."""
        if not self.is_random:
            return normalize(self._resize(images), self.mean, self.std)
        if rng is None:
            raise ConfigError("this Augment is random and needs a generator: use its evaluation()")
        changes = self.draw((len(images), *self.image_size, images[0].shape[-1]), rng)
        return self.apply(self.resized(images, changes), changes)

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Changes:
        """Draw the changes for a batch of this shape (B, height, width, C), after the resize or resized crop."""
        return Changes(
            crops=None if self.resized_crop is None else rng.integers(0, 2**63, shape[0]),
            corners=draw_corners(shape[0], self.crop_padding, rng) if self.crop_padding else None,
            flipped=draw_flips(shape[0], rng) if self.flip else None,
            operations=None if self.randaugment is None else draw_operations(shape, self.randaugment[0], rng),
            erasures=draw_erasures(shape, self.erasing, rng) if self.erasing else [],
        )

    def resized(self, images: Images, changes: Changes) -> np.ndarray:
        """(B, height, width, C) uint8 from images of any sizes: resized, or their random crops."""
        cuts = self.cuts(changes)
        if cuts is None:
            return self._resize(images)
        return np.stack([cut.of(image) for image, cut in zip(images, cuts, strict=True)])

    def cuts(self, changes: Changes) -> list[Cut] | None:
        """The random crops, one for each image; None without them."""
        if self.resized_crop is None or changes.crops is None:
            return None
        scale = self.resized_crop

        def box_of(seed: int) -> Callable[[int, int], Box]:
            return lambda height, width: crop_box(height, width, np.random.default_rng(seed), scale)

        return [Cut(box_of(seed), self.image_size) for seed in changes.crops.tolist()]

    def apply(self, x: np.ndarray, changes: Changes) -> np.ndarray:
        """(B, height, width, C) float32, normalised, from uint8 images of this size."""
        x = normalize(self.altered(x, changes), self.mean, self.std)
        return erase(x, changes.erasures) if changes.erasures else x

    def altered(self, x: np.ndarray, changes: Changes) -> np.ndarray:
        """The changes before normalisation: uint8 (B, height, width, C)."""
        if changes.corners is not None:
            x = crop(x, self.crop_padding, changes.corners)
        if changes.flipped is not None:
            x = flip(x, changes.flipped)
        if changes.operations is not None and self.randaugment is not None:
            x = apply_operations(x, strength_of(self.randaugment[1]), changes.operations)
        return x

    def _resize(self, images: Images) -> np.ndarray:
        """(B, height, width, C) uint8."""
        if isinstance(images, np.ndarray) and images.shape[1:3] == self.image_size:
            return images
        return np.stack([resize(self._kept(image), self.image_size) for image in images])

    def _kept(self, image: np.ndarray) -> np.ndarray:
        """The part of an image that `resize` keeps."""
        height, width = image.shape[:2]
        if self.resize == "squash" or (height, width) == self.image_size:
            return image
        left, top, right, bottom = central_box(height, width, self.image_size[1] / self.image_size[0])
        dx, dy = (right - left) // 16, (bottom - top) // 16
        return image[top + dy : bottom - dy, left + dx : right - dx]


def _is_count(value: object, least: int) -> bool:
    return isinstance(value, Integral) and value >= least  # type: ignore[operator]
