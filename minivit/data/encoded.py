"""Data sets of encoded images (JPEG, PNG, ...): read and decoded one by one, by the thread that fetches them."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from minivit.data.dataset import Dataset, Indices, as_indices
from minivit.data.images import Cut, check_header, read_cut, read_image
from minivit.errors import DataError

BAD_IMAGES = ("refuse", "skip")
LEAVE_OUT = '(to leave such images out: --bad-images skip, or bad_images="skip" in Python)'


class EncodedDataset(Dataset):
    """N encoded images. A subclass defines `place`, `source` and `subset`.

    bad_images: "refuse" raises DataError for an unreadable image (see `read_image`); "skip" leaves it out, notes its
    place and the reason in `skipped`, and never opens it again.
    """

    def __init__(
        self,
        labels: Iterable[int],
        classes: Iterable[str],
        name: str,
        bad_images: str = "refuse",
        left_out: Mapping[str, int] | None = None,
        split: str | None = None,
    ) -> None:
        super().__init__(labels, classes, name)
        check_bad_images(bad_images)
        self.bad_images = bad_images
        self.left_out = dict(left_out or {})
        self.split = split

    def place(self, index: int) -> str:
        """The name of an image in messages and in `skipped`: its path, or its name in an archive."""
        raise NotImplementedError

    def was_skipped(self, index: int) -> bool:
        return bool(self.skipped) and self.place(index) in self.skipped

    def file_name(self, index: int) -> str:
        """The name of the image file, without folders; "" if it is not kept."""
        return self.place(index).replace("\\", "/").rpartition("/")[2]

    def source(self, index: int) -> str | os.PathLike[str] | bytes:
        """The path of an image file, or its content. Raises DataError, which names the place."""
        return self.place(index)

    def fetch(self, indices: Indices, min_size: tuple[int, int] | None = None) -> tuple[list[np.ndarray], np.ndarray]:
        return self.read_each(indices, lambda _, source, place: read_image(source, min_size, place))

    def cut(self, indices: Indices, cuts: Sequence[Cut]) -> tuple[list[np.ndarray], np.ndarray]:
        return self.read_each(indices, lambda number, source, place: read_cut(source, cuts[number], place))

    def read_each(self, indices: Indices, read: Callable[[int, Any, str], np.ndarray]) -> tuple[list, np.ndarray]:
        """read(number among the indices, source, place) of each image that can be read, and their labels.

        A subclass that gets the sources of many images at once overrides this: everything is read through it.
        """
        images, labels = [], []
        for number, index in enumerate(as_indices(indices, self.name)):
            place = self.place(index)
            if place in self.skipped:
                continue
            try:
                images.append(read(number, self.source(index), place))
            except DataError as error:
                if self.bad_images == "refuse":
                    raise DataError(f"{error} {LEAVE_OUT}") from error
                self.skipped[place] = str(error).removeprefix(f"{place}: ")
            else:
                labels.append(self.labels[index])
        return images, np.array(labels, np.int64)

    def fault(self, index: int, min_size: tuple[int, int] | None) -> str:
        """Why an image cannot be read, or "".   min_size: as of `read_image`; None reads only the header."""
        place = self.place(index)
        try:
            if min_size is None:
                check_header(self.source(index), place)
            else:
                read_image(self.source(index), min_size, place)
        except DataError as error:
            return str(error).removeprefix(f"{place}: ")
        return ""


def check_bad_images(bad_images: str) -> None:
    """Raise DataError unless the value is in `BAD_IMAGES`."""
    if bad_images not in BAD_IMAGES:
        raise DataError(f'bad_images is "{bad_images}", expected "refuse" or "skip"')
