"""Device memory: ordinary memory, whose bytes are 0xFF (NaN, -1) before they are written and after they are freed."""

from collections import Counter
from typing import Any, ClassVar

import numpy as np

from standin_cupy.machine import machine

BLOCK = 512  # bytes: what the pool rounds up to
POISON = 0xFF


class OutOfMemoryError(MemoryError):
    """size: bytes that were asked for; total: in use before; limit: of the pool, 0 for none."""

    __module__ = "cupy.cuda.memory"

    def __init__(self, size: int, total: int, limit: int = 0):
        super().__init__(
            f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes, limit {limit:,})"
        )


class Taken:
    """What all pools together have taken from the device, since it was reset for the so-many-th time."""

    bytes = resets = 0


class MemoryPool:
    """Counts what is in use (`used_bytes`) and what was taken from the device and not given back (`total_bytes`).

    As CuPy's: what is freed stays with the pool, for the stream on which it was allocated; pools exchange nothing; a
    pool that is dropped takes what it holds with it, so that nobody can have that memory any more.
    """

    def __init__(self) -> None:
        self._used = self._limit = 0
        self._resets = Taken.resets
        self._cached: Counter[int] = Counter()  # by the stream that it was allocated for
        self._recorded: list[Recorded] = []  # freed, but a graph goes on using it

    def malloc(self, size: int) -> "MemoryPointer":
        """Memory that belongs to the pool."""
        memory = Memory(size, self)
        return MemoryPointer(memory, memory.ptr)

    def take(self, size: int, stream: int) -> None:
        """Count `size` bytes as used. Raises OutOfMemoryError beyond the limit, or if the device has no more."""
        if not self._has_room(size, stream):
            self.free_all_blocks()  # all that CuPy tries, and of this pool alone
            if not self._has_room(size, stream):
                raise OutOfMemoryError(size, self._used, self._limit)
        reused = min(size, self._cached[stream])
        self._cached[stream] -= reused
        Taken.bytes += size - reused
        self._used += size

    def _has_room(self, size: int, stream: int) -> bool:
        more = size - min(size, self._cached[stream])
        return self.total_bytes() + more <= (self._limit or machine.memory) and Taken.bytes + more <= machine.memory

    def give_back(self, size: int, stream: int, recorded: "Recorded | None") -> None:
        self._used -= size
        self._cached[stream] += size
        if recorded is not None:
            self._recorded.append(recorded)

    def set_limit(self, size: int | None = None, fraction: float | None = None) -> None:
        self._limit = int(fraction * machine.memory) if fraction is not None else size or 0

    def get_limit(self) -> int:
        return self._limit

    def used_bytes(self) -> int:
        return self._used

    def total_bytes(self) -> int:
        return self._used + self.free_bytes()

    def free_bytes(self) -> int:
        return sum(self._cached.values())

    def free_all_blocks(self, stream: Any = None) -> None:
        if self._resets == Taken.resets:
            Taken.bytes -= self.free_bytes()
        self._cached.clear()
        for recorded in self._recorded:
            recorded.is_gone = True
        self._recorded.clear()


class Recorded:
    """What a graph must know of memory that was given while it was recorded: whether the GPU has it back."""

    is_gone = False


class Memory:
    """One allocation of whole blocks, as CuPy's, poisoned. It is poisoned again when its last user is gone, so that a
    graph which still reads it is found out: but not where a graph's own pool gave it, which nobody else is to use."""

    live: ClassVar[dict[int, np.ndarray]] = {}  # address -> bytes of every allocation

    def __init__(self, size: int, pool: MemoryPool, stream: int = 0, recorded: Recorded | None = None, device: int = 0):
        size = -(-size // BLOCK) * BLOCK
        pool.take(size, stream)
        self.pool, self.stream, self.recorded, self.device = pool, stream, recorded, device
        room = np.full(size + BLOCK, POISON, np.uint8)
        start = -room.ctypes.data % BLOCK
        self.bytes = room[start : start + size]
        self.ptr = room.ctypes.data + start
        self.live[self.ptr] = self.bytes

    def __del__(self) -> None:
        if hasattr(self, "ptr") and POISON is not None:  # it had been given memory, and Python is not ending
            del self.live[self.ptr]
            if self.recorded is None:
                self.bytes.fill(POISON)
            self.pool.give_back(self.bytes.size, self.stream, self.recorded)


class MemoryPointer:
    """A place in an allocation: `ptr` is its address."""

    def __init__(self, mem: Memory, ptr: int):
        self.mem = mem
        self.ptr = ptr
