"""The table of faster kernels: (op name, array type) -> a function with exactly the op's contract.

The op in `minivit.ops` stays the only definition of the mathematics; a kernel is a second, faster function with the
same arguments and the same `(y, vjp)` result, and one conformance test holds each to its op. `tensor.lift` looks
the table up at every call, so registering a kernel is all it takes to use it. A kernel that cannot handle some
arguments returns NotImplemented for them, and the op runs instead.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

_TABLE: dict[tuple[str, type], Callable] = {}
_MODE: ContextVar[str] = ContextVar("kernels", default="fused")


def register(op_name: str, array_type: type) -> Callable[[Callable], Callable]:
    """Decorator: use the function for op `op_name` whenever its first array is an `array_type`."""

    def add(kernel: Callable) -> Callable:
        _TABLE[op_name, array_type] = kernel
        return kernel

    return add


def find(op_name: str, array_type: type) -> Callable | None:
    """The kernel that replaces op `op_name` for arrays of `array_type`, or None to run the op itself."""
    if _MODE.get() == "reference":
        return None
    return _TABLE.get((op_name, array_type))


def registered() -> dict[tuple[str, type], Callable]:
    """A copy of the table, for the conformance test."""
    return dict(_TABLE)


@contextlib.contextmanager
def kernels(mode: str) -> Iterator[None]:
    """Within this context (and this thread) run the readable ops ("reference") or the table's kernels ("fused")."""
    if mode not in ("reference", "fused"):
        raise ValueError(f'kernels: mode is "{mode}", expected "reference" or "fused"')
    token = _MODE.set(mode)
    try:
        yield
    finally:
        _MODE.reset(token)
