"""`imagenet:PATH`: finds out how ImageNet, or a part of it, lies in a folder.

- train/ and val/ with a folder for each WordNet id, as most programs want it; so do Imagenette and Imagewoof.
- the tree of the Kaggle download, ILSVRC/Data/CLS-LOC/, whose val/ has no class folders, beside LOC_val_solution.csv.
- train/ with class folders, and a val/ without them whose labels are in the development kit of ILSVRC2012.
- train.X1/ ... train.X4/ and val.X/, as the Kaggle download of ImageNet-100.
- folders of WordNet ids alone: a share of them is held out.
- the archives of ILSVRC2012 as they were downloaded.

PATH may be the folder around it that came from unpacking. Classes are the sorted WordNet ids.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from minivit.data.choice import WNID
from minivit.data.imagenet_archives import VAL as VAL_ARCHIVE
from minivit.data.imagenet_archives import training_archives
from minivit.data.images import SUFFIXES
from minivit.data.instead import kind_at
from minivit.errors import DataError

PART = re.compile(r"train\.X\d*", re.IGNORECASE)  # several of them make up the training images
TRAIN = re.compile(rf"train|{PART.pattern}|ILSVRC2012_img_train", re.IGNORECASE)
# The first that there is. The test images of ImageNet have no public labels, so that "test" comes last.
VAL = [re.compile(name, re.IGNORECASE) for name in (r"val", r"validation|valid", r"val\.X|ILSVRC2012_img_val", r"test")]
INNER = (Path("ILSVRC/Data/CLS-LOC"), Path("Data/CLS-LOC"), Path("CLS-LOC"))
PACKED = (".tgz", ".tar.gz", ".zip", ".tar")
ODD = ("__MACOSX", "lost+found", "System Volume Information")  # folders that belong to no data set


class Layout(NamedTuple):
    """Where the images are.

    root: the folder of the data set.   train: folders of class folders, several if the classes are spread over them.
    val: a folder of class folders, or of images alone (`flat`).   packed_train, packed_val: whether there are archives
    in `root` in place of these.
    """

    root: Path
    train: list[Path]
    val: Path | None = None
    flat: bool = False
    packed_train: bool = False
    packed_val: bool = False

    @property
    def has_train(self) -> bool:
        """Whether there are training images."""
        return bool(self.train) or self.packed_train

    @property
    def has_val(self) -> bool:
        """Whether there are validation images."""
        return self.val is not None or self.packed_val

    @property
    def is_bare(self) -> bool:
        """Whether there are class folders alone, without train/ and val/."""
        return not self.has_val and self.train == [self.root]


def find_layout(path: Path) -> Layout:
    """The layout at a path. Raises DataError, which says what to do, if there is none."""
    if not path.is_dir():
        raise DataError(_no_folder(path))
    if found := layout_at(path):
        return found
    inner = [found for name in _folders(path) if (found := layout_at(path / name))]
    if len(inner) > 1:
        names = ", ".join(found.root.relative_to(path).as_posix() for found in inner[:3])
        raise DataError(f"{path} holds several data sets: {names}; give one of them, as imagenet:{inner[0].root}")
    if not inner:
        raise DataError(f"{path}: {_advice(path)}")
    return inner[0]


def layout_at(path: Path) -> Layout | None:
    """The layout whose root is `path`, or CLS-LOC/ below it."""
    for root in (path, *(path / inner for inner in INNER)):
        names = _folders(root)
        found = [name for name in names if TRAIN.fullmatch(name)]
        found = [name for name in found if PART.fullmatch(name)] or found[:1]
        packed_train, packed_val = bool(training_archives(root)), (root / VAL_ARCHIVE).is_file()
        train = [_descended(root / name, _ids) for name in found]
        if packed_train and not any(map(_ids, train)):
            train = []  # it holds archives, or nothing yet
        val = next((name for pattern in VAL for name in names if pattern.fullmatch(name)), None)
        place = _descended(root / val, lambda folder: _ids(folder) or _has_images(folder)) if val else None
        flat = place is not None and not _ids(place)
        if flat and val and VAL[-1].fullmatch(val):
            place = None
        if train or place or packed_train or packed_val:
            return Layout(root, train, place, flat, packed_train and not train, packed_val and place is None)
        if _ids(root):
            return Layout(root, [root])
    return None


def _descended(folder: Path, holds: Callable[[Path], object]) -> Path:
    """The folder, or one within it if there is nothing else and that one `holds` what it should: unpacking often makes
    train/train/."""
    here = folder
    while not holds(here):
        names = _folders(here)
        if len(names) != 1:
            return folder
        here /= names[0]
    return here


def _has_images(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith(".") for entry in entries)


def _ids(folder: Path) -> list[str]:
    """The class folders in a folder."""
    return [name for name in _folders(folder) if WNID.fullmatch(name)]


def _folders(path: Path) -> list[str]:
    """The names of the visible folders in a folder, sorted; none if there is no such folder."""
    try:
        with os.scandir(path) as entries:
            found = [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
    except OSError:
        return []
    return sorted(name for name in found if name not in ODD)


def _no_folder(path: Path) -> str:
    """What to say about a path that is no folder."""
    if path.exists():
        if path.name.endswith(".tar"):
            return f"{path} is a file: give the folder that holds the archives, imagenet:{path.parent}"
        how = (
            "unpack it, and give the folder that comes out of it"
            if path.name.lower().endswith(PACKED)
            else "give a folder"
        )
        return f"{path} is a file: {how}"
    packed = next((name for end in PACKED if (name := path.with_name(path.name + end)).is_file()), None)
    hint = f"; unpack {packed.name}" if packed else ""
    return f"{path}: there is no such folder{'' if path.is_absolute() else f' in {Path.cwd()}'}{hint}"


def _advice(path: Path) -> str:
    """What may be wrong with a folder in which nothing was found."""
    path = path.absolute()
    if WNID.fullmatch(path.name):
        whole = path.parent.parent if is_split(path.parent) else path.parent
        return f"this is the folder of one class; give the whole data set: imagenet:{whole}"
    if is_split(path) and layout_at(path.parent):
        return f"this is a part of a data set; give the whole: imagenet:{path.parent}"
    if (other := kind_at(path)) not in (None, "imagenet"):
        return f"it holds no layout of ImageNet; for what is there write {other}:{path}"
    names = sorted(entry.name for entry in path.iterdir())
    if packed := next((name for name in names if name.lower().endswith(PACKED)), None):
        return f"unpack {packed}, and give the folder that comes out of it"
    return (
        "there are neither train/ and val/ in it, nor folders with WordNet ids such as n01440764, nor the archives "
        "ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar; for other names of classes use folder:PATH"
    )


def is_split(path: Path) -> bool:
    """Whether a folder is called like a part of a data set: train, val, ..."""
    return any(pattern.fullmatch(path.name) for pattern in (TRAIN, *VAL))
