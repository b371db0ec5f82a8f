"""Worker threads: NumPy's element-wise functions use one core each but release the interpreter lock, so a batch is
cut into pieces, and each worker runs the whole forward and backward pass of its own."""

import contextvars
import ctypes
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, Self, TypeVar

from minivit.backend import blas
from minivit.backend.cores import available_cores

T = TypeVar("T")
R = TypeVar("R")


def keep_freed_memory() -> None:
    """Ask the C library to keep freed memory for reuse instead of returning it to the system.

    glibc returns large blocks at once, so every large array of every step causes new page faults (about a tenth of a
    step). On other systems this does nothing.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD: serve blocks up to 1 GiB from the heap
    mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD: never shrink the heap
    mallopt(-8, 1)  # M_ARENA_MAX: one heap for all threads, so that one can reuse what another has freed


class Workers:
    """`count` threads, used as a context manager: `with Workers(2) as workers: workers.map(f, items)`.

    With several, the matrix library (BLAS) is limited to one thread in each, since its threads and ours would compete
    for the same cores; with one worker it uses all cores that this process may use.
    """

    def __init__(self, count: int = 1):
        self.count = count
        self._pool: ThreadPoolExecutor | None = None
        self._limits: Any = None

    def __enter__(self) -> Self:
        self._limits = blas.hold_to(1 if self.count > 1 else available_cores())
        if self.count > 1:
            blas.limitable()  # says so if it is not
            self._pool = ThreadPoolExecutor(self.count, "minivit-worker", blas.hold_this_thread)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
        if self._limits is not None:
            self._limits.restore_original_limits()
            self._limits = None

    def map(self, function: Callable[[T], R], items: Iterable[T], size: Callable[[T], float] | None = None) -> list[R]:
        """[function(item) for item in items].

        Items go to the same threads at every call: in turn, or, with `size`, each to the thread with the smallest total
        so far. Each call sees the caller's context (grad mode, kernels). When all threads are done, an exception in any
        of them is raised here. A function must not use the same workers itself.
        """
        items = list(items)
        if self._pool is None or len(items) < 2:
            return [function(item) for item in items]

        def run(share: list[T]) -> list[R]:
            return [function(item) for item in share]

        shares: list[list[int]] = [[] for _ in range(self.count)]
        loads = [0.0] * self.count
        for i, item in enumerate(items):
            thread = loads.index(min(loads)) if size else i % self.count
            shares[thread].append(i)
            loads[thread] += size(item) if size else 0
        context = contextvars.copy_context
        futures = [self._pool.submit(context().run, run, [items[i] for i in share]) for share in shares if share]
        wait(futures)
        results = dict(
            zip([i for share in shares for i in share], [r for f in futures for r in f.result()], strict=True)
        )
        return [results[i] for i in range(len(items))]
