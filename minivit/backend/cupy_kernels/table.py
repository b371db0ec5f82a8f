"""Collects the kernels of this package before CuPy is known to be present."""

from collections.abc import Callable

KERNELS: dict[tuple[str, bool], Callable] = {}


def register(op_name: str, vjp: bool = True) -> Callable[[Callable], Callable]:
    """Decorator, as `kernels.register` for CuPy's arrays."""

    def add(kernel: Callable) -> Callable:
        KERNELS[op_name, vjp] = kernel
        return kernel

    return add
