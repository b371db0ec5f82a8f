"""`cupy.RawModule` of the stand-in: CUDA kernels, run on the CPU by tests/cuda_on_cpu."""

import functools
import types
from collections.abc import Sequence
from typing import Any

import numpy as np

from standin_cupy import device
from standin_cupy.array import ndarray
from standin_cupy.cuda import CUDADriverError

STATIC_SHARED, MOST_SHARED = 48 << 10, 227 << 10  # bytes


class RawModule:
    """The kernels of a source text."""

    def __init__(self, code: str | None = None, *, options: Sequence[str] = (), **others: Any):
        self.code, self.options = code, tuple(options)

    @functools.cached_property
    def module(self) -> Any:
        import cuda_on_cpu

        return cuda_on_cpu.Module(self.code, self.options)

    def compile(self, log_stream: Any = None) -> None:
        self.module  # noqa: B018  (compiled by being asked for)

    def get_function(self, name: str) -> "RawKernel":
        if name not in self.module.kernels:
            raise CUDADriverError(f"CUDA_ERROR_NOT_FOUND: named symbol not found: {name}")
        return RawKernel(self.module, name)


class RawKernel:
    """One kernel. Its arguments are not checked, as on a GPU: strides are ignored, Python numbers are 8 bytes."""

    def __init__(self, module: Any, name: str):
        self.module, self.name = module, name
        self._most_shared = STATIC_SHARED

    @property
    def kernel(self) -> types.SimpleNamespace:
        """The compiled function, of which only the address is known."""
        return types.SimpleNamespace(ptr=id(self))

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        return self._most_shared

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size: int) -> None:
        if size > MOST_SHARED:
            raise CUDADriverError(f"CUDA_ERROR_INVALID_VALUE: {size} bytes of shared memory")
        self._most_shared = size

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], args: Sequence[Any], *, shared_mem: int = 0):
        if shared_mem > self._most_shared:
            raise CUDADriverError(
                f"CUDA_ERROR_INVALID_VALUE: {self.name} asks for {shared_mem} bytes of shared memory; "
                f"max_dynamic_shared_size_bytes is {self._most_shared}"
            )
        values = [_argument(arg, p) for arg, p in zip(args, self.module.kernels[self.name], strict=True)]
        device.submit(lambda: self.module.launch(self.name, tuple(grid), tuple(block), values, shared_mem))


def _argument(x: Any, parameter: Any) -> Any:
    """What a launch passes for an argument."""
    if isinstance(x, ndarray):
        start = x.data.ptr - x._memory.ptr
        raw = x._memory.bytes[start:][: x.nbytes]  # from its address on, whatever its strides
        return raw[: len(raw) // x.itemsize * x.itemsize].view(x.dtype)
    if isinstance(x, bool | int | float):
        return np.asarray(x)[()]  # 8 bytes: int64, float64
    if isinstance(x, np.generic | np.ndarray):
        is_null = parameter.is_pointer and x.dtype == np.uint64 and x == 0
        return None if is_null else x
    raise TypeError(f"Unsupported type {type(x)}")
