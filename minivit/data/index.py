"""Index files: what was once found out about large data, kept in a cache folder.

An index file may be deleted at any time. One that does not belong to the data as it is now is not used, nor a damaged
one. A folder that cannot be written only means that the work is done again.
"""

import contextlib
import hashlib
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from minivit.files import locks, npz

FORMAT = 1  # to be increased whenever the arrays of any index change their meaning

Arrays = Mapping[str, np.ndarray]

_DAMAGED = (
    OSError,
    ValueError,
    AttributeError,
    KeyError,
    EOFError,
    TypeError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)


def indexed(cache: Path | None, key: str, stamp: Sequence[int], build: Callable[[], Arrays]) -> Arrays:
    """The arrays that `build` makes, or those of the index file that an earlier call made under this key and stamp.

    cache: the folder of index files; None: keep none.   key: what the data is, such as "shard /data/train-0.tar".
    stamp: numbers that change whenever the data does; see `stamp_of`.
    """
    if cache is None:
        return build()
    found = read(cache, key)
    if found is not None and np.array_equal(found.get("stamp", ()), stamp):
        return {name: array for name, array in found.items() if name != "stamp"}
    arrays = build()
    write(cache, key, {**arrays, "stamp": np.array(stamp, np.int64)})
    return arrays


def read(cache: Path, key: str) -> dict[str, np.ndarray] | None:
    """The arrays last written under a key, or None if there are none that can be read."""
    # numpy would not close a damaged file that it opens itself
    with contextlib.suppress(*_DAMAGED), open(_place(cache, key), "rb") as opened, np.load(opened) as file:
        arrays = {name: file[name] for name in file.files}
        if arrays.pop("key").tobytes() == _tag(key):
            return arrays
    return None


def write(cache: Path, key: str, arrays: Arrays) -> bool:
    """Keep arrays under a key, in place of earlier ones; False where that is impossible. Readers see the old file or
    the new one, also while several processes write."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with locks.replacing(_place(cache, key)) as partial:
            npz.fill(partial, {**arrays, "key": np.frombuffer(_tag(key), np.uint8)})
    except OSError:
        return False
    return True


def stamp_of(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Size and time of the last change, which change with the content of a file. Raises OSError."""
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns


def _tag(key: str) -> bytes:
    return f"minivit index {FORMAT}: {key}".encode("utf-8", "surrogateescape")


def _place(cache: Path, key: str) -> Path:
    return cache / f"{hashlib.sha256(_tag(key)).hexdigest()[:32]}.npz"
