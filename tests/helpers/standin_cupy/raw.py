"""`cupy.RawModule` of the stand-in: CUDA kernels, run on the CPU by tests/helpers/cuda_on_cpu."""

import functools
import re
import types
from collections.abc import Sequence
from typing import Any

import numpy as np

from standin_cupy import device
from standin_cupy.array import ndarray
from standin_cupy.cuda import CUDADriverError, CUDARuntimeError
from standin_cupy.machine import machine, need


class CompileException(Exception):
    """What the compiler says, all lines of it."""

    __module__ = "cupy.cuda.compiler"


STATIC_SHARED = 48 << 10  # bytes


class RawModule:
    """The kernels of a source text."""

    def __init__(self, code: str | None = None, *, options: Sequence[str] = (), **others: Any):
        self.code, self.options = code, tuple(options)

    @functools.cached_property
    def module(self) -> Any:
        import cuda_on_cpu

        self.compile()
        return cuda_on_cpu.Module(self.code, self.options)

    def compile(self, log_stream: Any = None) -> None:
        """Only what the GPU's compiler would refuse; g++ compiles once a kernel is asked for."""
        need("nvrtc")
        defines = dict(re.findall(r"^#define (\w+) (\w+)$", self.code or "", flags=re.M))
        capability = machine.capabilities[device.current().device]
        if capability < (8, 0) and ("bf16" in defines.values() or "attention_forward" in (self.code or "")):
            lines = [f"ptxas line {i}; error : Feature '.bf16' requires .target sm_80 or higher" for i in range(130)]
            raise CompileException("\n".join(lines))

    def get_function(self, name: str) -> "RawKernel":
        if name not in self.module.kernels:
            raise CUDADriverError(f"CUDA_ERROR_NOT_FOUND: named symbol not found: {name}")
        return RawKernel(self, name)


class RawKernel:
    """One kernel. Its arguments are not checked, as on a GPU: strides are ignored, Python numbers are 8 bytes."""

    def __init__(self, source: RawModule, name: str):
        self.source, self.module, self.name = source, source.module, name
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
        if size > machine.shared_memory(device.current().device):
            raise CUDADriverError(f"CUDA_ERROR_INVALID_VALUE: {size} bytes of shared memory")
        self._most_shared = size

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], args: Sequence[Any], *, shared_mem: int = 0):
        self.source.compile()  # for each device, as soon as it is needed there
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
        if x.device.id != device.current().device:
            raise CUDARuntimeError("cudaErrorIllegalAddress: an illegal memory access was encountered")
        start = x.data.ptr - x._memory.ptr
        raw = x._memory.bytes[start:][: x.nbytes]  # from its address on, whatever its strides
        return raw[: len(raw) // x.itemsize * x.itemsize].view(x.dtype)
    if isinstance(x, bool | int | float):
        return np.asarray(x)[()]  # 8 bytes: int64, float64
    if isinstance(x, np.generic | np.ndarray):
        is_null = parameter.is_pointer and x.dtype == np.uint64 and x == 0
        return None if is_null else x
    raise TypeError(f"Unsupported type {type(x)}")
