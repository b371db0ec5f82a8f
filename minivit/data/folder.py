"""A folder of image files, one sub-folder a class: the layout of ImageNet and of many private collections."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from minivit.data.dataset import Dataset, Indices
from minivit.data.images import read_image
from minivit.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png")  # in upper or lower case


class FolderDataset(Dataset):
    """Image files, decoded when they are fetched, so in the thread that fetches them.

    paths: N files.   labels: (N,).   bad_images: "refuse" raises DataError at an unreadable image (see `read_image`);
    "skip" leaves it out of the result and notes its path and the reason in `skipped`.
    """

    def __init__(
        self,
        paths: Sequence[str],
        labels: np.ndarray,
        classes: Sequence[str],
        name: str,
        bad_images: str = "refuse",
    ) -> None:
        super().__init__(labels, classes, name)
        self.paths = list(paths)
        self.bad_images = bad_images

    def fetch(self, indices: Indices, min_size: tuple[int, int] | None = None) -> tuple[list[np.ndarray], np.ndarray]:
        images, labels = [], []
        for index in indices:
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
        paths = [self.paths[index] for index in indices]
        labels = self.labels[np.asarray(indices)]
        return FolderDataset(paths, labels, self.classes, self.name, self.bad_images)


def load_folder(path: Path, split: str, bad_images: str = "refuse") -> FolderDataset:
    """The images below `path`/train/<class>/ for "train"; for "test" those below `path`/val/, or else `path`/test/.

    Classes are the sorted names of the folders in train/; the other split may lack some but not add any. Sub-folders
    of a class belong to it; names that begin with a dot are ignored. Only names are read here: images when fetched.
    Raises DataError for a missing or empty folder, a class without images, and a class that train/ does not have.
    """
    if not path.is_dir():
        raise DataError(f"{path}: there is no such folder")
    classes = _class_folders(path / "train")
    folder = path / "train" if split == "train" else _test_folder(path)
    paths: list[str] = []
    labels: list[int] = []
    for name in _class_folders(folder):
        if name not in classes:
            raise DataError(f"{folder / name}: this class is not in {path / 'train'}; rename or remove it")
        files = _image_files(folder / name)
        paths += files
        labels += [classes.index(name)] * len(files)
    return FolderDataset(paths, np.array(labels, np.int64), classes, f"folder:{path}", bad_images)


def load_labelled(
    path: Path, split: str, numbers: Mapping[str, int], classes: Sequence[str], bad_images: str = "refuse"
) -> FolderDataset:
    """The images of one split for a model that knows its classes already.

    The split's folder, or `path` itself if it has none of train/, val/ and test/, holds class folders whose labels are
    looked up in `numbers`; there need not be one for every class. Raises DataError for a name that is not there.
    """
    if not path.is_dir():
        raise DataError(f"{path}: there is no such folder")
    bare = not any((path / name).is_dir() for name in ("train", "val", "test"))
    folder = path if bare else path / "train" if split == "train" else _test_folder(path)
    paths: list[str] = []
    labels: list[int] = []
    for name in _class_folders(folder):
        if name not in numbers:
            some = ", ".join(list(numbers)[:3])
            found = "several classes" if name in classes else "no class"
            raise DataError(f"{folder / name}: the model has {found} of this name; it has {some}, ...")
        files = _image_files(folder / name)
        paths += files
        labels += [numbers[name]] * len(files)
    return FolderDataset(paths, np.array(labels, np.int64), classes, f"folder:{path}", bad_images)


def _test_folder(path: Path) -> Path:
    for folder in (path / "val", path / "test"):
        if folder.is_dir():
            return folder
    raise DataError(f"{path}: there is no val/ or test/ in it; put the test images' class folders there")


def _class_folders(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise DataError(f"{folder.parent}: there is no {folder.name}/ in it; put the class folders there")
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise DataError(f"{folder}: there are no class folders in it; put the images of each class into one")
    return names


def _image_files(folder: Path) -> list[str]:
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            os.path.join(parent, name) for name in files if name.lower().endswith(SUFFIXES) and not name.startswith(".")
        ]
    if not found:
        raise DataError(f"{folder}: there are no .jpg, .jpeg or .png images in it; add some or remove it")
    return sorted(found)
