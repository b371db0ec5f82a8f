"""A folder of image files, one sub-folder per class: the layout of ImageNet and of many private collections.

`trees` finds the images and says what counts as one. The content of a file decides how it is read. Files that are left
out are counted.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minivit.data.dataset import Indices, as_indices
from minivit.data.download import Progress
from minivit.data.encoded import EncodedDataset
from minivit.data.held_out import check_share, held_out
from minivit.data.imagenet import some
from minivit.data.instead import instead
from minivit.data.paths import Paths
from minivit.data.trees import class_folders, composed, read_classes
from minivit.errors import DataError

TEST_FOLDERS = ("val", "test")  # the first that there is

Keeping = tuple[Path | None, Progress | None]  # how a large tree is remembered, as of `read_classes`


class Files(NamedTuple):
    """Image files and their labels (N,); see `Dataset` for `left_out`."""

    paths: Paths
    labels: np.ndarray
    left_out: Counter[str]


class FolderDataset(EncodedDataset):
    """Image files.   paths: N files.   The rest is as of `EncodedDataset`."""

    def __init__(
        self,
        paths: Iterable[str | os.PathLike[str]],
        labels: Iterable[int],
        classes: Iterable[str],
        name: str,
        bad_images: str = "refuse",
        left_out: Mapping[str, int] | None = None,
        split: str | None = None,
    ) -> None:
        super().__init__(labels, classes, name, bad_images, left_out, split)
        self.paths = paths if isinstance(paths, Paths) else Paths.of(os.fspath(path) for path in paths)
        if len(self.paths) != len(self.labels):
            raise DataError(f"{name}: {len(self.paths)} paths with {len(self.labels)} labels; each needs one")

    def place(self, index: int) -> str:
        return self.paths[index]

    def subset(self, indices: Indices) -> "FolderDataset":
        indices = as_indices(indices, self.name)
        rest = self.bad_images, self.left_out, self.split
        return FolderDataset(self.paths.take(indices), self.labels[indices], self.classes, self.name, *rest)


def load_folder(
    path: Path,
    split: str,
    bad_images: str = "refuse",
    val_share: float | None = None,
    seed: int = 0,
    keeping: Keeping = (None, None),
) -> FolderDataset:
    """The images below `path`/train/<class>/ for "train", or below `path`/val/, else `path`/test/, for "test".

    Classes are the sorted names of the folders in train/; the other split may lack some but not add any. Sub-folders of
    a class belong to it, each counted once even if several links lead there. Hidden files, files without an image
    suffix and files beside the class folders are counted in `left_out`. This reads names only; images are read when
    fetched. Raises DataError for a missing or empty folder, a class without images, a class missing from train/, two
    classes whose names differ only in their encoding, and a folder that may not be read.
    val_share: for a folder without val/ and test/, with class folders in train/ or in `path`: this share of each
    class's images, at least one, forms the other split. The choice depends only on `seed` and the names below `path`.
    Raises DataError also for a class with a single image.
    keeping: the folder of index files, and what is called while a large folder is listed (see `read_classes`).
    """
    name, path = f"folder:{path}", _whole(path)
    if val_share is None:
        train = path / "train"
        _check_layout(path, split)
    else:
        _check_share(path, val_share)
        train = path / "train" if (path / "train").is_dir() else path
    classes = list(class_folders(train, Counter()))
    numbers = {name: number for number, name in enumerate(classes)}
    folder = train if split == "train" or val_share is not None else _test_folder(path)
    files = _labelled_files(folder, numbers, lambda _: f"this class is not in {train}; rename or remove it", keeping)
    if val_share is not None:
        files = side_of(files, split, val_share, seed)
    side = split if split == "train" else "val" if val_share is not None else folder.name
    return FolderDataset(files.paths, files.labels, classes, name, bad_images, files.left_out, side)


def is_divided(path: Path) -> bool:
    """Whether a folder has its own test split."""
    return any((path / name).is_dir() for name in TEST_FOLDERS)


def _check_share(path: Path, val_share: float) -> None:
    check_share(val_share)
    if is_divided(path):
        raise DataError(f"{path} has {_test_folder(path).name}/ already, so nothing is held out: leave out val_share")


def _check_layout(path: Path, split: str) -> None:
    """Raise a DataError that lists everything missing from a folder of training and test images."""
    trained = (path / "train").is_dir()
    if trained and (split == "train" or is_divided(path)):
        return
    if is_divided(path):
        raise DataError(f"{path}: there is no train/ in it; put the training images' class folders there")
    other = next((name for name in ("valid", "validation", "dev") if (path / name).is_dir()), None)
    missing = "no val/ or test/" if trained else "no train/ and no val/ or test/"
    rename = f"; rename {other}/ to val/" if other else ""
    place = "there" if trained else "into both"
    raise DataError(
        f"{path}: there is {missing} in it{rename}; put class folders {place}, or have a share of each class held "
        f"out: --val-share 0.2, or val_share=0.2 in Python{instead(path, 'folder')}"
    )


def side_of(files: Files, split: str, share: float, seed: int) -> Files:
    """The training or the test images, where a share of each class is held out by seed and names."""
    test = held_out(files.labels, _names(files.paths), share, seed, files.paths.__getitem__)
    chosen = np.flatnonzero(test == (split != "train"))
    return files._replace(paths=files.paths.take(chosen), labels=files.labels[chosen])


def _names(paths: Paths) -> Iterator[str]:
    """The names of images, "cat/deeper/1.jpg", which are the same on every system.   paths: of class folders."""
    folders = [os.path.basename(os.path.dirname(folder)) for folder in paths.folders]
    for folder, name in paths.pairs():
        yield composed(f"{folders[folder]}/{name}".replace(os.sep, "/"))


def load_labelled(
    path: Path,
    split: str,
    numbers: Mapping[str, int],
    classes: Iterable[str],
    bad_images: str = "refuse",
    keeping: Keeping = (None, None),
) -> FolderDataset:
    """The images of one split for a model whose classes are known.

    The split's folder, or `path` itself if it has none of train/, val/ and test/, holds class folders. Their labels are
    looked up in `numbers`; classes may be missing. Raises DataError for an unknown name.
    """
    name, path = f"folder:{path}", _whole(path)
    classes = list(classes)
    times = Counter(map(composed, numbers))
    known = {composed(name): number for name, number in numbers.items() if times[composed(name)] == 1}

    def refusal(label: str) -> str:
        found = "several classes" if label in map(composed, classes) else "no class"
        return f"the model has {found} of this name; it has {some(numbers)}"

    bare = not any((path / name).is_dir() for name in ("train", *TEST_FOLDERS))
    folder = path if bare else path / "train" if split == "train" else _test_folder(path)
    files = _labelled_files(folder, known, refusal, keeping)
    side = None if bare else folder.name
    return FolderDataset(files.paths, files.labels, classes, name, bad_images, files.left_out, side)


def _labelled_files(
    folder: Path, numbers: Mapping[str, int], refusal: Callable[[str], str], keeping: Keeping = (None, None)
) -> Files:
    """The images in the class folders of `folder`. refusal: the message for a class that is not in `numbers`."""
    left_out: Counter[str] = Counter()
    folders = class_folders(folder, left_out)
    for name, class_folder in folders.items():
        if name not in numbers:
            raise DataError(f"{class_folder}: {refusal(name)}")
    paths, counts = read_classes(folder, list(folders.values()), left_out, *keeping)
    return Files(paths, np.repeat([numbers[name] for name in folders], counts), left_out)


def _whole(path: Path) -> Path:
    """The absolute path, which stays valid when the program changes its working folder. Raises DataError if it is not a
    folder."""
    if not path.is_dir():
        if path.exists():
            raise DataError(f"{path}: this is a file, not a folder")
        raise DataError(f"{path}: there is no such folder{'' if path.is_absolute() else f' in {Path.cwd()}'}")
    return path.absolute()


def _test_folder(path: Path) -> Path:
    for folder in (path / name for name in TEST_FOLDERS):
        if folder.is_dir():
            return folder
    raise DataError(f"{path}: there is no val/ or test/ in it; put the test images' class folders there")
