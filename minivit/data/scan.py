"""Finds unreadable images before they are needed."""

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from minivit.data.ahead import ahead
from minivit.data.encoded import EncodedDataset

WHOLE, HEADERS = 10.0, 20.0  # seconds for which files are read whole, and after that in which only their headers are
SIDE = 32  # pixels at which they are: a large JPEG is decoded at an eighth of its size, every byte read all the same
MANY = 20_000  # images, of which not all are reached
OF_MANY = 4.0, 2.0  # the same seconds for so many, since a start must not take long
RUN = 64  # neighbours that are read one after another, as disks and archives want it


class Looked(NamedTuple):
    """What was found.   faults: place -> reason, in the order of the images.   left: the number of images that were not
    reached in time."""

    faults: dict[str, str]
    left: int


def unreadable(
    data: EncodedDataset,
    threads: int,
    seconds: float | None = None,
    headers: float | None = None,
    seen: Callable[[], object] = lambda: None,
) -> Looked:
    """The images that `read_image` refuses.

    Images are read whole for a limited time, and after that only their headers, which misses truncated ones, for a
    limited time too. Of many images short runs from all over the data set are read, so that all classes have some.
    threads: number of reading threads.   seconds, headers: these times, by default `WHOLE` and `HEADERS`, or `OF_MANY`
    for more than `MANY` images.   seen: called after every image.
    """
    usual = (WHOLE, HEADERS) if len(data) <= MANY else OF_MANY
    end = time.monotonic() + (usual[0] if seconds is None else seconds)
    last = end + (usual[1] if headers is None else headers)

    def in_time() -> Iterator[int]:
        for index in _visits(len(data)):
            if time.monotonic() >= last:
                return
            yield index

    def look(index: int) -> tuple[int, str]:
        return index, data.fault(index, (SIDE, SIDE) if time.monotonic() < end else None)

    reasons, count = {}, 0
    for index, reason in ahead(look, in_time(), threads, 8 * threads):
        if reason:
            reasons[index] = reason
        count += 1
        seen()
    return Looked({data.place(index): reasons[index] for index in sorted(reasons)}, len(data) - count)


def _visits(count: int) -> Iterator[int]:
    """0..count-1, of many numbers in runs that are shuffled, always in the same way."""
    if count <= MANY:
        yield from range(count)
        return
    for run in np.random.default_rng(0).permutation(-(-count // RUN)).tolist():
        yield from range(run * RUN, min((run + 1) * RUN, count))
