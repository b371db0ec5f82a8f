"""The archives of ILSVRC2012 as image-net.org gives them, read without unpacking them.

`TRAIN` is a tar of 1,000 tars, one for each class, called by its WordNet id. `VAL` has 50,000 images without labels;
these are in the development kit.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from minivit.data.archived import ArchivedDataset, Places, check_faults
from minivit.data.dataset import Dataset
from minivit.data.devkit import validation_ids
from minivit.data.download import Progress
from minivit.data.held_out import held_out
from minivit.data.imagenet import imagenet_ids
from minivit.data.images import SUFFIXES
from minivit.data.listing import Draft, Listing, Meter, listings
from minivit.data.tars import CutError, Window, is_hidden, members
from minivit.errors import DataError

TRAIN, VAL = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
OPENED = ("ILSVRC2012_img_train", "train", "")  # folders for the tars of the classes, if somebody has unpacked TRAIN

_CLASS = re.compile(r"(n\d{8})\.tar")
_NUMBER = re.compile(r"_(\d{8})\.")


def load_archives(
    path: Path,
    split: str,
    bad_images: str,
    progress: Progress | None,
    cache: Path | None = None,
    val_share: float | None = None,
    seed: int = 0,
) -> Dataset:
    """The "train" or "test" images of the archives in a folder.

    Classes are WordNet ids: those of the training images in their sorted order, or of all 1,000 without these.
    cache, progress: see `listings`.   val_share, seed: hold out a share of
    the training images as test images, the same that `load_folder` would hold out of the unpacked folders. Raises
    DataError.
    """
    training, validation = training_archives(path), path / VAL
    from_training = split == "train" or val_share is not None
    if from_training and not training:
        raise DataError(f"{path}: there is no {TRAIN} in it, only {VAL}")
    if not from_training and not validation.is_file():
        raise DataError(f"{path}: there is no {VAL} in it; put it there, or give val/ with class folders in its place")
    listed = listings(training, cache, "imagenet train", _fill_training, progress)
    classes = sorted({word for listing in listed for word in listing.words}) or imagenet_ids()
    if from_training:
        paths, labels = training, _of_words(listed, classes)
    else:
        paths = [validation]
        listed = listings(paths, cache, "imagenet val", _fill_validation, progress)
        labels = _of_numbers(listed[0], validation_ids(path), classes)
    left_out = check_faults(paths, listed, bad_images)
    if (without := int(np.sum(labels < 0))) > 0:
        left_out["of classes without training images"] += without
    if len(labels) == without:
        raise DataError(f"{paths[0]}: there are no images of ImageNet in it; get it again")
    rest = f"imagenet:{path}", bad_images, left_out, "train" if split == "train" else "val"
    known, places = np.flatnonzero(labels >= 0), Places.of(paths, listed)
    if val_share is not None:
        both = zip(labels, places.names, strict=True)
        names = (f"{classes[label]}/{name.rpartition('/')[2]}" for label, name in both)
        mask = held_out(labels, names, val_share, seed, lambda i: f"{paths[0]}/{places.names[i]}")
        known = np.flatnonzero(mask == (split != "train"))
    return ArchivedDataset(places.take(known), labels[known], classes, *rest)


def training_archives(path: Path) -> list[Path]:
    """The archive of the training images in a folder, or those of their classes; [] if there is none."""
    if (path / TRAIN).is_file():
        return [path / TRAIN]
    for folder in (path / name for name in OPENED):
        if folder.is_dir() and (found := [file for file in folder.iterdir() if _CLASS.fullmatch(file.name)]):
            return sorted(found)
    return []


def _fill_training(window: Window, end: int, draft: Draft, meter: Meter) -> None:
    """Add the images of a tar of tars, or of the tar of a class, which the name of the tar says."""
    faults, own = [], _CLASS.fullmatch(draft.path.name)
    for name, start, size in members(window, 0, end):
        if (found := _CLASS.fullmatch(name.rpartition("/")[2])) and size >= 0:
            try:
                for inner, at, count in members(window, start, start + size):
                    meter.at(at)
                    _add(draft, f"{found[0]}/{inner}", at, count, found[1])
            except CutError as error:
                faults.append(f"has a part {found[0]} that {error}")
        else:
            meter.at(start)
            _add(draft, name, start, size, own and own[1])
    if faults:
        raise CutError(faults[0])


def _fill_validation(window: Window, end: int, draft: Draft, meter: Meter) -> None:
    for name, start, size in members(window, 0, end):
        meter.at(start)
        found = _NUMBER.search(name.rpartition("/")[2])
        _add(draft, name, start, size, None, int(found[1]) if found else 0)


def _add(draft: Draft, name: str, start: int, size: int, word: str | None, label: int = 0) -> None:
    """Add a member, or count it if it is not an image or has neither class nor number."""
    base = name.rpartition("/")[2]
    dot = base.rfind(".")
    suffix = base[dot:].lower() if dot > 0 else ""
    if is_hidden(name):
        draft.left_out["hidden"] += 1
    elif size < 0:
        draft.left_out["links"] += 1
    elif suffix not in SUFFIXES or not (word or label):
        draft.left_out[suffix or "without a suffix"] += 1
    else:
        draft.add(name, start, size, label, word)


def _of_words(listed: Sequence[Listing], classes: Sequence[str]) -> np.ndarray:
    numbers = {name: number for number, name in enumerate(classes)}
    found = [np.array([numbers[word] for word in x.words], np.int64)[x.word] for x in listed]
    return np.concatenate([np.zeros(0, np.int64), *found])


def _of_numbers(listing: Listing, ids: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """The label of each validation image, whose number in the file name says which line of the ground truth is its
    own."""
    numbers = {name: number for number, name in enumerate(classes)}
    labels = np.array([numbers.get(name, -1) for name in ids], np.int64)
    if (highest := int(listing.labels.max(initial=0))) > len(labels):
        raise DataError(f"{VAL}: it has an image {highest:,}, but the ground truth has only {len(labels):,} labels")
    return labels[listing.labels - 1]
