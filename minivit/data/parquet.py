"""Data sets of images in Parquet files, as Hugging Face stores them."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minivit.data.ahead import ahead
from minivit.data.asked import Asked
from minivit.data.dataset import Indices, as_indices, check_labels
from minivit.data.download import Progress
from minivit.data.encoded import LEAVE_OUT, EncodedDataset
from minivit.data.held_out import check_share, held_out
from minivit.data.imagenet import imagenet_ids
from minivit.data.parquet_files import Files, files_of, is_divided
from minivit.data.parquet_groups import RowGroups
from minivit.data.parquet_parts import DamagedFileError, Part, arrow, part_of
from minivit.errors import DataError, shown

THREADS = 8  # that read labels: on a network drive each file means waiting
MANY = 16  # files, of more there is an index, and the progress is shown
MOST_CLASSES = 100_000


class ParquetDataset(EncodedDataset):
    """Images in rows of Parquet files.   groups: the row groups of all files.   rows: (N,) numbers of the rows, counted
    through all files.   damaged: file -> reason, files left out.   The rest is as of `EncodedDataset`."""

    def __init__(
        self,
        groups: RowGroups,
        rows: np.ndarray,
        labels: np.ndarray,
        classes: Sequence[str],
        name: str,
        bad_images: str = "refuse",
        left_out: dict[str, int] | None = None,
        split: str | None = None,
    ) -> None:
        super().__init__(labels, classes, name, bad_images, left_out, split)
        self.groups, self.rows = groups, rows
        self._fetching = threading.local()
        self._names: list[str] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_fetching"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _fetching=threading.local())

    def place(self, index: int) -> str:
        return self.groups.place(int(self.rows[index]))

    def file_name(self, index: int) -> str:
        if self._names is None:
            self._names = self.groups.names()
        return self._names[self.rows[index]]

    def source(self, index: int) -> bytes:
        row = int(self.rows[index])
        contents = getattr(self._fetching, "contents", None) or self.groups.contents(self.rows[[index]])
        found = contents[row]
        if isinstance(found, str):
            raise DataError(f"{self.place(index)}: {found}")
        return found

    def read_each(self, indices: Indices, read: Callable[[int, Any, str], np.ndarray]) -> tuple[list, np.ndarray]:
        indices = as_indices(indices, self.name)
        self._fetching.contents = self.groups.contents(self.rows[indices])  # each row group once, in whatever order
        try:
            return super().read_each(indices, read)
        finally:
            self._fetching.contents = None

    def order(self, rng: np.random.Generator) -> np.ndarray:
        """The order of an epoch: a permutation (N,) of 0..N-1 that reads each piece about once.

        A piece is a row group or a part of one, see `RowGroups`. If all images fit into half of the memory for pieces,
        every permutation is equally likely. Otherwise the pieces are put in random order, and then images are shuffled
        within a window that slides over them: an image moves back by up to as many places as there are images in that
        half of the memory, or in a piece. So a batch mixes images of only the pieces in a window.
        """
        pieces, where, counts = np.unique(self.groups.of(self.rows), return_inverse=True, return_counts=True)
        size = self.groups.size[pieces].sum()
        if size <= self.groups.memory // 2:
            return rng.permutation(len(self))
        turn = rng.permutation(len(pieces))
        order = np.argsort(turn[where], kind="stable")
        window = max(len(self) * (self.groups.memory // 2) / size, counts.mean())
        moved = np.arange(len(self)) + rng.uniform(0, window, len(self))
        return order[np.argsort(moved, kind="stable")]

    def subset(self, indices: Indices) -> "ParquetDataset":
        indices = as_indices(indices, self.name)
        rest = self.classes, self.name, self.bad_images, self.left_out, self.split
        return ParquetDataset(self.groups, self.rows[indices], self.labels[indices], *rest)


def load_parquet(path: Path, asked: Asked) -> ParquetDataset:
    """The images of the "train" or "test" split at `path`: a folder with Parquet files, one file, or a pattern.

    Names of files and folders tell the splits apart (see `files_of`), `columns_of` finds the columns. Only labels are
    read now. Classes have the names in the files, or else the ids of ImageNet if there are 1,000, or else numbers;
    labels that are texts are sorted. Rows without a label are counted in `left_out`.
    asked: with a val_share, for data without test files, this share of each class's images, at least one, forms the
    other split; the choice depends only on the seed, the names of the files and the numbers of the rows. bad_images
    "skip" also leaves out damaged and missing files. progress is called with the numbers of files read and of all.
    Raises DataError, in one line, if files are missing, damaged, or of another layout.
    """
    name, path = f"parquet:{path}", path.absolute()
    arrow()
    if asked.val_share is not None:
        check_share(asked.val_share)
        if is_divided(path):
            raise DataError(f"{path} has test files already, so nothing is held out: leave out val_share")
    files = files_of(path, asked.split, asked.val_share is not None)
    if files.missing and asked.bad_images == "refuse":
        count = len(files.missing)
        raise DataError(
            f"{files.paths[0].parent}: {count} of {count + len(files.paths)} files are missing, such as "
            f"{files.missing[0]}; download them, or go on without: --bad-images skip"
        )
    parts, damaged = _parts(files.paths, asked.bad_images, asked.cache, asked.progress)
    labels, classes = _labels(parts, _training_parts(path, files, parts, asked))
    left_out = Counter({"missing files": len(files.missing), "other Parquet files": files.others, **damaged})
    keep = labels >= 0
    left_out["rows without a label"] = int((~keep).sum())
    if not keep.any():
        raise DataError(f"{parts[0].path}: no row has a label; labels of test images may be secret: use other images")
    rows, side = np.flatnonzero(keep), files.split
    groups = RowGroups(parts, asked.split == "train" and _sorted_by_class(labels[rows]))
    if asked.val_share is not None:
        names = groups.short_places(rows)
        test = held_out(labels[rows], names, asked.val_share, asked.seed, names.__getitem__)
        rows, side = rows[test == (asked.split == "test")], "train" if asked.split == "train" else "val"
    return ParquetDataset(groups, rows, labels[rows], classes, name, asked.bad_images, +left_out, side)


def _sorted_by_class(labels: np.ndarray) -> bool:
    """Whether neighbours are far more often of one class than they would be by chance."""
    chance = ((np.bincount(labels) / max(len(labels), 1)) ** 2).sum()
    return len(labels) > 1 and bool(np.mean(labels[1:] == labels[:-1]) > (1 + chance) / 2)


def _parts(
    paths: Sequence[Path], bad_images: str, cache: Path | None, progress: Progress | None
) -> tuple[list[Part], dict[str, int]]:
    """What is known of each file, and "damaged NAME" -> 1 for the files that cannot be read. Raises DataError if they
    are refused or none is left."""
    parts: list[Part] = []
    damaged: dict[str, int] = {}
    last = None

    def attempt(path: Path) -> Part | DataError:
        try:
            return part_of(path, cache if len(paths) > MANY else None)
        except DataError as error:
            return error

    for number, found in enumerate(ahead(attempt, paths, min(THREADS, len(paths)), 4 * THREADS)):
        if isinstance(found, Part):
            parts.append(_alike(found, parts))
        elif not isinstance(found, DamagedFileError):
            raise found
        elif bad_images == "refuse":
            raise DataError(f"{found} {LEAVE_OUT}") from found
        else:
            damaged[f"damaged {paths[number].name}"] = 1
            last = found
        if progress and len(paths) > MANY:
            progress(number + 1, len(paths))
    if not parts:
        raise DataError(f"{last}; no file can be read")
    return parts, damaged


def _alike(part: Part, others: Sequence[Part]) -> Part:
    """The part, with the very names of the first one. Raises DataError if its columns mean something else."""
    if not others:
        return part
    first = others[0]
    if part.columns._replace(path=None) != first.columns._replace(path=None) or part.labels.dtype != first.labels.dtype:
        raise DataError(f"{part.path}: its columns or the names of its classes differ from those of {first.path}")
    return part._replace(columns=part.columns._replace(names=first.columns.names))


def _training_parts(path: Path, files: Files, parts: list[Part], asked: Asked) -> list[Part]:
    """The files that decide on the classes: those for training, if there are any, all of them or one with the names.

    Raises DataError if the files of the other split have other classes.
    """
    if files.split == "train":
        return parts
    try:
        paths = files_of(path, "train").paths
    except DataError:
        return parts
    training = _parts(paths[:1] if parts[0].columns.names else paths, asked.bad_images, asked.cache, None)[0]
    stated, own = training[0].columns.names, parts[0].columns.names
    if (own and stated and own != stated) or training[0].labels.dtype != parts[0].labels.dtype:
        raise DataError(f"{parts[0].path}: its classes differ from those of {training[0].path}")
    return training


def _labels(parts: list[Part], training: list[Part]) -> tuple[np.ndarray, list[str]]:
    """The labels of all rows, (n,) int64 with -1 where there is none, and the names of the classes."""
    names = parts[0].columns.names or training[0].columns.names
    texts = parts[0].labels.dtype == object
    if texts and names is None:
        names = sorted({label for part in training for label in part.labels.tolist()} - {""})
    if texts:
        numbers = {"": -1} | {label: number for number, label in enumerate(names or [])}
        for part in parts:
            if strange := next((label for label in part.labels.tolist() if label not in numbers), None):
                raise DataError(
                    f'{part.path}: it has the class "{shown(strange)}", which is not among the training images'
                )
        parts = [part._replace(labels=np.array([numbers[label] for label in part.labels], np.int64)) for part in parts]
    if names is None:
        count = 1 + max(int(part.labels.max(initial=-1)) for part in training)
        if count > MOST_CLASSES:
            raise DataError(
                f"{parts[0].path}: its labels are as large as {count - 1}; expected numbers of classes, from 0"
            )
        names = imagenet_ids() if count == 1000 else [str(number) for number in range(count)]
    for part in parts:
        check_labels(np.where(part.labels == -1, 0, part.labels), max(len(names), 1), part.path)
    return np.concatenate([part.labels for part in parts]), names
