"""Kinds of data whose name has a path, such as "folder:PATH". One table says what each kind can do.

`KINDS` is the only list of them: `load`, run folders and commands ask it. A new kind is one entry.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from minivit.data.asked import Asked
from minivit.data.dataset import Dataset
from minivit.data.folder import is_divided as folder_is_divided
from minivit.data.folder import load_folder, load_labelled
from minivit.data.imagenet_files import is_divided as imagenet_is_divided
from minivit.data.imagenet_files import load_imagenet, load_known
from minivit.data.parquet import load_parquet
from minivit.data.parquet_files import is_divided as parquet_is_divided
from minivit.data.shard_files import is_divided as shards_are_divided
from minivit.data.shards import load_shards


class Kind(NamedTuple):
    """One kind of data.

    load: opens the data at a path. Raises DataError.   is_divided: whether the data at a path has its own test images.
    content: a few words for the list of data sets.   chooses: whether `load` itself leaves out unwanted classes.
    load_known: opens the data with given labels, by the name of a class, and names of the labels, even if only the
    split that is asked for exists; None: `load` does that.
    """

    load: Callable[[Path, Asked], Dataset]
    is_divided: Callable[[Path], bool]
    content: str
    chooses: bool = False
    load_known: Callable[[Path, Asked, Mapping[str, int], Sequence[str]], Dataset] | None = None


def _folder(path: Path, asked: Asked) -> Dataset:
    keeping = asked.cache, asked.progress
    return load_folder(path, asked.split, asked.bad_images, asked.val_share, asked.seed, keeping)


def _known_folder(path: Path, asked: Asked, numbers: Mapping[str, int], classes: Sequence[str]) -> Dataset:
    return load_labelled(path, asked.split, numbers, classes, asked.bad_images, (asked.cache, asked.progress))


KINDS = {
    "folder": Kind(
        _folder,
        folder_is_divided,
        "images of your own, PATH/CLASS/*.jpg with --val-share 0.2",
        load_known=_known_folder,
    ),
    "imagenet": Kind(
        load_imagenet,
        imagenet_is_divided,
        "ImageNet or a part of it, such as Imagenette, as it was downloaded or in folders",
        chooses=True,
        load_known=load_known,
    ),
    "parquet": Kind(
        load_parquet, parquet_is_divided, "Parquet files with columns image and label, as Hugging Face stores them"
    ),
    "shards": Kind(load_shards, shards_are_divided, "WebDataset shards, such as PATH/train-{000..127}.tar"),
}


def parted(data: str) -> tuple[str, str]:
    """The kind and the path in the name of a data set: "folder:here" gives ("folder", "here"); "digits" gives
    ("digits", "")."""
    kind, _, path = data.partition(":")
    return (kind, path) if kind in KINDS else (data, "")


def is_divided(data: str) -> bool:
    """Whether the data set called `data`, with its full path, has its own test images."""
    kind, path = parted(data)
    return not path or KINDS[kind].is_divided(Path(path))


def folder_of(path: Path) -> Path:
    """The path up to its first part with a pattern, such as "{000..127}" or "*", unless there is something of this
    very name: the folder in which all its files are."""
    if path.exists():
        return path
    for part in reversed((path, *path.parents)):
        if any(sign in part.name for sign in "{*?["):
            return part.parent
    return path


def one_of(names: Sequence[str]) -> str:
    """ "a, b or c"."""
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))
