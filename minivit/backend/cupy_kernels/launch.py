"""Compiling CUDA sources at run time and launching their kernels on CuPy arrays.

A kernel is compiled for the types and widths it is used with (preprocessor symbols), once per process; CuPy keeps the
compiled code in a cache on disk.
"""

import functools
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minivit.backend.arrays import Array, xp_of

SOURCES = Path(__file__).parent / "cuda"
STATIC_SHARED_MEMORY = 48 << 10  # bytes a block may use without asking for more


class Launcher:
    """A compiled kernel, called as f(grid, block, *arguments, shared_memory=0).

    Arguments are CuPy arrays (C-contiguous), None for a null pointer, NumPy scalars of exactly the parameter's type, or
    structured NumPy arrays of no axes.
    """

    def __init__(self, function: Any, name: str, cupy: Any):
        self.function, self.name, self.cupy = function, name, cupy
        self._resident: dict[tuple[int, int], int] = {}  # by device and threads of a block

    def __call__(self, grid: int | tuple[int, ...], block: int, *arguments: Any, shared_memory: int = 0) -> None:
        for argument in arguments:
            _check(argument, self.name)
        function = self.function
        if shared_memory > STATIC_SHARED_MEMORY and function.max_dynamic_shared_size_bytes < shared_memory:
            function.max_dynamic_shared_size_bytes = shared_memory
        grid = grid if isinstance(grid, tuple) else (grid,)
        # CuPy has no null pointers: an address of 0 is one
        values = tuple(np.uint64(0) if a is None else a for a in arguments)
        function(grid, (block,), values, shared_mem=shared_memory)

    def blocks(self, items: int, block: int) -> int:
        """How many blocks of `block` threads share the work best, if any number can: as many as run at a time.

        More would come in waves, of which the last is not full. But no more than there are items.
        """
        cuda = self.cupy.cuda
        key = cuda.Device().id, block
        if key not in self._resident:
            runtime, occupancy = cuda.runtime, cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor
            count = runtime.deviceGetAttribute(runtime.cudaDevAttrMultiProcessorCount, key[0])
            self._resident[key] = count * occupancy(self.function.kernel.ptr, block, 0)
        return max(1, min(items, self._resident[key]))


def kernel(file: str, name: str, **defines: object) -> Launcher:
    """The kernel `name` of `cuda/<file>`, compiled with the preprocessor symbols `defines`."""
    return _kernel(file, name, tuple(sorted(defines.items())), importlib.import_module("cupy"))


@functools.cache
def _kernel(file: str, name: str, defines: tuple[tuple[str, object], ...], cupy: Any) -> Launcher:
    return Launcher(_module(file, defines, cupy).get_function(name), name, cupy)


@functools.cache
def _module(file: str, defines: tuple[tuple[str, object], ...], cupy: Any) -> Any:
    return cupy.RawModule(code=source(file, dict(defines)), options=("-std=c++17",))


def source(file: str, defines: Mapping[str, object]) -> str:
    """What is compiled: the symbols, what all kernels share, what a family shares (attention.cuh), the file."""
    # Not as options: the compiler's own headers come before the code, and they use T as a name.
    symbols = [f"#define {symbol} {value}" for symbol, value in defines.items()]
    family = SOURCES / f"{file.partition('.')[0].partition('_')[0]}.cuh"
    parts = [SOURCES / "device.cuh", *([family] if family.exists() else []), SOURCES / file]
    return "\n".join([*symbols, *(part.read_text(encoding="utf-8") for part in parts)])


def _check(argument: Any, kernel_name: str) -> None:
    """A Python number would be passed as 8 bytes, and strides are not passed at all: neither is noticed on a GPU."""
    if isinstance(argument, int | float):
        raise TypeError(f"{kernel_name}: pass numpy.int32({argument}) or another NumPy scalar, not a Python number")
    if hasattr(argument, "flags") and not argument.flags.c_contiguous:
        raise ValueError(f"{kernel_name}: an array of shape {argument.shape} is not contiguous")


def type_name(x: Array) -> str:
    """The CUDA name of the element type of `x`: "float" or "bf16"."""
    return {"float32": "float", "bfloat16": "bf16"}[x.dtype.name]


def fits(*arrays: Array | None) -> bool:
    """Whether the kernels can work on these arrays: float32 or bfloat16, not empty."""
    return all(x is None or (x.dtype.name in ("float32", "bfloat16") and x.size > 0) for x in arrays)


def contiguous(x: Array) -> Array:
    """`x`, or a copy of it in row-major order."""
    return x if x.flags.c_contiguous else xp_of(x).ascontiguousarray(x)


def aligned(x: Array) -> Array:
    """`x`, or a copy of it in row-major order that can be read 16 bytes at a time: a view may begin anywhere."""
    x = contiguous(x)
    return x if x.data.ptr % 16 == 0 else x.copy()
