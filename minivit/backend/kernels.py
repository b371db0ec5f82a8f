"""The table of faster kernels: (op name, array type, vjp wanted) -> a function with exactly the op's contract.

The op in `minivit.ops` stays the only definition of the mathematics. A kernel is a second, faster function with the
same arguments and the same `(y, vjp)` result, and one conformance test holds each to its op. `tensor.lift` asks
`chosen` at every call, so registering a kernel is enough to use it. A kernel returns NotImplemented for arguments that
it cannot handle, and the op runs instead. In inference a kernel registered with vjp=False is preferred: it keeps
nothing and returns `(y, None)`.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np

from minivit.backend.precision import NARROW, products, rounded

_TABLE: dict[tuple[str, type, bool], Callable] = {}
_MODE: ContextVar[str] = ContextVar("kernels", default="fused")


def register(op_name: str, array_type: type, vjp: bool = True) -> Callable[[Callable], Callable]:
    """Decorator: use the function for op `op_name` whenever its first array is an `array_type`.

    vjp=False: only where no derivative is wanted; the function returns `(y, None)`.
    """

    def add(kernel: Callable) -> Callable:
        _TABLE[op_name, array_type, vjp] = kernel
        return kernel

    return add


def find(op_name: str, array_type: type, vjp: bool = True) -> Callable | None:
    """The kernel that replaces op `op_name` for arrays of `array_type`, or None to run the op itself."""
    if _MODE.get() == "reference":
        return None
    kernel = _TABLE.get((op_name, array_type, vjp))
    return kernel if kernel or vjp else _TABLE.get((op_name, array_type, True))


def chosen(op_name: str, op: Callable, values: Sequence[Any], recording: bool) -> Callable:
    """The function to call instead of `op` for arrays `values`: the table's kernel, with the op as fallback, or the op.
    In bf16 both round as `precision` describes. recording: whether a derivative will be needed."""
    array_type = type(values[0] if values else None)
    kernel = find(op_name, array_type, recording)
    if op_name in NARROW and array_type is np.ndarray and products() == "bf16":
        kernel, op = kernel and rounded(op_name, kernel), rounded(op_name, op)
    return functools.partial(_kernel_or_op, kernel, op) if kernel else op


def _kernel_or_op(kernel: Callable, op: Callable, *args: Any, **params: Any) -> Any:
    result = kernel(*args, **params)
    return op(*args, **params) if result is NotImplemented else result


def registered() -> dict[tuple[str, type, bool], Callable]:
    """A copy of the table, for the conformance test."""
    return dict(_TABLE)


@contextlib.contextmanager
def kernels(mode: str) -> Iterator[None]:
    """In this context (and this thread) run the readable ops ("reference") or the table's kernels ("fused")."""
    if mode not in ("reference", "fused"):
        raise ValueError(f'kernels: mode is "{mode}", expected "reference" or "fused"')
    token = _MODE.set(mode)
    try:
        yield
    finally:
        _MODE.reset(token)
