"""Device memory: ordinary memory, whose bytes are 0xFF (NaN, -1) before they are written and after they are freed."""

from typing import Any, ClassVar

import numpy as np

BLOCK = 512  # bytes: what the pool rounds up to
TOTAL_MEMORY = 16 << 30
POISON = 0xFF


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

    def __init__(self, size: int, pool: MemoryPool, is_of_graph: bool = False):
        size = -(-size // BLOCK) * BLOCK
        pool.take(size)
        self.pool, self.is_of_graph = pool, is_of_graph
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
