"""The array of the stand-in: a NumPy array behind CuPy's manners."""

import itertools
import math
import operator
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np

from standin_cupy import device
from standin_cupy.cuda import Device
from standin_cupy.machine import machine
from standin_cupy.memory import MemoryPointer

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


class ndarray:
    """shape, dtype, order: of new memory, which holds poison; memptr, strides: of memory that there is."""

    __array_priority__ = 100
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, shape, dtype=float, memptr=None, strides=None, order="C"):
        if np.dtype(dtype) == BFLOAT16 and not machine.has_bfloat16:
            raise ValueError("Unsupported dtype bfloat16")
        if memptr is None:
            nbytes = math.prod(shape if isinstance(shape, tuple | list) else (shape,)) * np.dtype(dtype).itemsize
            memory = device.allocate(nbytes)
            memptr = MemoryPointer(memory, memory.ptr)
        self._memory = memptr.mem
        self._host = np.ndarray(shape, dtype, memptr.mem.bytes, memptr.ptr - memptr.mem.ptr, strides, order)
        self.base = None

    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    nbytes = property(lambda self: self._host.nbytes)
    itemsize = property(lambda self: self._host.itemsize)
    strides = property(lambda self: self._host.strides)
    T = property(lambda self: self.transpose())
    device = property(lambda self: Device(self._memory.device))

    @property
    def data(self) -> MemoryPointer:
        return MemoryPointer(self._memory, self._host.__array_interface__["data"][0])

    @property
    def flags(self) -> SimpleNamespace:
        flags = self._host.flags
        return SimpleNamespace(
            c_contiguous=flags.c_contiguous, f_contiguous=flags.f_contiguous, owndata=self.base is None
        )

    # to and from the host

    def get(self, stream=None, order="C", out=None, blocking=True) -> np.ndarray:
        device.synchronise(".get()", stream)
        if out is None:
            return self._host.copy(order)
        out[...] = self._host
        return out

    def set(self, arr: np.ndarray, stream=None) -> None:
        if not isinstance(arr, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if arr.dtype != self.dtype:
            raise TypeError(f"{arr.dtype} array cannot be set to {self.dtype} array")
        if arr.shape != self.shape:
            raise ValueError(f"Shape mismatch. Old shape: {self.shape}, new shape: {arr.shape}")
        if not (self._host.flags.c_contiguous or self._host.flags.f_contiguous):
            raise RuntimeError("Cannot set to non-contiguous array")
        device.refuse_in_capture(".set()", stream)
        self._host[...] = arr

    def item(self) -> Any:
        device.synchronise(".item()")
        return self._host.item()

    def tolist(self) -> Any:
        return self.get().tolist()

    def tobytes(self, order="C") -> bytes:
        return self.get().tobytes(order)

    def __bool__(self) -> bool:
        device.synchronise("bool()")
        return bool(self._host)

    def __float__(self) -> float:
        device.synchronise("float()")
        return float(self._host)

    def __int__(self) -> int:
        device.synchronise("int()")
        return int(self._host)

    def __index__(self) -> int:
        device.synchronise("index()")
        return operator.index(self._host)

    def __repr__(self) -> str:
        return repr(self.get())

    def __str__(self) -> str:
        return str(self.get())

    def __format__(self, spec: str) -> str:
        return format(self.get(), spec)

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self):
        if self.ndim == 0:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    def __copy__(self) -> "ndarray":
        return self.copy()

    def __deepcopy__(self, memo: dict) -> "ndarray":
        return self.copy()

    def __reduce__(self):
        return wrap, (self.get(),)

    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array "
            "explicitly."
        )

    # elements

    def __getitem__(self, index):
        index, advanced = self._index(index)
        if not advanced:
            return view(self, self._host[index()])
        return run(lambda: self._host[index()], [self])

    def __setitem__(self, index, value):
        index, _ = self._index(index)
        if isinstance(value, np.ndarray) and value.ndim:
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        host = value if isinstance(value, np.ndarray) else operand(value)

        def assign() -> None:
            self._host[index()] = host

        write(assign, self)

    def fill(self, value):
        self[...] = value

    def scatter_add(self, slices, value):
        index, host = self._index(slices)[0], operand(value)
        write(lambda: np.add.at(self._host, index(), host), self)

    def _index(self, index: Any) -> tuple[Callable[[], tuple], bool]:
        """(what gives the index for the host array, whether it is advanced). Arrays are read when it is used.

        Integer arrays beyond the ends wrap around. Lists and NumPy arrays are sent to the device first.
        """
        parts = [to_index_array(part) for part in (index if isinstance(index, tuple) else (index,))]
        if not any(part is Ellipsis for part in parts):
            parts.append(Ellipsis)  # keeps results of no axes arrays
        is_mask = [isinstance(part, ndarray) and part.dtype == bool for part in parts]
        if any(is_mask):
            device.synchronise("a boolean index")
        axes = [
            part.ndim if mask else int(part is not None and part is not Ellipsis)
            for part, mask in zip(parts, is_mask, strict=True)
        ]
        axes[next(i for i, part in enumerate(parts) if part is Ellipsis)] = self.ndim - sum(axes)
        starts = list(itertools.accumulate([0, *axes[:-1]]))

        def host_index() -> tuple:
            found = list(parts)
            for i, part in enumerate(parts):
                if isinstance(part, ndarray):
                    wraps = not is_mask[i] and starts[i] < self.ndim and self.shape[starts[i]]
                    found[i] = part._host % self.shape[starts[i]] if wraps else part._host
            return tuple(found)

        return host_index, any(isinstance(part, ndarray) for part in parts)


