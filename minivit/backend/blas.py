"""The matrix library (BLAS) behind NumPy's products: its name, and whether its threads can be limited."""

import contextlib
import ctypes
import functools
import logging
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import threadpoolctl

ACCELERATE = "/System/Library/Frameworks/Accelerate.framework/Accelerate"
# What NumPy says of the floating-point flags that the library leaves after a product. On some Macs it leaves them where
# all is finite (numpy/numpy#28687).
FALSE_ALARM = r".*encountered in (matmul|matvec|vecmat|\w*dot|inner|einsum)$"
ONE_THREAD = 1  # BLAS_THREADING_SINGLE_THREADED of Accelerate's thread_api.h


def libraries() -> list[dict[str, Any]]:
    """threadpoolctl's information on each matrix library loaded by this process."""
    return [library for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]


def hold_to(threads: int) -> Any:
    """Limit the libraries to this number of threads. Returns None if they use no more already, otherwise an object
    whose `restore_original_limits` undoes this."""
    if all((library["num_threads"] or 1) <= threads for library in libraries()):
        return None
    return threadpoolctl.threadpool_limits(threads, user_api="blas")


def built_with() -> str:
    """The library that NumPy was built with: "scipy-openblas", "mkl", "accelerate" and so on; "" if unknown."""
    with contextlib.suppress(TypeError, KeyError, AttributeError):
        found = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return str(found["name"]) if found["found"] else ""
    return "the matrix library"


def trouble() -> str:
    """The reason why the library cannot be limited to one thread per worker, and the remedy; "" if it can."""
    name = built_with()
    if libraries() or not name:  # without a library there are no threads
        return ""
    if name.lower() != "accelerate":
        return (
            f"{name} is unknown to threadpoolctl {threadpoolctl.__version__}: upgrade it, "
            "python -m pip install --upgrade threadpoolctl"
        )
    if set_accelerate_threading() or os.environ.get("VECLIB_MAXIMUM_THREADS", "").strip() == "1":
        return ""
    return "Accelerate cannot be limited before macOS 15: set VECLIB_MAXIMUM_THREADS=1 before the start"


@functools.cache
def limitable() -> bool:
    """Whether the library can be limited to one thread per worker. If not, one line reports this once.

    It is logged, because a warning would end a program that runs under `python -W error`.
    """
    reason = trouble()
    if reason:
        logging.getLogger("minivit").warning("matrix products use threads of their own: %s", reason)
    return not reason


def cries_wolf() -> bool:
    """Whether NumPy may give false warnings about finite products here: it does so now, or this is a Mac."""
    with warnings.catch_warnings(record=True) as caught, np.errstate(all="warn"):
        warnings.simplefilter("always")
        for dtype in (np.float32, np.float64):
            _ = np.ones((64, 64), dtype) @ np.ones((64, 64), dtype)
    return bool(caught) or sys.platform == "darwin"


def set_accelerate_threading() -> Callable[[int], int] | None:
    """Accelerate's function that sets the threading of the calling thread's products; macOS has it since 15."""
    if sys.platform != "darwin":
        return None
    try:
        function = ctypes.CDLL(ACCELERATE).BLASSetThreading
    except (OSError, AttributeError):
        return None
    function.argtypes, function.restype = [ctypes.c_uint], ctypes.c_int
    return function


def hold_this_thread() -> None:
    """Limit products of the calling thread to that thread, if Accelerate computes them."""
    function = set_accelerate_threading()
    if function:
        function(ONE_THREAD)
