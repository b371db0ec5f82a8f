"""What a data set is: labelled uint8 images that can be fetched by index."""

from collections.abc import Sequence
from typing import Self

import numpy as np

from minivit.errors import DataError

Indices = Sequence[int] | np.ndarray
Images = np.ndarray | list[np.ndarray]  # one (B, height, width, C) array, or B arrays when sizes are mixed


class Dataset:
    """N labelled images of K classes; the base of `ArrayDataset` (in memory) and `FolderDataset` (image files).

    name: str, what to call it in messages.   classes: K names.   labels: (N,) int64 in 0..K-1.
    image_size: (height, width), or None when sizes are mixed.   channels: C of every image.
    skipped: path -> reason, the unreadable images left out so far (only image files can be unreadable).
    """

    image_size: tuple[int, int] | None = None
    channels: int = 3

    def __init__(self, labels: np.ndarray, classes: Sequence[str], name: str) -> None:
        self.name = name
        self.classes = list(classes)
        self.labels = np.asarray(labels).astype(np.int64)
        self.skipped: dict[str, str] = {}
        check_labels(self.labels, len(self.classes), name)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        """Image `index`, uint8 (height, width, C), and its label."""
        images, labels = self.fetch([index])
        if len(labels) == 0:
            raise DataError(f"{self.name}: image {index} cannot be read and was skipped")
        return images[0], int(labels[0])

    def fetch(self, indices: Indices, min_size: tuple[int, int] | None = None) -> tuple[Images, np.ndarray]:
        """The images with these indices and their labels (B,) int64.

        Images are one uint8 array (B, height, width, C), or a list of B arrays when sizes are mixed.
        min_size: a (height, width) at which the caller will use them, which lets large JPEGs be decoded faster; see
        `read_image`.
        """
        raise NotImplementedError

    def subset(self, indices: Indices) -> Self:
        """A data set of the images with these indices, in this order."""
        raise NotImplementedError

    def limit(self, count: int, seed: int = 0) -> Self:
        """`count` images (all, if there are fewer) drawn at random, as evenly over the classes as they allow.

        The same count and seed always give the same images, and a smaller count a subset of a larger one's.
        Raises DataError if count < 1.
        """
        if count < 1:
            raise DataError(f"{self.name}: cannot be limited to {count} images; ask for at least 1")
        order = np.random.default_rng(seed).permutation(len(self))
        labels = self.labels[order]
        rank = np.empty(len(self), np.int64)  # how many images of its class come before each image
        for label in range(len(self.classes)):
            members = np.flatnonzero(labels == label)
            rank[members] = np.arange(len(members))
        return self.subset(np.sort(order[np.argsort(rank, kind="stable")[:count]]))


class ArrayDataset(Dataset):
    """A data set in memory.   images: (N, height, width, C) uint8.   labels: (N,) integers in 0..K-1."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, classes: Sequence[str], name: str) -> None:
        if images.ndim != 4 or images.dtype != np.uint8 or len(images) != len(labels):
            raise DataError(
                f"{name}: images must be uint8 (N, height, width, C) with one label each, "
                f"not {images.dtype} {images.shape} with {len(labels)} labels"
            )
        super().__init__(labels, classes, name)
        self.images = images
        self.image_size = images.shape[1:3]
        self.channels = images.shape[3]

    def fetch(self, indices: Indices, min_size: tuple[int, int] | None = None) -> tuple[np.ndarray, np.ndarray]:
        indices = np.asarray(indices, np.int64)
        return self.images[indices], self.labels[indices]

    def subset(self, indices: Indices) -> "ArrayDataset":
        images, labels = self.fetch(indices)
        return ArrayDataset(images, labels, self.classes, self.name)


def check_labels(labels: np.ndarray, num_classes: int, source: str) -> None:
    """Raise DataError naming `source` (a file), record and value unless all labels are in 0..K-1."""
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if wrong.size:
        raise DataError(
            f"{source}: record {wrong[0]} (counted from 0) has label {labels[wrong[0]]}, "
            f"expected 0 to {num_classes - 1}; the file is damaged or belongs to another data set"
        )
