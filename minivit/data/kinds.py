"""Kinds of data whose name has a path, such as "folder:PATH". One table says what each kind can do.

`KINDS` is the only list of them: `load`, run folders and commands ask it. A new kind is one entry.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from minivit.data.asked import Asked
from minivit.data.dataset import Dataset
from minivit.data.folder import is_divided as folder_is_divided
from minivit.data.folder import load_folder, load_labelled


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


def _of(module: str, name: str) -> Callable[..., Any]:
    """A function of a module of this package, which is imported once the function is called: each format has several
    modules."""

    def call(*arguments: Any) -> Any:
        return getattr(importlib.import_module(f"minivit.data.{module}"), name)(*arguments)

    return call


KINDS = {
    "folder": Kind(
        _folder,
        folder_is_divided,
        "images of your own, PATH/CLASS/*.jpg with --val-share 0.2",
        load_known=_known_folder,
    ),
    "imagenet": Kind(
        _of("imagenet_files", "load_imagenet"),
        _of("imagenet_files", "is_divided"),
        "ImageNet or a part of it, such as Imagenette, as it was downloaded or in folders",
        chooses=True,
        load_known=_of("imagenet_files", "load_known"),
    ),
    "parquet": Kind(
        _of("parquet", "load_parquet"),
        _of("parquet_files", "is_divided"),
        "Parquet files with columns image and label, as Hugging Face stores them",
    ),
    "shards": Kind(
        _of("shards", "load_shards"),
        _of("shard_files", "is_divided"),
        "WebDataset shards, such as PATH/train-{000..127}.tar",
    ),
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
