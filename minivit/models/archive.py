"""Named arrays in .npz and .safetensors files: written whole or not at all, read without ever unpickling.

A file may come from anyone, so the sizes, names and types in its headers are checked against the file before memory is
allocated. Every fault becomes a CheckpointError of one line.
"""

import contextlib
import importlib
import json
import math
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np

from minivit.errors import CheckpointError, shown
from minivit.files import locks, npz
from minivit.models.foreign import refuse_file, refuse_members

MAX_HEADER = 2**24  # bytes of a .safetensors header; that of the largest ViT has 60 kB
MAX_EXPANSION = 8  # compressed weights grow by a tenth; a zip bomb grows a thousandfold
MAX_NAME = 300  # characters
MAX_ARRAYS = 50_000  # a checkpoint of 1,000 blocks, with the optimiser's moments and averages, has as many
HARMLESS = 2**26  # bytes that any machine can spare, however much they were compressed
DAMAGED = (
    OSError,
    ValueError,
    TypeError,
    EOFError,
    KeyError,
    RuntimeError,
    SyntaxError,
    zipfile.BadZipFile,
    zlib.error,
)

_DTYPES = {"BOOL": "?", "F16": "<f2", "F32": "<f4", "F64": "<f8", "BF16": "<u2"}
_DTYPES |= {f"{kind}{8 * size}": f"<{kind.lower()}{size}" for kind in "IU" for size in (1, 2, 4, 8)}


