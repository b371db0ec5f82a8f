"""Reads the images of Parquet files by row group, when they are needed.

A row group is a run of rows whose columns are compressed together, often 100 or 1,000 images; it can only be read
whole.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np

from minivit.data.parquet_parts import Part, opened
from minivit.errors import DataError

MEMORY = 2**29  # bytes of row groups that are kept
FEWEST = 3  # pieces that are kept, however large: one ends, the next begins, and a thread may be further ahead
PIECES = 64  # that fit into memory, if row groups are divided
MOST_PIECES = 8  # of a row group


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
