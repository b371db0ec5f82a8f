"""Finds unreadable images before they are needed."""

import time
from collections.abc import Callable

from minivit.data.ahead import ahead
from minivit.data.encoded import EncodedDataset

SECONDS = 10.0  # for which files are read whole
SIDE = 32  # pixels at which they are: a large JPEG is decoded at an eighth of its size, every byte read all the same


def unreadable(
    data: EncodedDataset,
    threads: int,
    seconds: float = SECONDS,
    seen: Callable[[], object] = lambda: None,
) -> dict[str, str]:
    """Place -> reason for the images that `read_image` refuses, in order.

    Images are read whole for a limited time, and after that only their headers, which misses truncated ones.
    threads: number of reading threads.   seen: called after every image.
    """
    end = time.monotonic() + seconds

    def look(index: int) -> str:
        return data.fault(index, (SIDE, SIDE) if time.monotonic() < end else None)

    found = {}
    for index, reason in enumerate(ahead(look, range(len(data)), threads, 8 * threads)):
        if reason:
            found[data.place(index)] = reason
        seen()
    return found
