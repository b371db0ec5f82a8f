"""The package's CUDA kernels on the CPU: their sources, specialised or with an error planted, and arrays for them."""

import functools

import numpy as np
import pytest

from cuda_on_cpu import NO_COMPILER, CompilationError, Module, available
from minivit.backend.cupy_kernels import launch

SOURCES = launch.SOURCES
needs_compiler = pytest.mark.skipif(not available(), reason=NO_COMPILER)
both_orders = pytest.mark.parametrize("reverse", [False, True], ids=["ascending", "descending"])
both_types = pytest.mark.parametrize("dtype", ["float", "bf16"])

Bug = tuple[str, str]  # in the source text: what is replaced, by what


def source(file: str, bug: Bug | None = None, **defines: object) -> str:
    """The text that the compiler gets. Raises AssertionError if there is nothing that the bug would replace."""
    text = launch.source(file, defines)
    if bug:
        assert text.count(bug[0]) >= 1, f"{file} has no {bug[0]!r}"
        text = text.replace(*bug)
    return text


@functools.cache
def module(file: str, bug: Bug | None = None, **defines: object) -> Module:
    """The compiled kernels of a file."""
    return Module(source(file, bug, **defines), ["-std=c++17"], optimise=bug is None)


def stored(values: np.ndarray, dtype: str) -> np.ndarray:
    """Numbers as a kernel stores them: float32, or bfloat16 in the upper half of one (rounded to nearest even)."""
    if dtype == "float":
        return np.ascontiguousarray(values, np.float32)
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def numbers(array: np.ndarray) -> np.ndarray:
    """What is stored, as float64."""
    if array.dtype == np.uint16:
        array = (array.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(invalid="ignore"):  # NaN that nobody wrote
        return array.astype(np.float64)


def unwritten(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """An array for a kernel to fill: all NaN."""
    return np.full(shape, 0x7FFF, np.uint16) if dtype == "bf16" else np.full(shape, np.nan, np.float32)


def normal(rng: np.random.Generator, shape: tuple[int, ...], dtype: str, scale: float = 1.0) -> np.ndarray:
    """Normally distributed numbers, as stored."""
    return stored(scale * rng.standard_normal(shape), dtype)


def assert_near(actual: np.ndarray, expected: np.ndarray, tolerance: float = 2e-6) -> None:
    """Every element agrees but for one rounding to the type of `actual` and `tolerance` times the largest element."""
    expected = np.asarray(expected, np.float64)
    assert actual.shape == expected.shape
    rounding = 2.0**-8 if actual.dtype == np.uint16 else 2.0**-23
    atol = tolerance * np.abs(expected).max(initial=1e-30)
    np.testing.assert_allclose(numbers(actual), expected, rtol=rounding, atol=atol)


def must_fail(check, *args, **kwargs) -> None:
    """Assert that a check finds the error that was planted: in one of the two orders, as the tests run both."""
    for reverse in (False, True):
        try:
            check(*args, **kwargs, reverse=reverse)
        except CompilationError:
            raise
        except (AssertionError, RuntimeError):
            return
    pytest.fail("the planted error was not found")
