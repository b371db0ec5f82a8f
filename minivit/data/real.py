"""ReaL: the labels that people gave to ImageNet's validation images again, several or none for an image.

Source: Beyer et al. 2020, "Are we done with ImageNet?"; the file real.json of github.com/google-research/
reassessed-imagenet is a list with the classes, 0 to 999 in the order of their WordNet ids, of the images
ILSVRC2012_val_00000001 to ILSVRC2012_val_00050000.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from minivit.data.dataset import Dataset
from minivit.data.encoded import EncodedDataset
from minivit.data.imagenet_numbers import numbers_of
from minivit.errors import DataError, shown
from minivit.files import parse_json

LARGEST = 2**24  # bytes; the file has 388,478
IMAGES = 50_000
_NAME = re.compile(r"ILSVRC2012_val_(\d{8})(?!\d)", re.IGNORECASE)  # the wnid may follow, as in Hugging Face's data


def read_real(path: Path) -> list[list[int]]:
    """The labels in a file, by image. Raises DataError if it is missing or another file."""
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST + 1)
        found = parse_json(content) if len(content) <= LARGEST else None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no file of ReaL labels: {getattr(error, 'strerror', None) or error}") from error
    if not isinstance(found, list) or not found or not all(isinstance(labels, list) for labels in found):
        raise DataError(
            f"{path} is no file of ReaL labels: it is no list of lists; use real.json of reassessed-imagenet"
        )
    if len(found) > IMAGES or any(
        type(label) is not int or not 0 <= label < 1000 for labels in found for label in labels
    ):
        raise DataError(f"{path} is no file of ReaL labels: expected at most {IMAGES:,} lists of numbers from 0 to 999")
    return found


def real_labels(data: Dataset, labels: Sequence[Sequence[int]]) -> list[frozenset[int]]:
    """The right classes of each image, as numbers of the data set's classes; an empty set if there is none.

    labels: of `read_real`. Images are found by the number in their name. Labels of classes that the data set does not
    have are dropped. Raises DataError if a name has no such number or a class is none of ImageNet's.
    """
    numbers = numbers_of(data.classes)
    if None in numbers:
        other = data.classes[numbers.index(None)]
        raise DataError(f'{data.name}: ReaL labels are for ImageNet\'s classes, but "{shown(other)}" is none of them')
    own = {number: label for label, number in enumerate(numbers) if number is not None}
    return [frozenset(own[k] for k in labels[image] if k in own) for image in _images(data, len(labels))]


def _images(data: Dataset, count: int) -> list[int]:
    """Which validation image each image is, counted from 0."""
    known = (
        f"{data.name}: ReaL labels are for ImageNet's validation images, ILSVRC2012_val_00000001.JPEG to "
        "ILSVRC2012_val_00050000.JPEG, but "
    )
    if not isinstance(data, EncodedDataset):
        raise DataError(f"{known}this data has no files of images")
    found = []
    for index in range(len(data)):
        name = _NAME.search(data.file_name(index))
        if name is None:
            raise DataError(f"{known}{data.place(index)} has another name")
        if not 1 <= int(name[1]) <= count:
            raise DataError(f"{data.place(index)}: there are ReaL labels for {count:,} images, but not for this one")
        found.append(int(name[1]) - 1)
    return found


def real_accuracy(best: np.ndarray, right: Sequence[frozenset[int]]) -> tuple[int, float, float]:
    """The number of images that have a label, and the shares of them whose first answer and one of whose answers is
    right.   best: (N, k), the likeliest classes of each image, likeliest first."""
    counted = [(answers, labels) for answers, labels in zip(best.tolist(), right, strict=True) if labels]
    first = sum(answers[0] in labels for answers, labels in counted)
    among = sum(not labels.isdisjoint(answers) for answers, labels in counted)
    count = len(counted)
    return count, first / max(count, 1), among / max(count, 1)
