"""The precision of matrix products, and of the values kept between them (mixed precision).

"float32": as the arrays are. "tf32": the GPU's matrix units round both factors to 10 bits of mantissa. "bf16": the ops
in `NARROW` take and give bfloat16 (float32 with 16 bits of mantissa less: the same range, so losses need no scaling).
Sums inside them, statistics, parameters, their gradients, the residual stream, losses and the optimiser stay float32.
CuPy's arrays really are bfloat16. NumPy has no such type; there float32 arrays are rounded at the same places. This
gives the same numbers, slowly, so any machine can show the effect of mixed precision on a run.
"""

import contextlib
import functools
import importlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np

from minivit.backend.arrays import NUMPY, Array, version_numbers
from minivit.errors import BackendError

PRECISIONS = ("float32", "float64", "tf32", "bf16")
_PRODUCTS: ContextVar[str] = ContextVar("products", default="full")
_WIDE: ContextVar[bool] = ContextVar("wide", default=False)

# Of each op that works in bf16: which arguments are rounded, and which of its gradients. Its value always is.
# Parameters come and their gradients leave in float32: the update would be lost in 8 bits.
NARROW: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "linear": ((0, 1, 2), (0,)),
    "linear_gelu": ((0, 1), (0,)),
    "matmul": ((0, 1), (0, 1)),
    "attention": ((0,), (0,)),
    "attend": ((0, 1, 2), (0, 1, 2)),
    "gelu": ((0,), (0,)),
    "layer_norm": ((), ()),
}


@contextlib.contextmanager
def precision(name: str) -> Iterator[None]:
    """In this context (and this thread) compute products in "tf32" or "bf16"; "float32" and "float64": in full."""
    if name not in PRECISIONS:
        raise ValueError(f'precision: "{name}", expected one of {", ".join(PRECISIONS)}')
    token = _PRODUCTS.set(name if name in ("tf32", "bf16") else "full")
    try:
        yield
    finally:
        _PRODUCTS.reset(token)


def products() -> str:
    """The current precision of products: "full", "tf32" or "bf16"."""
    return _PRODUCTS.get()


@contextlib.contextmanager
def wide_results() -> Iterator[None]:
    """In this context (and this thread) `linear` rounds its factors, but returns float32 in any precision."""
    token = _WIDE.set(True)
    try:
        yield
    finally:
        _WIDE.reset(token)


def results_are_wide() -> bool:
    """Whether `wide_results` is active."""
    return _WIDE.get()


def rounded(op_name: str, function: Callable) -> Callable:
    """`function`, one of `NARROW` or a NumPy kernel for it, with the rounding of bf16."""
    inputs, gradients = NARROW[op_name]
    wide = op_name == "linear" and results_are_wide()
    inputs = inputs[:2] if wide else inputs
    round_result = (lambda y: y) if wide else round_bf16

    def narrow(*values, **params):
        result = function(*(round_bf16(x) if i in inputs else x for i, x in enumerate(values)), **params)
        if result is NotImplemented:
            return result
        y, vjp = result
        if vjp is None:
            return round_result(y), None

        def rounded_vjp(g):
            found = vjp(round_bf16(g))
            return tuple(round_bf16(d) if i in gradients else d for i, d in enumerate(found))

        return round_result(y), rounded_vjp

    return narrow


def round_bf16(x: Any) -> Any:
    """A float32 array rounded to the nearest bfloat16 numbers (ties to even), still float32; other values unchanged."""
    if not isinstance(x, np.ndarray) or x.dtype != np.float32:
        return x
    bits = np.array(x, order="C").view(np.uint32)
    bits += 0x7FFF + ((bits >> 16) & 1)
    bits &= 0xFFFF0000
    y = bits.view(np.float32)
    special = ~np.isfinite(x)  # a NaN made of low bits alone would be rounded away
    if special.any():
        y[special] = x[special]
    return y


def require(name: str) -> None:
    """Raise BackendError, with an alternative, unless the current GPU and its libraries have this precision."""
    if lacking := _lacking(name, importlib.import_module("cupy").cuda.Device().compute_capability, np.__version__):
        raise BackendError(f"precision {name} on a GPU needs {lacking}, or use --precision float32, or --backend numpy")


@functools.cache
def _lacking(name: str, capability: str, numpy_version: str) -> str | None:
    """The missing requirement on a GPU of this compute capability ("75" is 7.5)."""
    if name in ("tf32", "bf16") and int(capability) < 80:
        return f"compute capability 8.0, but this one has {capability[:-1]}.{capability[-1]}: choose another GPU"
    if name == "bf16" and version_numbers(numpy_version) < NUMPY:
        needed = ".".join(map(str, NUMPY))
        return f'NumPy {needed}, this is {numpy_version}: pip install "numpy>={needed}"'
    return None


def bfloat16() -> np.dtype:
    """The dtype of bfloat16 arrays on the current GPU. Raises BackendError if the GPU or a library lacks it."""
    require("bf16")
    try:
        return np.dtype(importlib.import_module("ml_dtypes").bfloat16)
    except ImportError as error:
        raise BackendError("precision bf16 on a GPU needs the package ml_dtypes: pip install ml_dtypes") from error


def narrow(x: Array) -> Array:
    """A CuPy array in the current type of products: float32 becomes bfloat16 in "bf16"."""
    return x.astype(bfloat16()) if products() == "bf16" and x.dtype == "float32" else x


def widened(x: Array) -> Array:
    """`x`, or a float32 copy if it is bfloat16: for an op that computes in full precision."""
    return x if x.dtype.itemsize > 2 else x.astype("float32")
