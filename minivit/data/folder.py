"""A folder of image files, one sub-folder a class: the layout of ImageNet and of many private collections.

The suffix of a name says whether a file is taken for an image, its content says how it is read. Which images there
are, and in which order, is a function of names alone, the same on every system: names are compared as composed Unicode
(NFC), paths with "/" between their parts. Links are followed. What is left out is counted.
"""

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minivit.data.dataset import Dataset, Indices, as_indices, in_words
from minivit.data.imagenet import some
from minivit.data.images import SUFFIXES, read_image
from minivit.errors import DataError

BAD_IMAGES = ("refuse", "skip")


class FolderDataset(Dataset):
    """Image files, decoded when they are fetched, so in the thread that fetches them.

    paths: N files.   labels: (N,).   bad_images: "refuse" raises DataError at an unreadable image (see `read_image`);
    "skip" leaves it out of the result and notes its path and the reason in `skipped`.
    """

    def __init__(
        self,
        paths: Iterable[str | os.PathLike[str]],
        labels: Iterable[int],
        classes: Iterable[str],
        name: str,
        bad_images: str = "refuse",
        left_out: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(labels, classes, name)
        self.paths = [os.fspath(path) for path in paths]
        if len(self.paths) != len(self.labels):
            raise DataError(f"{name}: {len(self.paths)} paths with {len(self.labels)} labels; each needs one")
        check_bad_images(bad_images)
        self.bad_images = bad_images
        self.left_out = dict(left_out or {})

    def fetch(self, indices: Indices, min_size: tuple[int, int] | None = None) -> tuple[list[np.ndarray], np.ndarray]:
        images, labels = [], []
        for index in as_indices(indices, self.name):
            path = self.paths[index]
            try:
                images.append(read_image(path, min_size))
            except DataError as error:
                if self.bad_images == "refuse":
                    raise DataError(
                        f'{error} (to leave such images out: --bad-images skip, or bad_images="skip" in Python)'
                    ) from error
                self.skipped[path] = str(error).removeprefix(f"{path}: ")
            else:
                labels.append(self.labels[index])
        return images, np.array(labels, np.int64)

    def subset(self, indices: Indices) -> "FolderDataset":
        indices = as_indices(indices, self.name)
        paths = [self.paths[index] for index in indices]
        return FolderDataset(paths, self.labels[indices], self.classes, self.name, self.bad_images, self.left_out)


def check_bad_images(bad_images: str) -> None:
    """Raise DataError unless it is one of `BAD_IMAGES`."""
    if bad_images not in BAD_IMAGES:
        raise DataError(f'bad_images is "{bad_images}", expected "refuse" or "skip"')


def load_folder(path: Path, split: str, bad_images: str = "refuse") -> FolderDataset:
    """The images below `path`/train/<class>/ for "train"; for "test" those below `path`/val/, or else `path`/test/.

    Classes are the sorted names of the folders in train/; the other split may lack some but not add any. Sub-folders
    of a class belong to it, each once, however many links lead there. Names that begin with a dot, files that are not
    called like an image and files beside the class folders are counted in `left_out`. Only names are read here: images
    when fetched. Raises DataError for a missing or empty folder, a class without images, a class that train/ does not
    have, two classes whose names differ only in how letters are encoded, and a folder that may not be read.
    """
    name, path = f"folder:{path}", _whole(path)
    classes = list(_class_folders(path / "train", Counter()))
    numbers = {name: number for number, name in enumerate(classes)}
    folder = path / "train" if split == "train" else _test_folder(path)
    files = _labelled_files(folder, numbers, lambda _: f"this class is not in {path / 'train'}; rename or remove it")
    return FolderDataset(files.paths, files.labels, classes, name, bad_images, files.left_out)


def load_labelled(
    path: Path, split: str, numbers: Mapping[str, int], classes: Iterable[str], bad_images: str = "refuse"
) -> FolderDataset:
    """The images of one split for a model that knows its classes already.

    The split's folder, or `path` itself if it has none of train/, val/ and test/, holds class folders whose labels are
    looked up in `numbers`; there need not be one for every class. Raises DataError for a name that is not there.
    """
    name, path = f"folder:{path}", _whole(path)
    classes = list(classes)
    times = Counter(map(composed, numbers))
    known = {composed(name): number for name, number in numbers.items() if times[composed(name)] == 1}

    def refusal(label: str) -> str:
        found = "several classes" if label in map(composed, classes) else "no class"
        return f"the model has {found} of this name; it has {some(numbers)}"

    bare = not any((path / name).is_dir() for name in ("train", "val", "test"))
    folder = path if bare else path / "train" if split == "train" else _test_folder(path)
    files = _labelled_files(folder, known, refusal)
    return FolderDataset(files.paths, files.labels, classes, name, bad_images, files.left_out)


def composed(name: str) -> str:
    """The name in Unicode's normal form C: "é" can also be written as e and an accent, as old Macs did."""
    return unicodedata.normalize("NFC", name)


class _Files(NamedTuple):
    paths: list[str]
    labels: list[int]
    left_out: Counter[str]


def _labelled_files(folder: Path, numbers: Mapping[str, int], refusal: Callable[[str], str]) -> _Files:
    """The images in the class folders of `folder`. refusal: what is wrong with a class that is not in `numbers`."""
    paths, labels, left_out = found = _Files([], [], Counter())
    for name, class_folder in _class_folders(folder, left_out).items():
        if name not in numbers:
            raise DataError(f"{class_folder}: {refusal(name)}")
        files = _image_files(class_folder, left_out)
        paths += files
        labels += [numbers[name]] * len(files)
    return found


def _whole(path: Path) -> Path:
    """The path from the root, which stays the same folder when the program changes its own. Raises DataError unless
    there is one."""
    if not path.is_dir():
        raise DataError(f"{path}: there is no such folder{'' if path.is_absolute() else f' in {Path.cwd()}'}")
    return path.absolute()


def _test_folder(path: Path) -> Path:
    for folder in (path / "val", path / "test"):
        if folder.is_dir():
            return folder
    raise DataError(f"{path}: there is no val/ or test/ in it; put the test images' class folders there")


def _class_folders(folder: Path, left_out: Counter[str]) -> dict[str, str]:
    """Composed name -> path of each class folder, sorted by name."""
    if not folder.is_dir():
        raise DataError(f"{folder.parent}: there is no {folder.name}/ in it; put the class folders there")
    folders, files = _entries(str(folder), left_out)
    if files:
        left_out["beside the class folders"] += len(files)
    found: dict[str, str] = {}
    for path in folders:
        name = composed(os.path.basename(path))
        if name in found:
            raise DataError(f"{folder}: two class folders are called {name}, in other bytes: rename or merge them")
        found[name] = path
    if not found:
        raise DataError(f"{folder}: there are no class folders in it; put the images of each class into one")
    return dict(sorted(found.items()))


def _image_files(folder: str, left_out: Counter[str]) -> list[str]:
    """The images in a class folder and its sub-folders, sorted. A folder that holds the class, and one that another
    way has led to, are not entered: links can make circles."""
    around = Path(os.path.realpath(os.path.dirname(folder)))
    entered = {str(path) for path in (around, *around.parents, *Path(os.path.realpath(folder)).parents)}
    found: list[tuple[str, str]] = []  # what to sort by, path
    others: Counter[str] = Counter()
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        place = os.path.realpath(here)
        if place in entered:
            others["repeated folders"] += 1
            continue
        entered.add(place)
        folders, files = _entries(here, others)
        waiting += reversed(folders)
        for path in files:
            suffix = os.path.splitext(path)[1].lower()
            if suffix in SUFFIXES:
                found.append((composed(os.path.relpath(path, folder).replace(os.sep, "/")), path))
            else:
                others[suffix or "without a suffix"] += 1
    if not found:
        seen = f" (only {in_words(others)})" if others else ""
        raise DataError(f"{folder}: there are no images in it{seen}; add some ({', '.join(SUFFIXES)}) or remove it")
    left_out += others
    return [path for _, path in sorted(found)]


def _entries(folder: str, left_out: Counter[str]) -> tuple[list[str], list[str]]:
    """The paths of the folders and of the files in a folder, links among them, each sorted."""
    folders, files = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    left_out["hidden"] += 1
                elif entry.is_symlink() and not os.path.exists(entry.path):
                    left_out["broken links"] += 1
                elif os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir():
                    folders.append(entry.path)
                else:
                    files.append(entry.path)
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror or error})") from error
    return sorted(folders, key=composed), sorted(files, key=composed)
