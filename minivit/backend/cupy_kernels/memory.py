"""The GPU's memory: detects when it has run out, and frees unused parts.

CuPy keeps freed memory in pools, one for each stream that used it. Pools do not share: one may fail to get memory while
another holds plenty that nobody uses. A dropped pool keeps its memory.
"""

import contextlib
import re
from collections.abc import Callable
from typing import Any, TypeVar

from minivit.backend.cupy_kernels import cublaslt

Result = TypeVar("Result")
# In the words of CUDA's runtime and driver, of cuBLAS, and of whatever else allocates.
FULL = re.compile(r"out.of.memory|MemoryAllocation|ALLOC(ATION)?_FAILED", re.IGNORECASE)


def is_full(error: BaseException) -> bool:
    """Whether an error means that memory ran out, in any of the libraries."""
    return isinstance(error, MemoryError) or FULL.search(str(error)) is not None


def with_room(work: Callable[[], Result], free: Callable[[], None]) -> Result:
    """work(), repeated after `free()` if memory ran out the first time."""
    try:
        return work()
    except Exception as error:
        if not is_full(error):
            raise
    free()  # not sooner: what the traceback holds is freed at the end of that block
    return work()


class StreamMemory:
    """Memory for the repeated work of one stream, such as a recorded step; nothing else uses it.

    pool: CuPy's. Call `close` before dropping this.
    """

    def __init__(self, xp: Any, stream: Any):
        self.xp, self.stream, self.device = xp, stream, xp.cuda.Device().id
        self.pool = xp.cuda.MemoryPool()

    def allocating(self) -> contextlib.AbstractContextManager:
        """In this context new arrays are allocated in this memory."""
        return self.xp.cuda.using_allocator(self.pool.malloc)

    def free_shared(self) -> None:
        """Free the unused part of the shared memory."""
        self.xp.get_default_memory_pool().free_all_blocks()

    def free(self) -> None:
        """Free the unused memory here too, except while a graph exists, which uses memory that seems free."""
        self.pool.free_all_blocks()
        self.free_shared()

    def close(self) -> None:
        """Free everything, including the scratch memory of the stream's products."""
        self.stream.synchronize()
        if library := cublaslt.library():
            library.release(self.device, self.stream.ptr)
        with self.xp.cuda.Device(self.device):
            self.free()
