"""Reads Parquet files of images: labels at once, images by row group, when they are needed.

A row group is a run of rows whose columns are compressed together, often 100 or 1,000 images; it can only be read
whole. pyarrow reads it, imported on first use.
"""

import contextlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minivit.data.dataset import whole_numbers
from minivit.data.parquet_columns import Columns, columns_of
from minivit.errors import DataError

MEMORY = 2**29  # bytes of row groups that are kept
FEWEST = 3  # pieces that are kept, however large: one ends, the next begins, and a thread may be further ahead
PIECES = 64  # that fit into memory, if row groups are divided
MOST_PIECES = 8  # of a row group


class DamagedFileError(DataError):
    """A file cannot be read; the others may be used."""


class Part(NamedTuple):
    """What is known of one file before any image is read.

    labels: (n,) integers or texts of its rows, -1 or "" where there is none.   rows, sizes: number of rows and of bytes
    of each row group.   columns: what its columns mean.
    """

    path: str
    labels: np.ndarray
    rows: list[int]
    sizes: list[int]
    columns: Columns


def arrow() -> Any:
    """The module pyarrow with pyarrow.parquet. Raises DataError without it."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(f'parquet:PATH needs pyarrow ({error}): pip install "minivit[parquet]"') from None
    return pyarrow


def read_part(path: Path) -> Part:
    """The labels and row groups of a file. Raises DataError, which names the file, for other columns, and its subclass
    for a damaged file."""
    with opened(str(path)) as file:
        columns = columns_of(file.schema_arrow, str(path))
        meta = file.metadata
        groups = [meta.row_group(k) for k in range(meta.num_row_groups)]
        leaf = next(k for k in range(meta.num_columns) if meta.schema.column(k).path == columns.image)
        _check_embedded(path, columns, [group.column(leaf) for group in groups])
        sizes = [group.column(leaf).total_uncompressed_size for group in groups]
        labels = file.read(columns=[columns.label], use_threads=False).column(0)
    return Part(str(path), _numbers_or_texts(labels, str(path)), [group.num_rows for group in groups], sizes, columns)


def _check_embedded(path: Path, columns: Columns, chunks: Sequence[Any]) -> None:
    """Raise DataError if statistics say that no row has an image."""
    stated = [chunk.statistics for chunk in chunks]
    if columns.path and stated and all(s and s.has_null_count and not s.num_values and s.null_count for s in stated):
        raise DataError(
            f"{path}: it holds only the paths of images, not the images: use the image files with folder:PATH, or save "
            "the data set with its images inside"
        )


def _numbers_or_texts(labels: Any, place: str) -> np.ndarray:
    """(n,) int64 with -1 for null, or texts with "" for null. Raises DataError for numbers that are not whole."""
    if "string" in str(labels.type):
        return np.array([text or "" for text in labels.to_pylist()], object)
    if "int" in str(labels.type) or str(labels.type) == "bool":
        return labels.cast("int64", safe=False).fill_null(-1).to_numpy()
    found = np.nan_to_num(labels.fill_null(-1).to_numpy(), nan=-1)
    return whole_numbers(found, f"{place}: labels")


@contextlib.contextmanager
def opened(path: str) -> Iterator[Any]:
    """A pyarrow.parquet.ParquetFile. A failure to read it becomes a DamagedFileError."""
    pyarrow = arrow()
    try:
        with pyarrow.parquet.ParquetFile(path, memory_map=True) as file:
            yield file
    except MemoryError:
        raise
    except (OSError, UnicodeDecodeError, pyarrow.ArrowException) as error:
        raise DamagedFileError(f"{path}: {_reason(path, error)}") from error


def _reason(path: str, error: Exception) -> str:
    """Why a file cannot be read, in a few words."""
    try:
        with open(path, "rb") as file:
            begin = file.read(40)
    except OSError as failure:
        return f"cannot be read ({failure.strerror or failure})"
    if begin.startswith(b"version https://git-lfs"):
        return "this is only a pointer of Git LFS; fetch the file itself: git lfs pull"
    if not begin:
        return "the file is empty; download it again"
    if not begin.startswith(b"PAR1"):
        return "this is not a Parquet file"
    said = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    return f"the file is damaged or cut off; download it again ({said})"


class RowGroups:
    """The row groups of all files, read on demand. Several threads may ask at once.

    At most `memory` bytes of images are kept, or `FEWEST` pieces if these are larger. A piece is a row group. If the
    images are sorted by class, it is a part of a large row group, an eighth or more: so images of more row groups fit
    into memory, but each is read several times.
    parts: at least one.   sorted_by_class: whether to divide large row groups.
    """

    def __init__(self, parts: Sequence[Part], sorted_by_class: bool = False, memory: int | None = None) -> None:
        self.memory = memory = MEMORY if memory is None else memory
        self.sorted_by_class = sorted_by_class
        self.parts = [part._replace(labels=np.empty(0), columns=part.columns._replace(names=None)) for part in parts]
        self.file = np.repeat(np.arange(len(parts)), [len(part.rows) for part in parts])
        self.number = np.concatenate([np.arange(len(part.rows)) for part in parts])
        self.first = np.cumsum([0, *(count for part in parts for count in part.rows)])  # rows before each group
        self.first_of_file = np.cumsum([0, *(sum(part.rows) for part in parts)])
        sizes = np.array([size for part in parts for size in part.sizes], np.int64)
        large = sorted_by_class and sizes.sum() > memory // 2
        self.pieces = np.clip(-(-sizes * PIECES // memory), 1, MOST_PIECES if large else 1)  # of each group
        self.first_piece = np.cumsum([0, *self.pieces])
        self.size = np.repeat(sizes // self.pieces, self.pieces)  # of each piece
        self.reads = 0  # row groups read so far
        self._kept: OrderedDict[int, Future[Any]] = OrderedDict()  # piece -> its images, or why it cannot be read
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return RowGroups, (self.parts, self.sorted_by_class, self.memory)  # another process reads for itself

    def of(self, rows: np.ndarray) -> np.ndarray:
        """The piece of each row."""
        groups = self._group_of(rows)
        counts = self.first[groups + 1] - self.first[groups]
        return self.first_piece[groups] + (rows - self.first[groups]) * self.pieces[groups] // counts

    def _group_of(self, rows: np.ndarray) -> np.ndarray:
        return np.searchsorted(self.first, rows, "right") - 1

    def place(self, row: int) -> str:
        """The file and the row in it, counted from 0."""
        file = int(np.searchsorted(self.first_of_file, row, "right")) - 1
        return f"{self.parts[file].path} row {row - self.first_of_file[file]}"

    def short_places(self, rows: np.ndarray) -> list[str]:
        """The name of the file, without folders, and the row in it, for each of many rows."""
        files = np.searchsorted(self.first_of_file, rows, "right") - 1
        names = [os.path.basename(part.path) for part in self.parts]
        inside = (rows - self.first_of_file[files]).tolist()
        return [f"{names[file]} row {row}" for file, row in zip(files.tolist(), inside, strict=True)]

    def contents(self, rows: np.ndarray) -> dict[int, bytes | str]:
        """Row -> the image in it, encoded, or why there is none. A piece is read once for all its rows."""
        found: dict[int, bytes | str] = {}
        pieces = self.of(rows)
        for piece in np.unique(pieces).tolist():
            images, first = self._images(piece), self._rows(piece).start
            for row in rows[pieces == piece].tolist():
                if isinstance(images, str):
                    found[row] = images
                else:
                    found[row] = images[row - first].as_py() or "there is no image in this row"
        return found

    def _rows(self, piece: int) -> range:
        """The numbers of the rows of a piece."""
        group = int(np.searchsorted(self.first_piece, piece, "right")) - 1
        first, number, pieces = int(self.first[group]), piece - int(self.first_piece[group]), int(self.pieces[group])
        count = int(self.first[group + 1]) - first
        return range(first - (-number * count // pieces), first - (-(number + 1) * count // pieces))

    def names(self) -> list[str]:
        """The stored file names of all rows, "" where there is none. Raises DataError."""
        found: list[str] = []
        for part in self.parts:
            if part.columns.path is None:
                found += [""] * sum(part.rows)
                continue
            with opened(part.path) as file:
                (column,) = file.read(columns=[part.columns.path]).column(0).flatten()
                found += [os.path.basename(name or "") for name in column.to_pylist()]
        return found

    def _images(self, piece: int) -> Any:
        """The images of a piece as an array of pyarrow, or why they cannot be read."""
        with self._lock:
            waiting = self._kept.get(piece)
            if waiting is not None:
                self._kept.move_to_end(piece)
            else:
                mine = self._kept[piece] = Future()
                self.reads += 1
                while len(self._kept) > FEWEST and sum(int(self.size[k]) for k in self._kept) > self.memory:
                    self._kept.popitem(last=False)
        if waiting is not None:
            return waiting.result()
        try:
            mine.set_result(self._read(piece))
        except BaseException as error:  # such as too little memory: other threads wait for this
            mine.set_exception(error)
            with self._lock:
                self._kept.pop(piece, None)
        return mine.result()

    def _read(self, piece: int) -> Any:
        rows = self._rows(piece)
        group = int(self._group_of(np.array(rows.start)))
        part, first = self.parts[self.file[group]], int(self.first[group])
        try:
            with opened(part.path) as file:
                column = file.read_row_group(int(self.number[group]), columns=[part.columns.image]).column(0)
                images = column.flatten()[0] if column.type.num_fields else column
                if len(rows) == len(images):
                    return images
                return images.take(
                    np.arange(rows.start - first, rows.stop - first)
                )  # a copy, so that the rest is freed
        except DataError as error:
            return str(error).removeprefix(f"{part.path}: ")
