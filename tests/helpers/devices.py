"""Where a test runs: on NumPy, on the stand-in for CuPy, on CuPy. The fixture `device` of conftest.py chooses.

Tests are written with NumPy arrays; what is here sends them to the current device and brings results back.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import standin_cupy

from minivit import gradcheck
from minivit import ops as minivit_ops
from minivit.backend import get_namespace, is_array
from minivit.errors import BackendError
from minivit.nn import Module
from minivit.tensor import Tensor

DEVICES = ("numpy", "standin", "cupy")
numpy_only = pytest.mark.parametrize("device", ["numpy"], indirect=True)
_CURRENT: list[Any] = [np]  # the array library of the running test, last


@contextlib.contextmanager
def on(device: str) -> Iterator[Any]:
    """Within this context arrays are sent to `device`, one of DEVICES. Skips the test if there is no GPU for "cupy"."""
    with standin_cupy.installed() if device == "standin" else contextlib.nullcontext():
        try:
            xp = get_namespace("numpy" if device == "numpy" else "cupy")
        except BackendError:
            pytest.skip("no GPU that CuPy can use: the CuPy tests did not run")
        _CURRENT.append(xp)
        try:
            yield xp
        finally:
            _CURRENT.pop()


def library() -> Any:
    """The array library of the running test."""
    return _CURRENT[-1]


def to_device(x: Any) -> Any:
    """NumPy arrays, also in lists, tuples and dictionaries, as arrays of the device with the same memory layout."""
    if isinstance(x, dict):
        return {key: to_device(value) for key, value in x.items()}
    if isinstance(x, list | tuple):
        return type(x)(to_device(one) for one in x)
    if not isinstance(x, np.ndarray) or library() is np:
        return x
    backwards = tuple(slice(None, None, -1 if stride < 0 else 1) for stride in x.strides)
    order = sorted(range(x.ndim), key=lambda axis: -abs(x.strides[axis]))
    return _with_gaps(x[backwards].transpose(order)).transpose(np.argsort(order).tolist())[backwards]


def _with_gaps(x: np.ndarray) -> Any:
    """On the device, contiguous if `x` is, else every second element of a larger array along each axis."""
    there = library().asarray(np.ascontiguousarray(x).reshape(x.shape))
    if x.flags.c_contiguous:
        return there
    apart = library().zeros([2 * n + 1 for n in x.shape], dtype=x.dtype)[(slice(1, None, 2),) * x.ndim]
    apart[...] = there
    return apart


def to_host(x: Any) -> Any:
    """Arrays of any device, also in lists and tuples, and Tensors as NumPy arrays; anything else as it is."""
    if isinstance(x, Tensor):
        return to_host(x.data)
    if isinstance(x, list | tuple):
        return type(x)(to_host(one) for one in x)
    return x.get() if is_array(x) and not isinstance(x, np.ndarray) else x


def tensor(x: Any, requires_grad: bool = False, name: str | None = None) -> Tensor:
    """A Tensor on the device; of numbers and lists in float32."""
    return Tensor(to_device(x if isinstance(x, np.ndarray) else np.asarray(x, np.float32)), requires_grad, name)


def placed(module: Module) -> Module:
    """The module, its parameters moved to the device."""
    return module.to("numpy" if library() is np else "cupy")


def on_device(op: Callable) -> Callable:
    """The op `(y, vjp)` as a function of NumPy arrays that computes on the device."""

    @functools.wraps(op)
    def there_and_back(*inputs: Any, **params: Any) -> tuple[Any, Callable]:
        y, vjp = op(*to_device(inputs), **to_device(params))
        return to_host(y), lambda g: to_host(vjp(to_device(g)))

    ORIGINALS[there_and_back] = op
    return there_and_back


ORIGINALS: dict[Callable, Callable] = {}  # what `on_device` made -> what it was made from
ops = SimpleNamespace(**{name: on_device(getattr(minivit_ops, name)) for name in minivit_ops.__all__})


def check_gradients(f: Callable, *inputs: Any, **options: Any) -> None:
    """minivit.gradcheck.check_gradients on the device."""
    gradcheck.check_gradients(f, *to_device(inputs), **options)


def assert_equal(found: Any, expected: Any) -> None:
    """numpy.testing.assert_array_equal for arrays of any device, and Tensors."""
    np.testing.assert_array_equal(to_host(found), to_host(expected))


def assert_allclose(found: Any, expected: Any, **tolerance: float) -> None:
    """numpy.testing.assert_allclose for arrays of any device, and Tensors."""
    np.testing.assert_allclose(to_host(found), to_host(expected), **tolerance)


def leaf(*shape: int, seed: int = 0) -> Tensor:
    """Normal numbers that want a gradient, on the device of the test."""
    return tensor(np.random.default_rng(seed).standard_normal(shape), requires_grad=True)
