"""Launches the kernels of cuda/augment.cu and cuda/mix.cu, whose comments describe each array."""

from enum import IntEnum
from typing import NamedTuple

import numpy as np

from minivit.backend.arrays import Array
from minivit.backend.cupy_kernels.launch import kernel

THREADS = 256  # of a block, which makes one image
MAX_SHARED_MEMORY = 40 << 10  # bytes; with the kernel's own tables still within what every GPU gives a block


class Kind(IntEnum):
    """The kernel's code for a RandAugment operation."""

    MOVE = 0
    LOOK_UP = 1
    AUTO_CONTRAST = 2
    EQUALIZE = 3
    COLOR = 4
    CONTRAST = 5
    SHARPNESS = 6
    CUTOUT = 7


# A row of `changes`, int32: see `Change` in augment.cu.
CHANGE = ("original", "top", "left", "flipped", "noise", "erased_top", "erased_left", "erased_height", "erased_width")


class Tables(NamedTuple):
    """Arrays of the same library, shared by all batches; the first three are for RandAugment alone.

    maps: (maps, height * width) int32.   values: (tables, 256) uint8.   blends: (256, 256) uint8.
    normalised: (256, C) float32.   cutout_half: pixels.
    """

    maps: Array | None
    values: Array | None
    blends: Array | None
    normalised: Array
    cutout_half: int = 0


def shared_memory(height: int, width: int, channels: int) -> int:
    """Bytes of shared memory that RandAugment needs for images of this size."""
    return 2 * height * width * channels


def augment(
    originals: Array,
    original_labels: Array,
    changes: Array,
    operations: Array,
    noise: Array,
    tables: Tables,
    images: Array,
    labels: Array,
) -> None:
    """Fill `images` (B, height, width, C) float32 and `labels` (B,) int64 with a batch.

    originals: (N, height, width, C) uint8.   original_labels: (N,) int64.   changes: (B, len(CHANGE)) int32.
    operations: (B, n, 3) int32: a Kind and two numbers.   noise: float32.
    """
    batch, height, width, channels = images.shape
    count = operations.shape[1]
    kernel("augment.cu", "augment", CHANNELS=channels)(
        batch,
        THREADS,
        originals,
        original_labels,
        changes,
        operations if count else None,
        noise if noise.size else None,
        tables.maps,
        tables.values,
        tables.blends,
        tables.normalised,
        images,
        labels,
        np.int32(height),
        np.int32(width),
        np.int32(count),
        np.int32(tables.cutout_half),
        shared_memory=shared_memory(height, width, channels) if count else 0,
    )


def mix_images(images: Array, mixed: Array, box: tuple[int, int, int, int], own: float, other: float) -> None:
    """Fill `mixed` with `images` (B, height, width, C) and, in the box, `own` of them and `other` of the previous one.

    box: (top, bottom, left, right).
    """
    batch, height, width, channels = images.shape
    sizes = [np.int32(number) for number in (height, width, channels, *box)]
    kernel("mix.cu", "mix_images")(batch, THREADS, images, mixed, *sizes, np.float32(own), np.float32(other))


def mix_labels(labels: Array, mixed: Array, own: float, other: float) -> None:
    """Fill `mixed` (B, K) float32 with `own` of the labels (B,) int64, as one-hot rows, and `other` of the previous."""
    batch, classes = mixed.shape
    kernel("mix.cu", "mix_labels")(batch, THREADS, labels, mixed, np.int32(classes), np.float32(own), np.float32(other))
