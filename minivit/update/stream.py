"""Runs work in the order of one GPU stream, with its own memory."""

import contextlib
import sys
from collections.abc import Generator, Iterator
from typing import Any, Self, TypeVar

from minivit.backend.cupy_kernels.memory import StreamMemory

Item = TypeVar("Item")


class OnStream:
    """Work on a stream of its own, with memory for repeated computations. Both end with it.

    xp: CuPy.
    """

    def __init__(self, xp: Any):
        self.xp = xp
        self.stream = xp.cuda.Stream(non_blocking=True)
        self._events = [xp.cuda.Event(disable_timing=True) for _ in range(2)]
        self._memory = StreamMemory(xp, self.stream)
        self._was_active = False  # and may have scratch memory

    def __del__(self) -> None:
        if vars(self).get("_was_active") and not sys.is_finalizing():
            with contextlib.suppress(Exception):  # of a GPU that has failed
                self._let_go()
                self._memory.close()

    def _let_go(self) -> None:
        """Drop the contents of that memory."""
        raise NotImplementedError

    @contextlib.contextmanager
    def active(self) -> Iterator[Self]:
        """In this context all of CuPy's work runs in the order of this stream: after earlier work, and before later
        work. The host does not wait."""
        self._was_active = True
        outer = self.xp.cuda.get_current_stream()
        if outer == self.stream:
            yield self
            return
        self.stream.wait_event(outer.record(self._events[0]))
        try:
            with self.stream:
                yield self
        finally:
            outer.wait_event(self.stream.record(self._events[1]))

    def ordered(self, work: Generator[Item, None, None]) -> Iterator[Item]:
        """Yield the items of `work`. This stream is active while the generator runs, and not while it is paused: the
        current stream is a stack, and of two paused generators either may end first."""
        try:
            while True:
                with self.active():
                    try:
                        item = next(work)
                    except StopIteration:
                        return
                yield item
        finally:
            with self.active():
                work.close()

    def pool_bytes(self) -> int:
        """The number of bytes that it holds for itself."""
        return self._memory.pool.total_bytes()
