"""The device behind the stand-in: streams, and operations that are run, or recorded while a graph is captured."""

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from standin_cupy.memory import POISON, Memory, MemoryPool, Recorded, Taken


class CUDARuntimeError(RuntimeError):
    """An error that the CUDA runtime reports."""

    __module__ = "cupy_backends.cuda.api.runtime"


class Stream:
    """A queue of operations; here they run as they are issued, or are recorded between begin_ and end_capture."""

    null: "Stream"
    _numbers = itertools.count(1)

    def __init__(self, null: bool = False, non_blocking: bool = False, ptds: bool = False, priority: int | None = None):
        self.ptr = 0 if null else next(self._numbers)
        self.recorded: list[Callable[[], None]] | None = None
        self.memory: list[Recorded] = []  # given meanwhile
        self.is_invalid = False

    def __enter__(self) -> "Stream":
        current().stack.append(self)
        current().stream = self
        return self

    def __exit__(self, *error: Any) -> None:
        current().stack.pop()  # whichever that is
        current().stream = current().stack[-1]

    def use(self) -> "Stream":
        current().stream = self
        return self

    def synchronize(self) -> None:
        synchronise("Stream.synchronize", self)

    @property
    def done(self) -> bool:
        return True

    def record(self, event: Any = None) -> Any:
        event.record(self)
        return event

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and self.ptr == other.ptr

    def __hash__(self) -> int:
        return self.ptr

    def wait_event(self, event: Any) -> None:
        """Everything has run by the time it is issued."""

    def begin_capture(self, mode: int | None = None) -> None:
        if self.ptr == 0 or self.recorded is not None:
            raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported: the default stream, or capturing already")
        self.recorded, self.memory = [], []

    def end_capture(self) -> "Graph":
        if self.recorded is None:
            raise CUDARuntimeError("cudaErrorIllegalState: the stream is not capturing")
        graph, self.recorded = Graph(self.recorded, self.memory), None
        if self.is_invalid:
            self.is_invalid = False
            raise CUDARuntimeError(INVALIDATED)
        return graph

    def is_capturing(self) -> bool:
        if self.is_invalid:
            raise RuntimeError("the stream was capturing, but an error has invalidated the capture sequence")
        return self.recorded is not None


INVALIDATED = "cudaErrorStreamCaptureInvalidated: operation failed due to a previous error during capture"


Stream.null = Stream(null=True)


class Graph:
    """Recorded operations, to run again and again on the same memory."""

    def __init__(self, operations: list[Callable[[], None]], memory: Sequence[Recorded] = ()):
        self.operations, self.memory = operations, memory

    def launch(self, stream: Stream | None = None) -> None:
        refuse_in_capture("a graph in a graph, which is not modelled,", stream)
        if any(recorded.is_gone for recorded in self.memory):
            raise CUDARuntimeError("cudaErrorIllegalAddress: an illegal memory access was encountered")
        with np.errstate(all="ignore"):
            for operation in self.operations:
                operation()

    def upload(self, stream: Stream | None = None) -> None:
        """Nothing to prepare."""


class _Thread(threading.local):
    """What a thread has chosen, and whether it may wait for the device."""

    def __init__(self) -> None:
        self.stream = Stream.null
        self.stack = [Stream.null]
        self.pool = default_pool
        self.device = 0
        self.forbidden = False


default_pool = MemoryPool()
_thread = _Thread()
synchronisations = 0  # how often the host waited for the device since `reset`


def current() -> _Thread:
    """The state of this thread."""
    return _thread


def allocate(size: int) -> Memory:
    """Memory from the pool of this thread."""
    pool, stream = current().pool, current().stream
    recorded = None
    if stream.recorded is not None and pool is not default_pool:
        stream.memory.append(recorded := Recorded())
    return Memory(size, pool, stream.ptr, recorded, current().device)


def reset() -> None:
    """A device as new."""
    global _thread, synchronisations
    _thread = _Thread()
    default_pool.set_limit(0)
    default_pool.free_all_blocks()
    Taken.bytes = default_pool.total_bytes()
    Taken.resets = default_pool._resets = Taken.resets + 1
    synchronisations = 0


def synchronise(what: str, stream: Stream | None = None) -> None:
    """Count that the host waits for the device. Raises while the stream is captured, and where it is forbidden."""
    global synchronisations
    refuse_in_capture(what, stream)
    if current().forbidden:
        raise AssertionError(f"{what} waits for the device")
    synchronisations += 1


@contextlib.contextmanager
def forbid_synchronisation() -> Iterator[None]:
    """Within this context (and this thread), waiting for the device is an AssertionError."""
    outer, current().forbidden = current().forbidden, True
    try:
        yield
    finally:
        current().forbidden = outer


def refuse_in_capture(what: str, stream: Stream | None = None) -> None:
    """Raise what CUDA raises for operations that cannot be part of a graph."""
    stream = stream or current().stream
    if stream.recorded is not None:
        stream.is_invalid = True
        raise CUDARuntimeError(f"cudaErrorStreamCaptureUnsupported: {what} while the stream is capturing")


def being_recorded() -> list[Callable[[], None]] | None:
    """What the current stream has captured so far; None if it runs at once."""
    stream = current().stream
    if stream.is_invalid:
        raise CUDARuntimeError(INVALIDATED)
    return stream.recorded


def refuse_cublas_in_capture() -> None:
    """Raise what CuPy raises for every product while a graph is captured."""
    if current().stream.recorded is not None:
        raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")


def run(compute: Callable[[], Any], store: Callable[[Any], Any], targets: Sequence[np.ndarray] = ()) -> Any:
    """One device operation: now, or recorded for the replays of a graph if the stream is capturing.

    compute: reads host arrays and returns what is to be stored, or writes into `targets` itself.
    store: makes device arrays of results, and returns (them, a list of the arrays that are new).
    While capturing nothing happens to the data: new arrays hold poison, and targets keep what they held.
    """
    recorded = being_recorded()
    before = [target.copy() for target in targets] if recorded is not None else []
    with np.errstate(all="ignore"):  # a GPU reports no overflow
        results, new = store(compute())
    if recorded is None or not (new or targets):  # a view is no operation
        return results
    for target, content in zip(targets, before, strict=True):
        target[...] = content
    for array in new:
        array._memory.bytes.fill(POISON)
    hosts = [array._host for array in new]  # not the arrays: what is freed is to be found poisoned

    def replay() -> None:
        again = compute()
        for host, value in zip(hosts, again if isinstance(again, tuple | list) else [again], strict=False):
            host[...] = value

    recorded.append(replay)
    return results


def submit(task: Callable[[], None]) -> None:
    """Run a launch whose results are where its arguments say, or record it. An argument may hold addresses."""
    recorded = being_recorded()
    if recorded is None:
        task()
    else:
        memory = list(Memory.live.values())  # what is freed is poisoned, but must still be there

        def replay(kept: Any = memory) -> None:
            task()

        recorded.append(replay)


def submit_by_address(stream: int, task: Callable[[], None]) -> None:
    """`submit` for a library that was given a stream and places in memory as addresses."""
    if stream != current().stream.ptr:
        raise ValueError(f"launched on stream {stream}, the current one is {current().stream.ptr}")
    submit(task)


def is_allocated(address: int, size: int) -> bool:
    """Whether these bytes are in one allocation of the device."""
    return any(start <= address and address + size <= start + len(b) for start, b in Memory.live.items())
