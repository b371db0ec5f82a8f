"""Compiling CUDA sources at run time and launching their kernels on CuPy arrays.

A kernel is compiled for the types and widths it is used with (preprocessor symbols), once per process; CuPy keeps the
compiled code in a cache on disk.
"""

import functools
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from minivit.backend.arrays import Array, xp_of

SOURCES = Path(__file__).parent / "cuda"
STATIC_SHARED_MEMORY = 48 << 10  # bytes a block may use without asking for more
Launcher = Callable[..., None]


def kernel(file: str, name: str, **defines: object) -> Launcher:
    """The kernel `name` of `cuda/<file>`, compiled with the preprocessor symbols `defines`.

    The result is called as f(grid, block, *arguments, shared_memory=0); arguments are CuPy arrays (C-contiguous), None
    for a null pointer, NumPy scalars of exactly the parameter's type, or structured NumPy arrays of no axes.
    """
    return _kernel(file, name, tuple(sorted(defines.items())), importlib.import_module("cupy"))


@functools.cache
def _kernel(file: str, name: str, defines: tuple[tuple[str, object], ...], cupy: Any) -> Launcher:
    module = _module(file, defines, cupy)
    function = module.get_function(name)

    def launch(grid: int | tuple[int, ...], block: int, *arguments: Any, shared_memory: int = 0) -> None:
        for argument in arguments:
            _check(argument, name)
        if shared_memory > STATIC_SHARED_MEMORY and function.max_dynamic_shared_size_bytes < shared_memory:
            function.max_dynamic_shared_size_bytes = shared_memory
        grid = grid if isinstance(grid, tuple) else (grid,)
        # CuPy has no null pointers: an address of 0 is one
        values = tuple(np.uint64(0) if a is None else a for a in arguments)
        function(grid, (block,), values, shared_mem=shared_memory)

    return launch


@functools.cache
def _module(file: str, defines: tuple[tuple[str, object], ...], cupy: Any) -> Any:
    # Not as options: the compiler's own headers come before the code, and they use T as a name.
    symbols = [f"#define {symbol} {value}" for symbol, value in defines]
    code = "\n".join([*symbols, *((SOURCES / part).read_text(encoding="utf-8") for part in ("device.cuh", file))])
    return cupy.RawModule(code=code, options=("-std=c++17",))


def _check(argument: Any, kernel_name: str) -> None:
    """A Python number would be passed as 8 bytes, and strides are not passed at all: neither is noticed on a GPU."""
    if isinstance(argument, int | float):
        raise TypeError(f"{kernel_name}: pass numpy.int32({argument}) or another NumPy scalar, not a Python number")
    if hasattr(argument, "flags") and not argument.flags.c_contiguous:
        raise ValueError(f"{kernel_name}: an array of shape {argument.shape} is not contiguous")


def most_shared_memory(cupy: Any) -> int:
    """Bytes that a block may ask for: 227 KiB on compute capability 9.0, 163 KiB on 8.0."""
    return _most_shared_memory(cupy, cupy.cuda.Device().id)


@functools.cache
def _most_shared_memory(cupy: Any, device: int) -> int:
    runtime = cupy.cuda.runtime
    return runtime.deviceGetAttribute(runtime.cudaDevAttrMaxSharedMemoryPerBlockOptin, device)


def type_name(x: Array) -> str:
    """The CUDA name of the element type of `x`: "float" or "bf16"."""
    return {"float32": "float", "bfloat16": "bf16"}[x.dtype.name]


def fits(*arrays: Array | None) -> bool:
    """Whether the kernels can work on these arrays: float32 or bfloat16, not empty."""
    return all(x is None or (x.dtype.name in ("float32", "bfloat16") and x.size > 0) for x in arrays)


def contiguous(x: Array) -> Array:
    """`x`, or a copy of it in row-major order."""
    return x if x.flags.c_contiguous else xp_of(x).ascontiguousarray(x)


def blocks(items: int, most: int = 1024) -> int:
    """A number of thread blocks for kernels that take any: enough to fill a large GPU, no more than there is work."""
    return max(1, min(items, most))
