"""The device behind the stand-in: memory, streams, and operations that are run, or recorded while a graph is captured.

Device memory is ordinary memory whose bytes are 0xFF (NaN, -1) before they are written and after they are freed.
"""

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

BLOCK = 512  # bytes: what the pool rounds up to
TOTAL_MEMORY = 16 << 30
POISON = 0xFF


class CUDARuntimeError(RuntimeError):
    """An error that the CUDA runtime reports."""


class OutOfMemoryError(MemoryError):
    """size: bytes that were asked for; total: in use before; limit: of the pool, 0 for none."""

    def __init__(self, size: int, total: int, limit: int = 0):
        super().__init__(
            f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes, limit {limit:,})"
        )


class MemoryPool:
    """Counts what is in use (`used_bytes`) and what was taken from the device and not given back (`total_bytes`)."""

    def __init__(self) -> None:
        self._used = self._total = self._limit = 0

    def malloc(self, size: int) -> "MemoryPointer":
        """Memory that belongs to the pool."""
        memory = Memory(size, self)
        return MemoryPointer(memory, memory.ptr)

    def take(self, size: int) -> None:
        """Count `size` bytes as used. Raises OutOfMemoryError beyond the limit."""
        if self._used + size > (self._limit or TOTAL_MEMORY):
            raise OutOfMemoryError(size, self._used, self._limit)
        self._used += size
        self._total = max(self._total, self._used)

    def give_back(self, size: int) -> None:
        self._used -= size

    def set_limit(self, size: int | None = None, fraction: float | None = None) -> None:
        self._limit = int(fraction * TOTAL_MEMORY) if fraction is not None else size or 0

    def get_limit(self) -> int:
        return self._limit

    def used_bytes(self) -> int:
        return self._used

    def total_bytes(self) -> int:
        return self._total

    def free_bytes(self) -> int:
        return self._total - self._used

    def free_all_blocks(self, stream: Any = None) -> None:
        self._total = self._used


class Memory:
    """One allocation of whole blocks, as CuPy's, poisoned. It is poisoned again when its last user is gone, so that a
    graph which still reads it is found out: but not where a graph's own pool gave it, which nobody else is to use."""

    live: ClassVar[dict[int, np.ndarray]] = {}  # address -> bytes of every allocation

    def __init__(self, size: int, pool: MemoryPool | None = None):
        size = -(-size // BLOCK) * BLOCK
        (pool or current().pool).take(size)
        self.pool = pool or current().pool
        self.is_of_graph = current().stream.is_capturing() and self.pool is not default_pool
        room = np.full(size + BLOCK, POISON, np.uint8)
        start = -room.ctypes.data % BLOCK
        self.bytes = room[start : start + size]
        self.ptr = room.ctypes.data + start
        self.live[self.ptr] = self.bytes

    def __del__(self) -> None:
        if hasattr(self, "ptr"):  # it had been given memory
            del self.live[self.ptr]
            if not self.is_of_graph:
                self.bytes.fill(POISON)
            self.pool.give_back(self.bytes.size)


class MemoryPointer:
    """A place in an allocation: `ptr` is its address."""

    def __init__(self, mem: Memory, ptr: int):
        self.mem = mem
        self.ptr = ptr


class Stream:
    """A queue of operations; here they run as they are issued, or are recorded between begin_ and end_capture."""

    null: "Stream"
    _numbers = itertools.count(1)

    def __init__(self, null: bool = False, non_blocking: bool = False, ptds: bool = False, priority: int | None = None):
        self.ptr = 0 if null else next(self._numbers)
        self.recorded: list[Callable[[], None]] | None = None
        self._outer: list[Stream] = []

    def __enter__(self) -> "Stream":
        self._outer.append(current().stream)
        current().stream = self
        return self

    def __exit__(self, *error: Any) -> None:
        current().stream = self._outer.pop()

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

    def wait_event(self, event: Any) -> None:
        """Everything has run by the time it is issued."""

    def begin_capture(self, mode: int | None = None) -> None:
        if self.ptr == 0 or self.recorded is not None:
            raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported: the default stream, or capturing already")
        self.recorded = []

    def end_capture(self) -> "Graph":
        if self.recorded is None:
            raise CUDARuntimeError("cudaErrorIllegalState: the stream is not capturing")
        graph, self.recorded = Graph(self.recorded), None
        return graph

    def is_capturing(self) -> bool:
        return self.recorded is not None


Stream.null = Stream(null=True)


class Graph:
    """Recorded operations, to run again and again on the same memory."""

    def __init__(self, operations: list[Callable[[], None]]):
        self.operations = operations

    def launch(self, stream: Stream | None = None) -> None:
        if (stream or current().stream).is_capturing():
            raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported: a graph in a graph is not modelled")
        with np.errstate(all="ignore"):
            for operation in self.operations:
                operation()

    def upload(self, stream: Stream | None = None) -> None:
        """Nothing to prepare."""


class _Thread(threading.local):
    """What a thread has chosen, and whether it may wait for the device."""

    def __init__(self) -> None:
        self.stream = Stream.null
        self.pool = default_pool
        self.forbidden = False


default_pool = MemoryPool()
_thread = _Thread()
synchronisations = 0  # how often the host waited for the device since `reset`


def current() -> _Thread:
    """The state of this thread."""
    return _thread


def reset() -> None:
    """A device as new."""
    global _thread, synchronisations
    _thread = _Thread()
    default_pool.set_limit(0)
    default_pool.free_all_blocks()
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
    if (stream or current().stream).is_capturing():
        raise CUDARuntimeError(f"cudaErrorStreamCaptureUnsupported: {what} while the stream is capturing")


def refuse_cublas_in_capture() -> None:
    """Raise what CuPy raises for every product while a graph is captured."""
    if current().stream.is_capturing():
        raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")


def run(compute: Callable[[], Any], store: Callable[[Any], Any], targets: Sequence[np.ndarray] = ()) -> Any:
    """One device operation: now, or recorded for the replays of a graph if the stream is capturing.

    compute: reads host arrays and returns what is to be stored, or writes into `targets` itself.
    store: makes device arrays of results, and returns (them, a list of the arrays that are new).
    While capturing nothing happens to the data: new arrays hold poison, and targets keep what they held.
    """
    recorded = current().stream.recorded
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
    recorded = current().stream.recorded
    if recorded is None:
        task()
    else:
        kept = list(Memory.live.values())  # what is freed is poisoned, but still there
        recorded.append(lambda: task() if kept is not None else None)


def submit_by_address(stream: int, task: Callable[[], None]) -> None:
    """`submit` for a library that was given a stream and places in memory as addresses."""
    if stream != current().stream.ptr:
        raise ValueError(f"launched on stream {stream}, the current one is {current().stream.ptr}")
    submit(task)


def is_allocated(address: int, size: int) -> bool:
    """Whether these bytes are in one allocation of the device."""
    return any(start <= address and address + size <= start + len(b) for start, b in Memory.live.items())
