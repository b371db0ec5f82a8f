"""The module `cupy` of the stand-in: NumPy's function of each name that CuPy has too, on device arrays."""

import functools
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from standin_cupy import cuda, device
from standin_cupy.array import BFLOAT16, ndarray, operand, run, wrap, write
from standin_cupy.machine import machine, need
from standin_cupy.memory import POISON
from standin_cupy.methods import SUMS, attach
from standin_cupy.raw import RawModule
from standin_cupy.snapshot import CONSTANTS, FUNCTIONS, UFUNCS, check_keywords

CREATION = {"arange", "empty", "eye", "full", "identity", "linspace", "ones", "tri", "zeros"}  # take no arrays
KEEP_ORDER = {"copy", "empty_like", "full_like", "ones_like", "zeros_like"}
PLAIN = {"broadcast_shapes", "can_cast", "common_type", "isscalar", "issubdtype", "ndim", "promote_types",
         "result_type", "shape", "size"}  # fmt: skip  # what they return is known on the host
WAITING = {"argwhere", "flatnonzero", "nonzero", "unique", "extract", "compress"}  # the result's size depends on data
PRODUCTS = {"dot", "einsum", "inner", "kron", "tensordot", "vdot"}  # through cuBLAS
ABSENT = {"put", "place", "copyto", "putmask", "fill_diagonal", "save", "savez", "load", "fromfile", "allclose"}


class Ufunc:
    """One of CuPy's element-wise functions: no `where=`, results in C order, `reduce` of sums and products only."""

    def __init__(self, name: str):
        self.name = self.__name__ = name
        self._ufunc = getattr(np, name)
        if name in ("add", "multiply"):
            self.reduce = self._reduce

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        check_keywords(self.name, ["out", "casting", "dtype"], kwargs)
        need("nvrtc")
        args, (out,) = args[: self._ufunc.nin], (*args[self._ufunc.nin :], kwargs.pop("out", None))[:1]
        hosts = [operand(arg) for arg in args]
        if out is None:
            sources = [arg for arg in args if isinstance(arg, ndarray)]
            return run(lambda: self._ufunc(*hosts, **kwargs), sources)
        if not isinstance(out, ndarray):
            raise TypeError(f"out must be a cupy.ndarray, not {type(out)}")
        return write(lambda: self._ufunc(*hosts, out=out._host, **kwargs), out)

    def at(self, array: ndarray, index: Any, values: Any) -> None:
        host_index, host = array._index(index)[0], operand(values)
        write(lambda: self._ufunc.at(array._host, host_index(), host), array)

    def _reduce(self, array: ndarray, axis=0, dtype=None, out=None, keepdims=False) -> ndarray:
        function = getattr(cupy, {"add": "sum", "multiply": "prod"}[self.name])
        return function(array, axis=axis, dtype=dtype, out=out, keepdims=keepdims)


class Module(types.ModuleType):
    """Attributes are made when they are asked for; what CuPy has not, or the stand-in does not offer, is an
    AttributeError."""

    ndarray = ndarray
    RawModule = RawModule
    ufunc = Ufunc
    cuda = cuda.cuda

    def __getattr__(self, name: str) -> Any:
        found = _attribute(name)
        setattr(self, name, found)
        return found


def _attribute(name: str) -> Any:
    if name in OWN:
        return OWN[name]
    if name in UFUNCS and hasattr(np, name):
        return Ufunc(name)
    if name in CONSTANTS and hasattr(np, name):
        return getattr(np, name)
    if name not in FUNCTIONS or not hasattr(np, name) or name in ABSENT:
        raise AttributeError(f"module 'cupy' has no attribute {name!r} (or the stand-in does not offer it)")
    function = getattr(np, name)
    return function if name in PLAIN and name not in ("shape", "ndim", "size") else _function(name, function)


def _function(name: str, function: Callable) -> Callable:
    """NumPy's function for device arrays."""

    @functools.wraps(function)
    def on_device(*args: Any, **kwargs: Any) -> Any:
        check_keywords(name, FUNCTIONS[name], kwargs)
        sources: list[ndarray] = []
        hosts = [to_host(arg, sources) for arg in args]
        out = kwargs.pop("out", None)
        host_kwargs = {key: to_host(value, sources) for key, value in kwargs.items()}
        if name not in CREATION and not sources:
            raise TypeError(f"{name}: Unsupported type {type(args[0]) if args else None}")
        if name in WAITING or (name == "where" and len(args) == 1):
            device.synchronise(name)
        if not name.startswith(("empty", "zeros")):
            need("nvrtc")  # for the kernels that CuPy itself writes
        if name in PRODUCTS:
            device.refuse_cublas_in_capture()
            need("cublas")
        compute = functools.partial(_compute, name, function, hosts, host_kwargs)
        if out is not None:
            return write(lambda: np.copyto(out._host, compute()), out)
        result = run(compute, sources, keep_order=name in KEEP_ORDER)
        if name.startswith("empty"):
            result._memory.bytes.fill(POISON)
        return result

    return on_device


