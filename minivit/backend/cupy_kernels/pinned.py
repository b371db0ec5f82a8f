"""Copies to the GPU that the host does not wait for."""

import importlib
from typing import Any

import numpy as np

from minivit.backend.arrays import Array


class PinnedCopies:
    """Copies of host arrays of up to `size` elements to the GPU, queued on the current stream.

    A copy reads its pinned memory after `send` has returned, so two pieces of it take turns, and the host waits only
    for the copy before last. Ordinary memory would make it wait for everything that is queued.
    """

    def __init__(self, xp: Any, size: int, dtype: Any):
        empty_pinned = importlib.import_module("cupyx").empty_pinned
        self.xp = xp
        self._turns = [(empty_pinned(size, dtype), xp.cuda.Event()) for _ in range(2)]

    def send(self, values: np.ndarray, target: Array) -> None:
        """Put `values` into `target`; both one-dimensional and of the same length."""
        pinned, copied = self._turns[0]
        self._turns.reverse()
        if not copied.done:
            copied.synchronize()
        pinned[: len(values)] = values
        stream = self.xp.cuda.get_current_stream()
        target.set(pinned[: len(values)], stream=stream)
        copied.record(stream)
