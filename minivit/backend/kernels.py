"""The table of faster kernels: (op name, array type, vjp wanted) -> a function with exactly the op's contract.

The op in `minivit.ops` stays the only definition of the mathematics; a kernel is a second, faster function with the
same arguments and the same `(y, vjp)` result, and one conformance test holds each to its op. `tensor.lift` looks
the table up at every call, so registering a kernel is all it takes to use it. A kernel that cannot handle some
arguments returns NotImplemented for them, and the op runs instead. Where no derivative will be asked for (inference),
a kernel registered with vjp=False is preferred: it keeps nothing and returns `(y, None)`.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar

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


def registered() -> dict[tuple[str, type, bool], Callable]:
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
