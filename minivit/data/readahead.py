"""Asks the system to read neighbouring images at once, before they are wanted one by one."""

import numpy as np

SPARE = 1.25  # images asked for, for each one that is wanted in the end
BEFORE = 20_000  # and before it is known how many are: a window
DENSE = 2  # times the bytes of its images that a run may extend over; others are not worth it


class ReadAhead:
    """What to ask for. Used by several threads, whose races only make a question come twice or not at all.

    run, start, size: (N,), the run of each image (see `window.runs`) and its bytes in the archive. A run is asked for
    when the first of its images is wanted. If most images of the runs are never wanted, because other processes read
    them, it soon stops asking: otherwise each process would read everything.
    """

    def __init__(self, run: np.ndarray, start: np.ndarray, size: np.ndarray) -> None:
        first = np.flatnonzero(np.diff(run, prepend=-1))
        self._run, self._start = run, start[first]
        self._count = np.diff(first, append=len(run))
        last = first + self._count - 1
        self._extent = start[last] + size[last] - self._start if len(run) else self._start
        bytes_of_images = np.add.reduceat(size, first) if len(run) else size
        self._worth = (self._extent > 0) & (self._extent <= DENSE * bytes_of_images) & (self._count > 1)
        self._left = np.zeros(len(first), np.int32)  # images of a run that are still to come
        self._asked, self._wanted = 0, 0

    def __call__(self, index: int) -> tuple[int, int] | None:
        """Start and number of the bytes to ask for, now that this image is wanted; mostly None."""
        run = self._run[index]
        self._wanted += 1
        self._left[run] -= 1
        if self._left[run] >= 0 or not self._worth[run] or self._asked > SPARE * self._wanted + BEFORE:
            return None
        self._left[run] = self._count[run] - 1
        self._asked += int(self._count[run])
        return int(self._start[run]), int(self._extent[run])
