"""The array of the stand-in: a NumPy array behind CuPy's manners."""

import functools
import itertools
import math
import operator
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np

from standin_cupy import device
from standin_cupy.device import Memory, MemoryPointer
from standin_cupy.snapshot import METHODS, check_keywords

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
OFFERED = [  # methods that do what NumPy's do
    "all", "any", "argmax", "argmin", "argsort", "astype", "clip", "conj", "copy", "cumprod", "cumsum", "diagonal",
    "flatten", "max", "mean", "min", "prod", "ravel", "repeat", "reshape", "round", "squeeze", "std", "sum", "swapaxes",
    "take", "trace", "transpose", "var", "view",
]  # fmt: skip
SUMS = ("sum", "mean", "prod", "var", "std", "cumsum", "cumprod")  # of bfloat16, they are added up in float32


class ndarray:
    """shape, dtype, order: of new memory, which holds poison; memptr, strides: of memory that there is."""

    __array_priority__ = 100
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, shape, dtype=float, memptr=None, strides=None, order="C"):
        if memptr is None:
            nbytes = math.prod(shape if isinstance(shape, tuple | list) else (shape,)) * np.dtype(dtype).itemsize
            memory = Memory(nbytes)
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
    device = property(lambda self: SimpleNamespace(id=0))

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

    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array "
            "explicitly."
        )

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        """NumPy's ufuncs hand over to CuPy's (and so do NumPy's operators, with an array of CuPy on the right)."""
        import standin_cupy.functions as functions

        if method != "__call__":
            return NotImplemented
        if isinstance(kwargs.get("out"), tuple):
            (kwargs["out"],) = kwargs["out"]
        return getattr(functions.cupy, ufunc.__name__)(*inputs, **kwargs)

    def __array_function__(self, function, types, args, kwargs):
        import standin_cupy.functions as functions

        counterpart = getattr(functions.cupy, function.__name__, None)
        if counterpart is None or not all(issubclass(t, ndarray | np.ndarray) for t in types):
            return NotImplemented
        return counterpart(*args, **kwargs)

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

    def deliver(result: Any, new: list[ndarray]) -> Any:
        if isinstance(result, tuple | list):
            return type(result)(deliver(one, new) for one in result)
        if not isinstance(result, np.ndarray | np.generic):
            return result
        for source in sources:
            if result is source._host:
                return source
            if isinstance(result, np.ndarray) and np.may_share_memory(result, source._host):
                return view(source, result)
        new.append(wrap(result, keep_order))
        return new[-1]

    def store(result: Any) -> tuple[Any, list[ndarray]]:
        new: list[ndarray] = []
        return deliver(result, new), new

    return device.run(compute, store)


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


def _method(name: str) -> Callable:
    def method(self: ndarray, *args: Any, **kwargs: Any) -> Any:
        check_keywords(f"ndarray.{name}", METHODS[name], kwargs)
        if name == "copy" and not args and not kwargs:
            args = ("C",)
        args = tuple(operand(a) if isinstance(a, ndarray) else a for a in args)
        out = kwargs.pop("out", None)
        compute = functools.partial(_apply_method, name, self._host, args, kwargs)
        if out is None:
            sources = [] if name in ("copy", "flatten") else [self]
            return run(compute, sources, keep_order=name in ("astype", "copy"))
        return write(lambda: np.copyto(out._host, compute()), out)

    method.__name__ = name
    return method


def _apply_method(name: str, host: np.ndarray, args: tuple, kwargs: dict[str, Any]) -> Any:
    if name in SUMS and host.dtype == BFLOAT16:
        return np.asarray(getattr(host.astype(np.float32), name)(*args, **kwargs)).astype(BFLOAT16)
    if name == "astype":
        kwargs = {key: value for key, value in kwargs.items() if value is not None}  # CuPy's defaults are None
    return getattr(host, name)(*args, **kwargs)


def _operator(name: str, reflected: bool = False) -> Callable:
    def binary(self: ndarray, other: Any) -> Any:
        import standin_cupy.functions as functions

        if getattr(other, "__array_ufunc__", True) is None:  # it wants to be asked itself
            return NotImplemented
        pair = (other, self) if reflected else (self, other)
        return getattr(functions.cupy, name)(*pair)

    return binary


def _in_place(name: str) -> Callable:
    def binary(self: ndarray, other: Any) -> ndarray:
        import standin_cupy.functions as functions

        return getattr(functions.cupy, name)(self, other, out=self)

    return binary


def _unary(name: str) -> Callable:
    def unary(self: ndarray) -> ndarray:
        import standin_cupy.functions as functions

        return getattr(functions.cupy, name)(self)

    return unary


ndarray.__module__ = "cupy"
for _name in OFFERED:
    setattr(ndarray, _name, _method(_name))
for _symbol, _function in {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "floordiv": "floor_divide",
    "mod": "remainder", "pow": "power", "matmul": "matmul", "and": "bitwise_and", "or": "bitwise_or",
    "xor": "bitwise_xor", "lshift": "left_shift", "rshift": "right_shift",
}.items():  # fmt: skip
    setattr(ndarray, f"__{_symbol}__", _operator(_function))
    setattr(ndarray, f"__r{_symbol}__", _operator(_function, reflected=True))
    if _symbol != "matmul":
        setattr(ndarray, f"__i{_symbol}__", _in_place(_function))
for _symbol, _function in {
    "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": "equal", "ne": "not_equal",
}.items():  # fmt: skip
    setattr(ndarray, f"__{_symbol}__", _operator(_function))
for _symbol, _function in {"neg": "negative", "abs": "absolute", "invert": "invert", "pos": "positive"}.items():
    setattr(ndarray, f"__{_symbol}__", _unary(_function))
