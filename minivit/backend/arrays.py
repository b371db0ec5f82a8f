"""Arrays: finds the library of an array, and moves data between NumPy and CuPy.

Every function of minivit reads the array library from the arrays it is given (`xp_of`), never from a global setting, so
one process can use both. Data crosses between devices only in `devices.asarray` and `to_numpy`.
"""

import importlib
import math
import re
from typing import Any

import numpy as np

Array = Any  # a numpy.ndarray or a cupy.ndarray; neither library offers a type that covers both

_NAMESPACES: dict[type, Any] = {np.ndarray: np}


def register_array_type(array_type: type, namespace: Any) -> None:
    """Make `xp_of` return `namespace` for arrays of `array_type` (used by CuPy and test doubles)."""
    _NAMESPACES[array_type] = namespace


def is_registered(array_type: type) -> bool:
    """Whether `array_type` has been registered with `register_array_type`."""
    return array_type in _NAMESPACES


def xp_of(x: Array) -> Any:
    """The array library of `x`: the module numpy or cupy. Python and NumPy scalars count as NumPy."""
    namespace = _NAMESPACES.get(type(x))
    if namespace is None:
        root = type(x).__module__.partition(".")[0]
        namespace = importlib.import_module("cupy") if root == "cupy" else np
    return namespace


def is_array(x: Any) -> bool:
    """True for arrays of a known library; False for Python and NumPy scalars, lists and None."""
    return type(x) in _NAMESPACES or isinstance(x, tuple(_NAMESPACES)) or type(x).__module__.startswith("cupy")


CUPY, NUMPY = (14,), (2, 1, 2)  # the first CuPy with bfloat16, and the first NumPy with which it has it


def cupy_command(cuda: int) -> str:
    """The command that installs CuPy for this major version of CUDA, with the parts of CUDA that it needs."""
    return f'pip install "cupy-cuda{cuda}x[ctk]>={CUPY[0]}" "numpy>={".".join(map(str, NUMPY))}" ml_dtypes'


def version_numbers(version: str) -> tuple[int, ...]:
    """(14, 0) from "14.0.0rc1": the leading numbers, for comparison."""
    return tuple(map(int, re.match(r"[\d.]*\d|", version)[0].split("."))) if version[:1].isdigit() else ()  # type: ignore[index]


def is_of_gpu(error: BaseException) -> bool:
    """Whether CuPy or a CUDA library has raised this error, whatever its type."""
    return type(error).__module__.partition(".")[0] in ("cupy", "cupy_backends", "cupyx", "cuda")


def first_line(error: BaseException) -> str:
    """The first line of an error's message; its type if it has none."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__).strip()


def to_numpy(x: Any) -> np.ndarray:
    """`x` as a NumPy array: itself if it is one, else copied from its device."""
    return x.get() if hasattr(x, "get") and is_array(x) else np.asarray(x)


def stretches(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Whether an array of `shape` broadcasts to `target`."""
    last = target[max(0, len(target) - len(shape)) :]
    return len(shape) <= len(target) and all(n in (1, m) for n, m in zip(shape, last, strict=True))


def asarray_like(x: Any, like: Array) -> Array:
    """`x` (a NumPy array or numbers) as an array of the library and dtype of `like`."""
    return xp_of(like).asarray(x, dtype=like.dtype)


def masked(x: Array, m: Array) -> Array:
    """x m, and 0 wherever m is 0, also for an infinite x.   m: factors of at least 0, of a shape that broadcasts."""
    xp = xp_of(x)
    finite = xp is np and math.isfinite(np.vdot(x, x))  # far cheaper than to choose
    return x * m if finite else xp.where(m > 0, x, 0) * m
