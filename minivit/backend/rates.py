"""The measured peak rates of this machine, with which speeds are compared."""

import importlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from minivit.backend.precision import narrow
from minivit.backend.precision import precision as in_precision
from minivit.backend.workers import Workers


def matmul_rate(n: int = 1024, repeats: int = 5) -> float:
    """Best rate of a float32 (n, n) matrix product on all cores, in GFLOP/s."""
    a = np.random.default_rng(0).random((n, n), dtype=np.float32)
    return 2 * n**3 / best_time(lambda: a @ a, repeats) / 1e9


def device_matmul_rate(cupy: Any, precision: str, repeats: int = 10) -> float:
    """Best rate of a product of random square matrices on the GPU in "float32", "tf32" or "bf16", in GFLOP/s.

    Their size is doubled from 512 until a product takes a millisecond.
    """
    product = importlib.import_module("minivit.backend.cupy_kernels.product").product
    n, seconds = 256, 0.0
    with in_precision(precision):
        while seconds < 1e-3:
            n *= 2
            a = narrow(cupy.asarray(np.random.default_rng(0).standard_normal((n, n), np.float32)))
            out = product(a, a)
            seconds = _best_device_time(cupy, lambda a=a, out=out: product(a, a, out=out), repeats)  # type: ignore[misc]
    return 2 * n**3 / seconds / 1e9


def device_copy_rate(cupy: Any, megabytes: int = 4096, repeats: int = 10) -> float:
    """Best rate of a copy within the GPU's memory: GB/s read plus GB/s written."""
    x, y = cupy.ones(megabytes << 18, "float32"), cupy.empty(megabytes << 18, "float32")

    def copy() -> None:
        y[...] = x

    return 2 * x.nbytes / _best_device_time(cupy, copy, repeats) / 1e9


def _best_device_time(cupy: Any, function: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest call, by CUDA events."""
    times = []
    for _ in range(repeats + 1):  # the first is no measurement
        begin, end = cupy.cuda.Event(), cupy.cuda.Event()
        begin.record()
        function()
        end.record()
        end.synchronize()
        times.append(cupy.cuda.get_elapsed_time(begin, end) / 1e3)
    return max(1e-9, min(times[1:]))


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
