"""Methods and operators of the stand-in's array: those of NumPy that CuPy has too."""

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from standin_cupy.array import BFLOAT16, ndarray, operand, run, write
from standin_cupy.snapshot import METHODS, check_keywords

OFFERED = [  # methods that do what NumPy's do
    "all", "any", "argmax", "argmin", "argsort", "astype", "clip", "conj", "copy", "cumprod", "cumsum", "diagonal",
    "flatten", "max", "mean", "min", "prod", "ravel", "repeat", "reshape", "round", "squeeze", "std", "sum", "swapaxes",
    "take", "trace", "transpose", "var", "view",
]  # fmt: skip
SUMS = ("sum", "mean", "prod", "var", "std", "cumsum", "cumprod")  # of bfloat16, they are added up in float32
BINARY = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "floordiv": "floor_divide",
    "mod": "remainder", "pow": "power", "matmul": "matmul", "and": "bitwise_and", "or": "bitwise_or",
    "xor": "bitwise_xor", "lshift": "left_shift", "rshift": "right_shift",
}  # fmt: skip
COMPARISONS = {
    "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": "equal", "ne": "not_equal",
}  # fmt: skip
UNARY = {"neg": "negative", "abs": "absolute", "invert": "invert", "pos": "positive"}


def attach(cupy: ModuleType) -> None:
    """Give the array its methods, and operators that are the functions of the module."""
    for name in OFFERED:
        setattr(ndarray, name, _method(name))
    for symbol, name in {**BINARY, **COMPARISONS}.items():
        setattr(ndarray, f"__{symbol}__", _operator(cupy, name))
    for symbol, name in BINARY.items():
        setattr(ndarray, f"__r{symbol}__", _operator(cupy, name, reflected=True))
        if symbol != "matmul":
            setattr(ndarray, f"__i{symbol}__", _in_place(cupy, name))
    for symbol, name in UNARY.items():
        setattr(ndarray, f"__{symbol}__", lambda self, name=name: getattr(cupy, name)(self))
    ndarray.__array_ufunc__ = _ufunc_of_numpy(cupy)  # type: ignore[attr-defined]
    ndarray.__array_function__ = _function_of_numpy(cupy)  # type: ignore[attr-defined]


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


def _operator(cupy: ModuleType, name: str, reflected: bool = False) -> Callable:
    def binary(self: ndarray, other: Any) -> Any:
        if getattr(other, "__array_ufunc__", True) is None:  # it wants to be asked itself
            return NotImplemented
        return getattr(cupy, name)(*((other, self) if reflected else (self, other)))

    return binary


def _in_place(cupy: ModuleType, name: str) -> Callable:
    def binary(self: ndarray, other: Any) -> ndarray:
        return getattr(cupy, name)(self, other, out=self)

    return binary


def _ufunc_of_numpy(cupy: ModuleType) -> Callable:
    """NumPy's ufuncs hand over to CuPy's (and so do NumPy's operators, with an array of CuPy on the right)."""

    def hand_over(self: ndarray, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method != "__call__":
            return NotImplemented
        if isinstance(kwargs.get("out"), tuple):
            (kwargs["out"],) = kwargs["out"]
        return getattr(cupy, ufunc.__name__)(*inputs, **kwargs)

    return hand_over


def _function_of_numpy(cupy: ModuleType) -> Callable:
    """NumPy's other functions do so too."""

    def hand_over(self: ndarray, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        counterpart = getattr(cupy, function.__name__, None)
        if counterpart is None or not all(issubclass(t, ndarray | np.ndarray) for t in types):
            return NotImplemented
        return counterpart(*args, **kwargs)

    return hand_over
