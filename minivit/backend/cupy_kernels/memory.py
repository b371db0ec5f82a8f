"""The GPU's memory: when it has run out, and how what nobody uses is given back.

CuPy keeps freed memory in pools, for the stream that it was used on. Pools exchange nothing: where one cannot get
memory, another may hold plenty that nobody uses. And a pool that is dropped keeps what it holds.
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
    """Whether an error says that there was too little memory, whichever library has met it."""
    return isinstance(error, MemoryError) or FULL.search(str(error)) is not None


def with_room(work: Callable[[], Result], free: Callable[[], None]) -> Result:
    """work(), a second time after `free()` if the memory was too small for the first."""
    try:
        return work()
    except Exception as error:
        if not is_full(error):
            raise
    free()  # not sooner: what the traceback holds is freed at the end of that block
    return work()


class StreamMemory:
    """Memory for what one stream computes again and again, such as a recorded step: nobody else gets it.

    pool: CuPy's. Whoever drops this calls `close` before.
    """

    def __init__(self, xp: Any, stream: Any):
        self.xp, self.stream, self.device = xp, stream, xp.cuda.Device().id
        self.pool = xp.cuda.MemoryPool()

    def allocating(self) -> contextlib.AbstractContextManager:
        """Within this context new arrays are in this memory."""
        return self.xp.cuda.using_allocator(self.pool.malloc)

    def free_shared(self) -> None:
        """Give the GPU back what nobody uses of the memory that everybody shares."""
        self.xp.get_default_memory_pool().free_all_blocks()

    def free(self) -> None:
        """Give the GPU back what nobody uses, here too; not while there is a graph, which uses what seems free."""
        self.pool.free_all_blocks()
        self.free_shared()

    def close(self) -> None:
        """Give back everything, the scratch memory of the stream's products included."""
        self.stream.synchronize()
        if library := cublaslt.library():
            library.release(self.device, self.stream.ptr)
        with self.xp.cuda.Device(self.device):
            self.free()
