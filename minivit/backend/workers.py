"""Worker threads: NumPy's element-wise functions use one core each but release the interpreter lock, so a batch is
cut into pieces, and each worker runs the whole forward and backward pass of its own."""

import contextvars
import ctypes
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self, TypeVar

from threadpoolctl import threadpool_limits

T = TypeVar("T")
R = TypeVar("R")


def keep_freed_memory() -> None:
    """Ask the C library to keep freed memory for reuse instead of returning it to the system.

    glibc hands large blocks back at once, so every large array of every step costs page faults anew (about a tenth of
    a step). Elsewhere this does nothing.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD: serve blocks up to 1 GiB from the heap
    mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD: never shrink the heap
    mallopt(-8, 1)  # M_ARENA_MAX: one heap for all threads, so that one can reuse what another has freed


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """`count` threads, used as a context manager: `with Workers(2) as workers: workers.map(f, items)`.

    While there are several, the matrix library (BLAS) is held to one thread in each, since its threads and ours
    would take turns on the same cores; with one worker it uses all cores as usual.
    """

    def __init__(self, count: int = 1):
        self.count = count
        self._pool: ThreadPoolExecutor | None = None
        self._limits: Any = None

    def __enter__(self) -> Self:
        if self.count > 1:
            self._limits = threadpool_limits(1, user_api="blas")
            self._pool = ThreadPoolExecutor(self.count, thread_name_prefix="minivit-worker")
        return self

    def __exit__(self, *exception: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._limits.restore_original_limits()
            self._pool = None

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """[function(item) for item in items]: the first of n threads takes items 0, n, 2 n, the second 1, n + 1, ...

        Each call sees the caller's context (grad mode, kernels). An exception in any of them is raised here.
        """
        items = list(items)
        if self._pool is None or len(items) < 2:
            return [function(item) for item in items]

        def run(share: list[T]) -> list[R]:
            return [function(item) for item in share]

        shares = [items[first :: self.count] for first in range(min(self.count, len(items)))]
        futures = [self._pool.submit(contextvars.copy_context().run, run, share) for share in shares]
        results = [future.result() for future in futures]
        return [results[i % self.count][i // self.count] for i in range(len(items))]