def _compute(name: str, function: Callable, hosts: list[Any], kwargs: dict[str, Any]) -> Any:
    narrow = any(isinstance(host, np.ndarray) and host.dtype == BFLOAT16 for host in hosts)
    if narrow and name == "einsum":
        raise TypeError("einsum: bfloat16 is not supported")
    if narrow and name in (*SUMS, *PRODUCTS) and "dtype" not in kwargs:
        return np.asarray(function(*map(_widened, hosts), **kwargs)).astype(BFLOAT16)
    return function(*hosts, **kwargs)


def _widened(host: Any) -> Any:
    return host.astype(np.float32) if isinstance(host, np.ndarray) and host.dtype == BFLOAT16 else host


def to_host(x: Any, sources: list[ndarray]) -> Any:
    """An argument as NumPy's function takes it; device arrays in it are added to `sources`. No array of the host is
    taken."""
    if isinstance(x, ndarray):
        sources.append(x)
        return x._host
    if isinstance(x, list | tuple):
        return type(x)(to_host(one, sources) for one in x)
    if isinstance(x, np.ndarray):
        raise TypeError(f"Unsupported type {type(x)}")
    return x


def array(obj, dtype=None, copy=True, order="K", subok=False, ndmin=0, *, blocking=False) -> ndarray:
    """A new array from a device array, or from the host's."""
    if isinstance(obj, ndarray):
        return obj.astype(dtype or obj.dtype, order=order, copy=copy)
    host = np.array(obj, dtype=dtype, copy=None, order=order, ndmin=ndmin)
    if host.dtype.kind not in "biufc" and host.dtype != BFLOAT16:
        raise ValueError(f"Unsupported dtype {host.dtype}")
    device.refuse_in_capture("a copy from the host")
    return wrap(host, keep_order=True)


def asarray(a, dtype=None, order=None, *, copy=None, blocking=False) -> ndarray:
    return array(a, dtype, copy=bool(copy), order=order or "K")


def ascontiguousarray(a, dtype=None) -> ndarray:
    """A C-contiguous array, the same one if it is."""
    if isinstance(a, ndarray) and a.flags.c_contiguous and dtype in (None, a.dtype):
        return a
    return array(a, dtype, order="C")


def asnumpy(a, stream=None, order="C", out=None, *, blocking=True) -> np.ndarray:
    return a.get(stream, order, out, blocking) if isinstance(a, ndarray) else np.asarray(a)


def matmul(x1, x2, /, out=None, **kwargs: Any) -> ndarray:
    """The product of matrices and stacks of them. bfloat16: of two matrices only, added up in float32."""
    check_keywords("matmul", FUNCTIONS["matmul"], kwargs)
    hosts = [operand(x1), operand(x2)]
    device.refuse_cublas_in_capture()
    need("cublas")
    narrow = [host.dtype == BFLOAT16 for host in hosts]
    if any(narrow) and max(host.ndim for host in hosts) > 2:
        raise TypeError("matmul: bfloat16 with more than two axes failed on typecheck")

    def compute() -> np.ndarray:
        product = np.matmul(*map(_widened, hosts), **kwargs)
        return np.asarray(product).astype(BFLOAT16) if all(narrow) else product

    if out is None:
        return run(compute, [])
    if not out.flags.c_contiguous or out.dtype != np.result_type(*hosts):
        raise ValueError("matmul: out is not C-contiguous, or of another dtype")
    return write(lambda: np.copyto(out._host, compute()), out)


def get_array_module(*args: Any) -> types.ModuleType:
    return cupy if any(isinstance(arg, ndarray) for arg in args) else np


def array_equal(a1, a2, equal_nan=False) -> ndarray:
    hosts = operand(a1), operand(a2)
    return run(lambda: np.bool_(np.array_equal(*hosts, equal_nan=equal_nan)), [])


OWN: dict[str, Any] = {
    "array": array,
    "array_equal": array_equal,
    "asarray": asarray,
    "ascontiguousarray": ascontiguousarray,
    "asnumpy": asnumpy,
    "get_array_module": get_array_module,
    "get_default_memory_pool": lambda: device.default_pool,
    "is_available": lambda: bool(machine.capabilities),
    "matmul": matmul,
}
cupy = Module("cupy", __doc__)
attach(cupy)
