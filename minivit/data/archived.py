"""Images in archives, read by their places without unpacking anything."""

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minivit.data.dataset import Indices, as_indices
from minivit.data.encoded import EncodedDataset
from minivit.data.listing import Listing
from minivit.data.packed import Names
from minivit.data.readahead import ReadAhead
from minivit.data.window import runs, window_order
from minivit.errors import DataError

MOST_OPEN = 64  # archives that are kept open; macOS allows a process 256 files


class Places(NamedTuple):
    """Where N images are.   archives: paths.   archive: (N,) int32, which of them.   start, size: (N,) int64, the bytes
    there.   names: N names in the archives."""

    archives: list[str]
    archive: np.ndarray
    start: np.ndarray
    size: np.ndarray
    names: Names

    @classmethod
    def of(cls, paths: Sequence[Path], listings: Sequence[Listing]) -> "Places":
        """The images of these archives, one archive after the other."""
        which = np.repeat(np.arange(len(paths), dtype=np.int32), [len(listing) for listing in listings])
        start, size = (_joined([getattr(listing, name) for listing in listings]) for name in ("starts", "sizes"))
        return cls([os.fspath(path) for path in paths], which, start, size, Names.joined(x.names for x in listings))

    def take(self, indices: np.ndarray) -> "Places":
        """The images with these indices (B,). If they are all, nothing is copied."""
        if len(indices) == len(self.start) and np.array_equal(indices, np.arange(len(indices))):
            return self
        rest = self.archive[indices], self.start[indices], self.size[indices], self.names.take(indices)
        return Places(self.archives, *rest)


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)  # one large part is not copied


class ArchivedDataset(EncodedDataset):
    """Images in archives.   places: N places.   The rest is as of `EncodedDataset`.

    An epoch's order (`order`) is that of `window_order`.
    """

    def __init__(
        self,
        places: Places,
        labels: Iterable[int],
        classes: Iterable[str],
        name: str,
        bad_images: str = "refuse",
        left_out: Mapping[str, int] | None = None,
        split: str | None = None,
    ) -> None:
        super().__init__(labels, classes, name, bad_images, left_out, split)
        self.places, self._files = places, Files()
        self._runs = runs(self.labels, places.archive)
        self._ahead = ReadAhead(self._runs, places.start, places.size)

    def place(self, index: int) -> str:
        return f"{self.places.archives[self.places.archive[index]]}/{self.places.names[index]}"

    def source(self, index: int) -> bytes:
        places = self.places
        archive, start, size = places.archives[places.archive[index]], places.start[index], places.size[index]
        content = self._files.read(archive, int(start), int(size), self._ahead(index))
        if len(content) < size:
            raise DataError(f"{self.place(index)}: the archive is shorter than it was when its images were listed")
        return content

    def order(self, rng: np.random.Generator) -> np.ndarray:
        return window_order(self._runs, rng)

    def subset(self, indices: Indices) -> "ArchivedDataset":
        indices = as_indices(indices, self.name)
        rest = self.classes, self.name, self.bad_images, self.left_out, self.split
        return ArchivedDataset(self.places.take(indices), self.labels[indices], *rest)


class Files:
    """Open files, read at any place by several threads. A file in use belongs to one thread, and two threads that want
    the same file open it twice. So no thread closes what another reads, and no lock is needed."""

    def __init__(self) -> None:
        self._idle: dict[str, Any] = {}

    def read(self, path: str, start: int, size: int, soon: tuple[int, int] | None = None) -> bytes:
        """The bytes at a place, fewer at the end of the file. Raises DataError, which names the file.

        soon: start and number of bytes that will be wanted, too; where the system can read them in the background, it
        is asked to.
        """
        file = self._idle.pop(path, None)
        try:
            if file is None:
                file = open(path, "rb", buffering=0)  # noqa: SIM115  it stays open
            if soon and hasattr(os, "posix_fadvise"):
                with contextlib.suppress(OSError):  # not every file system can
                    os.posix_fadvise(file.fileno(), *soon, os.POSIX_FADV_WILLNEED)
            content = _read_at(file, start, size)
        except OSError as error:
            if file is not None:
                file.close()
            raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
        if self._idle.setdefault(path, file) is not file:
            file.close()
        while len(self._idle) > MOST_OPEN:
            with contextlib.suppress(KeyError, StopIteration, RuntimeError):  # another thread was faster
                self._idle.pop(next(iter(self._idle))).close()
        return content

    def __del__(self) -> None:
        for file in self._idle.values():
            file.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"_idle": {}}  # in another process files are opened anew


def _read_at(file: Any, start: int, size: int) -> bytes:
    parts, at = [], start
    while size > 0:
        if hasattr(os, "pread"):  # it does not move the file, which a forked process may share
            part = os.pread(file.fileno(), size, at)
        else:
            file.seek(at)
            part = file.read(size)
        if not part:
            break
        parts.append(part)
        at, size = at + len(part), size - len(part)
    return b"".join(parts)


def check_faults(paths: Sequence[Path], listings: Sequence[Listing], bad_images: str) -> Counter[str]:
    """What the listings left out. Raises DataError for an archive that is cut, unless its images may be skipped."""
    left_out: Counter[str] = Counter()
    for path, listing in zip(paths, listings, strict=True):
        if listing.fault and bad_images == "refuse":
            use = f"use the {len(listing):,} images before that" if len(listing) else "go on without it"
            raise DataError(
                f"{path}: the archive {listing.fault}; get it again, or {use}: --bad-images skip, or "
                'bad_images="skip" in Python'
            )
        left_out[f"damaged {path.name}"] += bool(listing.fault)
        left_out.update(listing.left_out)
    return +left_out
