"""Devices by name: on first use CuPy is imported, tested and given its kernels."""

import importlib
from typing import Any

import numpy as np

from minivit.backend.arrays import (
    CUPY,
    Array,
    cupy_command,
    first_line,
    is_registered,
    register_array_type,
    to_numpy,
    version_numbers,
)
from minivit.errors import BackendError


def get_namespace(backend: str) -> Any:
    """The array library called `backend`: "numpy", "cupy" (never falls back), or "auto" (CuPy if it works).

    Raises BackendError, in one line, for an unknown name or a CuPy that cannot be used.
    """
    if backend == "numpy":
        return np
    if backend == "cupy":
        return _load_cupy()
    if backend == "auto":
        try:
            return _load_cupy()
        except BackendError:
            return np
    raise BackendError(f'unknown backend "{backend}": choose numpy, cupy or auto')


def _load_cupy() -> Any:
    try:
        cupy = importlib.import_module("cupy")
    except ImportError as error:
        raise BackendError(
            "backend cupy: CuPy is not installed; install it for your CUDA version with "
            f"`{cupy_command(13)}` (or cuda12x), or use --backend numpy"
        ) from error
    except Exception as error:  # built for another NumPy, for instance
        raise BackendError(f"backend cupy: CuPy is broken ({first_line(error)}); use --backend numpy") from error
    if not is_registered(cupy.ndarray):
        _try_out(cupy)
        register_array_type(cupy.ndarray, cupy)
        importlib.import_module("minivit.backend.cupy_kernels").register(cupy)
    return cupy


def _try_out(cupy: Any) -> None:
    """Raise BackendError for a CuPy that is too old, has no GPU or cannot compile kernels."""
    try:
        if cupy.cuda.runtime.getDeviceCount() < 1:
            raise RuntimeError("no CUDA device is visible")
    except Exception as error:
        raise BackendError(f"backend cupy: no GPU can be used ({first_line(error)}); use --backend numpy") from error
    command = cupy_command(cupy.cuda.runtime.runtimeGetVersion() // 1000)
    if version_numbers(cupy.__version__) < CUPY:
        raise BackendError(
            f"backend cupy: CuPy {cupy.__version__} is too old, {CUPY[0]}: `{command}`; or use --backend numpy"
        )
    try:
        cupy.arange(2)  # a kernel that needs CUDA's compiler and headers
    except Exception as error:
        raise BackendError(
            f"backend cupy: no kernel runs on the GPU ({first_line(error)}); if CUDA lacks a part: `{command}`; "
            "or use --backend numpy"
        ) from error


def asarray(x: Any, backend: str = "numpy", dtype: Any = None) -> Array:
    """`x` (an array of any library, a list, a number) as an array of `backend`; copies only if necessary."""
    xp = get_namespace(backend)
    return np.asarray(to_numpy(x), dtype=dtype) if xp is np else xp.asarray(x, dtype=dtype)