def write_npz(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write `arrays` to `path`; the old file is replaced only when the new one is complete and on disk.

    Raises CheckpointError on failure (a full disk, a read-only folder); then an older file is intact. Raises TypeError
    for an array of Python objects, which would be pickled.
    """
    for name, array in arrays.items():
        if np.asarray(array).dtype.hasobject:
            raise TypeError(f"write_npz: {name} is an array of Python objects, which only pickle could store")
    with replacing(path) as partial:
        npz.fill(partial, arrays)


def write_safetensors(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write `arrays` to `path` as `write_npz` does, in the safetensors format, with `metadata` in its header."""
    rows_first = {name: np.asarray(array, order="C") for name, array in arrays.items()}  # strides are not looked at
    content = safetensors(path).numpy.save(rows_first, dict(metadata))
    with replacing(path) as partial:
        partial.write_bytes(content)


@contextlib.contextmanager
def replacing(path: Path, folder: bool = False) -> Iterator[Path]:
    """`locks.replacing` with CheckpointError instead of OSError."""
    try:
        with locks.replacing(path, folder) as partial:
            yield partial
    except OSError as error:
        kept = "; the file that was there before is unharmed" if path.exists() and not folder else ""
        raise CheckpointError(f"cannot write {path}: {error.strerror or error}{kept}") from error


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Every array of a .npz or .safetensors file by name, and the metadata of the latter.

    The content decides between the two formats, not the name. bfloat16 becomes float32; other dtypes stay. Raises
    CheckpointError for a file that is missing, damaged, hostile, a pickle or of another kind.
    """
    with _opened(path) as file:
        start = file.read(9)
    if start[8:] == b"{" and not 9 <= start[7] <= 126:  # before it a number of 8 bytes, and no text
        return read_safetensors(path)
    arrays = read_npz(path)
    # numpy.savez knows no bfloat16: two bytes without a type
    return {name: from_bfloat16(a.view("<u2")) if a.dtype == "V2" else a for name, a in arrays.items()}, {}


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Every array of the file by name. Raises CheckpointError for a missing, damaged, hostile or foreign file."""
    with _opened(path) as file:
        refuse_file(path)
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            refuse_members(path, [info.filename for info in members if not info.filename.endswith(".npy")])
            names = [info.filename.removesuffix(".npy") for info in members]
            _check_names(names)
            if {info.compress_type for info in members} - {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
                raise ValueError("its compression is not one that NumPy writes")
            _check_sizes(members, os.fstat(file.fileno()).st_size)
            return {name: _read_member(archive, info) for name, info in zip(names, members, strict=True)}


def _check_sizes(members: list[zipfile.ZipInfo], file_size: int) -> None:
    """Raise ValueError for a zip file that would expand excessively or whose members share bytes."""
    if sum(info.compress_size for info in members) > file_size:
        raise ValueError("its arrays overlap")
    if sum(info.file_size for info in members) > max(HARMLESS, MAX_EXPANSION * file_size):
        raise ValueError(f"its arrays would be more than {MAX_EXPANSION} times as large as the file")


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """One array, whose header must promise exactly the bytes that follow it."""
    name = shown(info.filename.removesuffix(".npy"))
    with archive.open(info) as stream:
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{name} is written in version {version} of the .npy format")
        read_header = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
        try:
            shape, fortran, dtype = read_header(stream)
        except Exception as error:  # NumPy lets Python's own parser read it, which raises many things
            raise ValueError(f"{name} has an invalid header") from error
        if dtype.hasobject:
            raise ValueError(f"{name} holds Python objects, which cannot be loaded when allow_pickle=False")
        if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != info.file_size - stream.tell():
            raise ValueError(f"{name} does not have the size in its header")
        array = np.empty(math.prod(shape), dtype)
        # a member may end before the size that the directory of the zip promises
        if array.nbytes and stream.readinto(array.view(np.uint8).data) != array.nbytes:  # type: ignore[attr-defined]
            raise ValueError(f"{name} is shorter than its header says")
        stream.read(1)  # nothing, but the end is where the checksum is compared
    return array.reshape(shape, order="F" if fortran else "C")


def read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Every array of the file by name, and its metadata. Raises CheckpointError as `read_arrays`."""
    with one_line(path), open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(MAX_HEADER, os.fstat(file.fileno()).st_size - 8):
            raise ValueError(f"its header claims {length} bytes")
        header = json.loads(file.read(length), object_pairs_hook=_without_duplicates)
        package = safetensors(path)
        try:
            with package.safe_open(path, "numpy"):  # refuses offsets that overlap, leave holes or do not fit the shapes
                pass
        except package.SafetensorError as error:
            raise ValueError(str(error)) from error
        metadata = header.pop("__metadata__", None) or {}
        _check_names(list(header))
        arrays = {}
        for name, entry in header.items():
            if entry["dtype"] not in _DTYPES:
                raise ValueError(f"{shown(name)} is of type {shown(entry['dtype'])}, which NumPy does not have")
            file.seek(8 + length + entry["data_offsets"][0])
            array = np.fromfile(file, _DTYPES[entry["dtype"]], math.prod(entry["shape"])).reshape(entry["shape"])
            arrays[name] = from_bfloat16(array) if entry["dtype"] == "BF16" else array
    return arrays, metadata


def safetensors(path: Path) -> ModuleType:
    """The package safetensors, imported when such a file is read or written, as not every Python has it. Raises
    CheckpointError for `path` if it is missing."""
    try:
        importlib.import_module("safetensors.numpy")
        return importlib.import_module("safetensors")
    except ImportError:
        needed = "needs the package safetensors: python -m pip install safetensors; or use .npz files"
        raise CheckpointError(f"{path} {needed}") from None


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    """float32 from bfloat16, given as uint16: they are the upper half of the float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; two readers may take different ones of two entries with one name."""
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a name occurs twice in its header")
    return dict(pairs)


def _check_names(names: list[str]) -> None:
    """Raise ValueError for implausible names of arrays, or too many of them."""
    if len(names) > MAX_ARRAYS:
        raise ValueError(f"it holds {len(names)} arrays, expected at most {MAX_ARRAYS}")
    if len(set(names)) != len(names):
        raise ValueError("two of its arrays have the same name")
    for name in names:
        if len(name) > MAX_NAME or not name.isprintable() or "\\" in name or {"", ".", ".."} & set(name.split("/")):
            raise ValueError(f"{shown(name)} is not a valid array name")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The file, open for reading in this context. Raises CheckpointError if it is not a file, and as `one_line`."""
    with one_line(path):
        if path.exists() and not path.is_file():  # opening a pipe would wait for somebody to write into it
            raise CheckpointError(f"{path} is not a file")
        with open(path, "rb") as file:
            yield file


@contextlib.contextmanager
def one_line(path: Path) -> Iterator[None]:
    """Turn every error from a damaged file into a CheckpointError of one line."""
    try:
        yield
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist") from None
    except (*DAMAGED, RecursionError, MemoryError, OverflowError, NotImplementedError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} is truncated or not a checkpoint: {shown(reason, 200)}") from error
