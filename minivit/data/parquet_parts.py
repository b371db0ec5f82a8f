"""What is known of a Parquet file of images before any image is read: its labels and its row groups.

pyarrow reads it, imported on first use.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minivit.data.dataset import whole_numbers
from minivit.data.index import Arrays, indexed, stamp_of
from minivit.data.parquet_columns import Columns, columns_of
from minivit.errors import DataError


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


def part_of(path: Path, cache: Path | None) -> Part:
    """What is known of a file, from its index file if there is one.   cache: as of `index.indexed`. Raises as
    `read_part`."""
    try:
        stamp = stamp_of(path)
    except OSError:  # that will be said when it is read
        return read_part(path)
    return _of_arrays(str(path), indexed(cache, f"parquet {path}", stamp, lambda: _arrays(read_part(path))))


def _arrays(part: Part) -> Arrays:
    labels = part.labels.astype(str) if part.labels.dtype == object else part.labels
    columns = np.frombuffer(json.dumps(part.columns).encode(), np.uint8)
    return {"labels": labels, "rows": np.array(part.rows), "sizes": np.array(part.sizes), "columns": columns}


def _of_arrays(path: str, arrays: Arrays) -> Part:
    labels, columns = arrays["labels"], json.loads(arrays["columns"].tobytes())
    labels = labels.astype(object) if labels.dtype.kind == "U" else labels
    return Part(path, labels, arrays["rows"].tolist(), arrays["sizes"].tolist(), Columns(*columns))


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