def wrap(host: Any, keep_order: bool = False) -> ndarray:
    """A copy of a host array (or a NumPy scalar) on the device: C-contiguous, or in the order of the host array."""
    host = np.asarray(host)
    array = ndarray(host.shape, host.dtype, strides=np.empty_like(host).strides if keep_order else None)
    array._host[...] = host
    return array


def view(array: ndarray, host: np.ndarray) -> ndarray:
    """Another look at the memory of a device array. Its base is the array that owns it, as in CuPy."""
    other = object.__new__(ndarray)
    other._host = host
    other._memory = array._memory
    other.base = array if array.base is None else array.base
    return other


def run(compute: Callable[[], Any], sources: Sequence[ndarray], keep_order: bool = False) -> Any:
    """The results of a device operation: arrays and NumPy scalars become device arrays, or views of `sources`.

    New arrays are C-contiguous, unless keep_order.
    """

    def store(result: Any) -> tuple[Any, list[ndarray]]:
        new: list[ndarray] = []
        if isinstance(result, tuple | list):
            return type(result)(_delivered(one, sources, keep_order, new) for one in result), new
        return _delivered(result, sources, keep_order, new), new

    return device.run(compute, store)


def _delivered(result: Any, sources: Sequence[ndarray], keep_order: bool, new: list[ndarray]) -> Any:
    if not isinstance(result, np.ndarray | np.generic):
        return result
    for source in sources:
        if result is source._host:
            return source
        if isinstance(result, np.ndarray) and np.may_share_memory(result, source._host):
            return view(source, result)
    new.append(wrap(result, keep_order))
    return new[-1]


def write(action: Callable[[], Any], target: ndarray) -> ndarray:
    """A device operation that writes into `target`, which is returned."""
    device.run(action, lambda _: (None, []), [target._host])
    return target


def operand(x: Any) -> Any:
    """The host array of a device array; numbers as they are. Anything else cannot be computed with on a device."""
    if isinstance(x, ndarray):
        return x._host
    if isinstance(x, bool | int | float | complex | np.generic):
        return x
    raise TypeError(f"Unsupported type {type(x)}")


def to_index_array(part: Any) -> Any:
    if part is None or part is Ellipsis or isinstance(part, slice | ndarray):
        return part
    if np.isscalar(part) and not isinstance(part, bool | np.bool_):
        return part
    if isinstance(part, range):
        part = list(part)
    device.refuse_in_capture("an index from the host")
    host = np.asarray(part)
    return wrap(host.astype(np.int32) if host.size == 0 and isinstance(part, list | tuple) else host)


ndarray.__module__ = "cupy"
