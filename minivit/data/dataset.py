"""A data set: labelled uint8 images, fetched by index."""

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Self

import numpy as np

from minivit.data.imagenet import in_words as with_word
from minivit.data.images import Cut
from minivit.errors import DataError, shown

Indices = Iterable[int]  # an array, a sequence, a generator
Images = np.ndarray | list[np.ndarray]  # one (B, height, width, C) array, or B arrays when sizes are mixed


class Dataset:
    """N labelled images of K classes; the base of `ArrayDataset` (in memory) and `EncodedDataset` (image files).

    name: str, its name in messages.   classes: K names.   labels: (N,) int64 in 0..K-1.
    image_size: (height, width), or None for mixed sizes.   channels: C of every image.
    split: the folder of these images, such as "val", if they come from a folder.
    skipped: path -> reason, the unreadable images left out so far (only image files can be unreadable).
    left_out: kind -> number of files in a folder that were not taken for images, such as ".heic" -> 3.
    Raises DataError unless each image has one label, a whole number in 0..K-1.
    """

    COLUMNS: tuple[str, ...] = ("images", "labels")  # what `columns` has
    image_size: tuple[int, int] | None = None
    channels: int = 3
    split: str | None = None

    def __init__(self, labels: Iterable[int], classes: Iterable[str], name: str) -> None:
        self.name = name
        if isinstance(classes, str | Set):
            raise DataError(f"{name}: classes are a {type(classes).__name__}, expected a list of names, in their order")
        self.classes = list(classes)
        self.labels = whole_numbers(labels, f"{name}: labels")
        self.skipped: dict[str, str] = {}
        self.left_out: dict[str, int] = {}
        check_labels(self.labels, len(self.classes), name)

    def __repr__(self) -> str:
        size = "of mixed sizes" if self.image_size is None else f"of {self.image_size[0]}x{self.image_size[1]} pixels"
        counts = np.bincount(self.labels, minlength=len(self.classes))
        shares = f" with {_range(counts.tolist())} images each" if len(self.classes) else ""
        first = ", ".join(with_word(shown(name, 20)) for name in self.classes[:5])
        more = ", ..." if len(self.classes) > 5 else ""
        return (
            f"{type(self).__name__} {self.name}: {len(self):,} images, uint8 {size} in {self.channels} "
            f"channel{'s' if self.channels != 1 else ''}, {len(self.classes)} classes{shares}: {first}{more}"
        )

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

        Images are one uint8 array (B, height, width, C), or a list of B arrays for mixed sizes.
        min_size: the (height, width) at which the caller will use them; large JPEGs then decode faster, see
        `read_image`.
        """
        raise NotImplementedError

    def cut(self, indices: Indices, cuts: Sequence[Cut]) -> tuple[Images, np.ndarray]:
        """A part of each image with these indices, resized: a list of uint8 (*size, C), and their labels.

        cuts: one for each index. Image files decode faster this way, see `read_cut`.
        """
        images, labels = self.fetch(indices)
        return [cut.of(image) for image, cut in zip(images, cuts, strict=True)], labels

    def columns(
        self, indices: Indices, names: Iterable[str], min_size: tuple[int, int] | None = None
    ) -> dict[str, Images]:
        """The columns of the examples with these indices, by name: "images" and "labels" as `fetch` gives them.

        A data set with further columns, such as captions or masks, overrides this. Columns are arrays or lists, the
        examples first. Raises DataError for an unknown column.
        """
        self.check_columns(names)
        found = dict(zip(("images", "labels"), self.fetch(indices, min_size), strict=True))
        return {name: found[name] for name in names}

    def check_columns(self, names: Iterable[str]) -> None:
        """Raise DataError for a name that is not in COLUMNS."""
        for name in names:
            if name not in self.COLUMNS:
                raise DataError(f'{self.name}: there is no column "{name}"; choose from {", ".join(self.COLUMNS)}')

    def was_skipped(self, index: int) -> bool:
        """Whether an image was left out because it cannot be read."""
        return False

    def order(self, rng: np.random.Generator) -> np.ndarray:
        """The order of an epoch: a permutation (N,) of 0..N-1. A data set that is best read from front to back
        overrides this."""
        return rng.permutation(len(self))

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
    """A data set in memory.   images: (N, height, width, C) uint8.   labels: (N,) integers in 0..K-1.

    An array of images is not copied: later changes to it change the data set.
    """

    def __init__(
        self, images: np.ndarray | Iterable[np.ndarray], labels: Iterable[int], classes: Iterable[str], name: str
    ) -> None:
        super().__init__(labels, classes, name)
        try:
            self.images = images if isinstance(images, np.ndarray) else np.array(list(images))
        except ValueError:
            raise DataError(f"{name}: images must all have the same size; those of files may differ") from None
        if self.images.ndim != 4 or self.images.dtype != np.uint8 or len(self.images) != len(self.labels):
            raise DataError(
                f"{name}: images must be uint8 (N, height, width, C) with one label each, "
                f"not {self.images.dtype} {self.images.shape} with {len(self.labels)} labels"
            )
        self.image_size = self.images.shape[1:3]
        self.channels = self.images.shape[3]

    def fetch(self, indices: Indices, min_size: tuple[int, int] | None = None) -> tuple[np.ndarray, np.ndarray]:
        indices = as_indices(indices, self.name)
        return self.images[indices], self.labels[indices]

    def subset(self, indices: Indices) -> "ArrayDataset":
        images, labels = self.fetch(indices)
        return ArrayDataset(images, labels, self.classes, self.name)


def _range(counts: list[int]) -> str:
    """ "3 to 5", or "4" if that is all."""
    least, most = min(counts), max(counts)
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def whole_numbers(values: Iterable[float], what: str) -> np.ndarray:
    """A copy of the values, (N,) int64; a generator is read to its end. Raises DataError for other numbers."""
    array = np.array(values if isinstance(values, np.ndarray) else list(values))
    if array.ndim == 1 and array.dtype.kind in "biuf":
        with np.errstate(invalid="ignore"):  # NaN becomes some integer, which is not equal to it
            whole = array.astype(np.int64)
        if np.array_equal(whole, array):
            return whole
    raise DataError(f"{what} must be whole numbers (N,), not {array.dtype} {array.shape}")


def as_indices(indices: Indices, name: str) -> np.ndarray:
    """The indices as (B,) int64. Raises DataError unless they are whole numbers; a mask is refused too."""
    numbers = indices if isinstance(indices, np.ndarray) else np.array(list(indices))
    if numbers.dtype == bool:
        raise DataError(f"{name}: a mask is not a list of indices; give np.flatnonzero(mask)")
    return whole_numbers(numbers, f"{name}: indices")


def in_words(counts: Mapping[str, int]) -> str:
    """ "3 .heic, 1 hidden": the most frequent kinds first, at most eight."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    words = [f"{number:,} {shown(kind, 60)}" for kind, number in ordered[:8]]
    rest = sum(number for _, number in ordered[8:])
    return ", ".join([*words, f"{rest:,} others"] if rest else words)


def check_labels(labels: np.ndarray, num_classes: int, source: str) -> None:
    """Raise DataError unless all labels are in 0..K-1, naming `source` (a file), record and value."""
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if wrong.size:
        raise DataError(
            f"{source}: record {wrong[0]} (counted from 0) has label {labels[wrong[0]]}, "
            f"expected 0 to {num_classes - 1}; the file is damaged or belongs to another data set"
        )
