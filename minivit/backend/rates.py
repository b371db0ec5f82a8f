"""What this machine can do at best, measured: the ceilings that speeds are compared with."""

import time
from collections.abc import Callable

import numpy as np

from minivit.backend.workers import Workers


def matmul_rate(n: int = 1024, repeats: int = 5) -> float:
    """Best rate of a float32 (n, n) matrix product on all cores, in GFLOP/s."""
    a = np.random.default_rng(0).random((n, n), dtype=np.float32)
    return 2 * n**3 / best_time(lambda: a @ a, repeats) / 1e9


def copy_rate(workers: Workers, megabytes: int = 64, repeats: int = 5) -> float:
    """Best rate at which the workers together copy arrays too large for a cache: GB/s read plus GB/s written."""
    pairs = [(np.ones(megabytes << 18, np.float32), np.ones(megabytes << 18, np.float32)) for _ in range(workers.count)]
    seconds = best_time(lambda: workers.map(lambda pair: np.copyto(*pair), pairs), repeats)
    return sum(x.nbytes + y.nbytes for x, y in pairs) / seconds / 1e9


def best_time(function: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest call."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return min(times)
