"""Finds unreadable image files before they are needed."""

import time
from collections.abc import Callable, Iterable

from minivit.data.ahead import ahead
from minivit.data.images import check_header, read_image
from minivit.errors import DataError

SECONDS = 10.0  # for which files are read whole
SIDE = 32  # pixels at which they are: a large JPEG is decoded at an eighth of its size, every byte read all the same


def unreadable(
    paths: Iterable[str],
    threads: int,
    seconds: float = SECONDS,
    seen: Callable[[], object] = lambda: None,
) -> dict[str, str]:
    """Path -> reason for the files that `read_image` refuses, in order.

    Files are read whole for a limited time, and after that only their headers, which misses truncated images.
    threads: number of reading threads.   seen: called after every file.
    """
    end = time.monotonic() + seconds

    def look(path: str) -> tuple[str, str]:
        try:
            if time.monotonic() < end:
                read_image(path, (SIDE, SIDE))
            else:
                check_header(path)
        except DataError as error:
            return path, str(error).removeprefix(f"{path}: ")
        return path, ""

    found = {}
    for path, reason in ahead(look, paths, threads, 8 * threads):
        if reason:
            found[path] = reason
        seen()
    return found
