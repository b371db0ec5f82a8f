"""What is in an archive: its images, each with its place and what the archive says about its class."""

import dataclasses
import functools
import json
import os
import time
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import numpy as np

from minivit.data.download import Progress
from minivit.data.index import Arrays, indexed, stamp_of
from minivit.data.packed import Names
from minivit.data.tars import CutError, Window, check_start
from minivit.errors import DataError

NUMBERS = ("starts", "sizes", "labels", "word")  # for each image
LARGEST = 2**31 - 1  # label that is kept; larger ones are nonsense in any case
OFTEN = 0.1  # seconds between calls of `progress`


@dataclasses.dataclass
class Listing:
    """The images of one archive, in its order.

    names: N names.   starts, sizes: (N,) int64, place and number of bytes of each.   labels: (N,) int32, -1 where the
    archive has no number.   word: (N,) int32, which of the names in `words` is said to be the class, or -1.
    left_out: what else is there, as of `Dataset`.   fault: why the rest of the archive cannot be read, or "".
    """

    names: Names
    starts: np.ndarray
    sizes: np.ndarray
    labels: np.ndarray
    word: np.ndarray
    words: list[str]
    left_out: dict[str, int]
    fault: str

    def __len__(self) -> int:
        return len(self.starts)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """For an index file."""
        rest = json.dumps([self.words, self.left_out, self.fault])
        return {
            **{name: getattr(self, name) for name in NUMBERS},
            "text": self.names.text,
            "ends": self.names.ends,
            "rest": np.frombuffer(rest.encode("ascii"), np.uint8),
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """From an index file."""
        starts, sizes, labels, word = (arrays[name] for name in NUMBERS)
        return cls(
            Names(arrays["text"], arrays["ends"]), starts, sizes, labels, word, *json.loads(arrays["rest"].tobytes())
        )


class Draft:
    """A Listing that grows, in little memory.   path: of the archive."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text, self.ends, self.numbers = bytearray(), array("q", [0]), array("q")
        self.words: dict[str, int] = {}
        self.left_out: Counter[str] = Counter()

    def add(self, name: str, start: int, size: int, label: int = -1, word: str | None = None) -> None:
        """Add an image."""
        self.text += name.encode("utf-8", "surrogateescape")
        self.ends.append(len(self.text))
        number = -1 if word is None else self.words.setdefault(word, len(self.words))
        self.numbers.extend((start, size, min(label, LARGEST), number))

    def done(self, fault: str) -> Listing:
        """The finished Listing."""
        names = Names(np.frombuffer(self.text, np.uint8), np.frombuffer(self.ends, np.int64))
        starts, sizes, labels, word = np.frombuffer(self.numbers, np.int64).reshape(-1, len(NUMBERS)).T
        labels, word = labels.astype(np.int32), word.astype(np.int32)
        return Listing(names, starts.copy(), sizes.copy(), labels, word, list(self.words), dict(self.left_out), fault)


class Meter:
    """Tells how far the listing of several archives has come, now and then.   total: bytes of all of them."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.total, self.progress, self.before, self.last = total, progress, 0, 0.0

    def at(self, position: int) -> None:
        """So many bytes of the present archive are done."""
        if self.progress and time.monotonic() - self.last > OFTEN:
            self.progress(self.before + position, self.total)
            self.last = time.monotonic()


Fill = Callable[[Window, int, Draft, Meter], None]


def listings(
    paths: Sequence[Path], cache: Path | None, kind: str, fill: Fill, progress: Progress | None = None
) -> list[Listing]:
    """The Listing of each archive, from index files where these are there and the archives have not changed.

    cache: as of `indexed`.   kind: what `fill` looks for; index files belong to one kind.   fill: fill(window, end,
    draft, meter) adds the images of an archive of `end` bytes to the draft; it may raise CutError at any time.
    progress: called with the bytes done and in all, only for archives that are read.
    Raises DataError for a missing file and for one that is not an archive.
    """
    stamps = [_stamp(path) for path in paths]
    meter = Meter(sum(size for size, _ in stamps), progress)
    found = []
    for path, stamp in zip(paths, stamps, strict=True):
        build = functools.partial(_built, path, fill, stamp[0], meter)
        found.append(Listing.from_arrays(indexed(cache, f"{kind} {os.path.abspath(path)}", stamp, build)))
        meter.before += stamp[0]
    return found


def _built(path: Path, fill: Fill, end: int, meter: Meter) -> Arrays:
    draft, fault = Draft(path), ""
    with open(path, "rb", buffering=0) as file:
        window = Window(file)
        try:
            check_start(path, window)
            fill(window, end, draft, meter)
        except CutError as error:
            fault = str(error)
    return draft.done(fault).to_arrays()


def _stamp(path: Path) -> tuple[int, int]:
    try:
        if path.is_dir():
            raise DataError(f"{path}: this is a folder, not a tar archive")
        return stamp_of(path)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
