"""Checks of the CuPy backend's matrix product, for the tests of it: arrays anywhere in memory, exact results.

Whole numbers are multiplied, so that every dtype holds the result exactly and every error, however small, is seen.
"""

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import standin_cupy
from fake_cublaslt import FakeCublasLt
from standin_cupy import cupy, device

from minivit.backend import Array
from minivit.backend.cupy_kernels import cublaslt
from minivit.backend.cupy_kernels import product as product_module

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


@contextlib.contextmanager
def through(functions: FakeCublasLt | None, fallback: bool = False) -> Iterator[Any]:
    """Within this context products go through this cuBLASLt, and through CuPy only if it is None or with `fallback`."""
    with standin_cupy.installed(), pytest.MonkeyPatch.context() as patch:
        library = None if functions is None else cublaslt.CublasLt(functions)
        patch.setattr(cublaslt, "library", lambda: library)
        patch.setattr(cublaslt, "WORKSPACE_BYTES", 1 << 20)  # the stand-in fills memory, which takes time
        if functions is not None and not fallback:
            patch.setattr(cupy, "matmul", no_fallback)
        yield library
    assert functions is None or not functions.errors, "the stand-in itself failed"


def no_fallback(x: Array, y: Array) -> Array:
    raise AssertionError("a product went through CuPy")


def fake_library() -> FakeCublasLt:
    return FakeCublasLt(device.is_allocated, device.submit_by_address)


# arrays in any place and order of memory


def place(values: np.ndarray, order=None, gaps=None, steps=None) -> tuple[Array, Array]:
    """The values in a larger array of 77s, as (a view of the values' shape, the whole).

    order: axes from the outermost in memory to the innermost. gaps: elements left out before and after, per axis.
    steps: between neighbours along each axis; negative is backwards.
    """
    order = order or list(range(values.ndim))
    gaps = gaps or [(0, 0)] * values.ndim
    steps = steps or [1] * values.ndim
    sizes = [before + n * abs(step) + after for n, (before, after), step in zip(values.shape, gaps, steps, strict=True)]
    windows = [slice(before, size - after) for (before, after), size in zip(gaps, sizes, strict=True)]

    def view_of(whole):
        view = whole.transpose(*np.argsort(order).tolist())[tuple(windows)]
        return view[tuple(slice(None, None, step) for step in steps)]

    host = np.full([sizes[axis] for axis in order], 77, values.dtype)
    view_of(host)[...] = values
    whole = cupy.asarray(host)
    return view_of(whole), whole


def whole_numbers(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    return rng.integers(-2, 3, shape).astype(dtype)


def check(
    batch: tuple[int, ...],
    n: int,
    k: int,
    m: int,
    dtype: Any = "float32",
    result: Any = None,
    placed: tuple[dict, dict, dict | None] = ({}, {}, None),
    transpose: tuple[bool, bool] = (False, False),
    bias: Any = None,
    alpha: float = 1.0,
    accumulate: bool = False,
) -> None:
    """Assert that a product is NumPy's, that nothing beside it is written to, and that its factors are as before."""
    rng = np.random.default_rng(n + 10 * k + 100 * m)
    result = np.dtype(dtype if result is None else result)
    a = whole_numbers(rng, (*batch, k, n) if transpose[0] else (*batch, n, k), dtype)
    b = whole_numbers(rng, (*batch, m, k) if transpose[1] else (*batch, k, m), dtype)
    c = whole_numbers(rng, (*batch, n, m), result) if accumulate else np.full((*batch, n, m), np.nan, result)
    added = None if bias is None else whole_numbers(rng, (m,), bias)
    exact = alpha * np.matmul(
        a.swapaxes(-1, -2).astype("float64") if transpose[0] else a.astype("float64"),
        b.swapaxes(-1, -2).astype("float64") if transpose[1] else b.astype("float64"),
    )
    exact = exact + (c.astype("float64") if accumulate else 0) + (0 if added is None else added.astype("float64"))

    (x, x_whole), (y, y_whole) = place(a, **placed[0]), place(b, **placed[1])
    before = [x_whole.get(), y_whole.get()]
    out, out_whole = (None, None) if placed[2] is None and not accumulate else place(c, **(placed[2] or {}))
    z = product_module.product(
        x,
        y,
        transpose_a=transpose[0],
        transpose_b=transpose[1],
        bias=None if added is None else cupy.asarray(added),
        alpha=alpha,
        out=out,
        dtype=result,
        accumulate=accumulate,
    )
    assert z.dtype == result
    assert_equal(z, exact)
    for whole, old in zip((x_whole, y_whole), before, strict=True):
        assert_equal(whole, old)
    if out is None:
        assert z.flags.c_contiguous
    else:
        assert z is out
        assert_equal(out_whole, place(exact.astype(result), **(placed[2] or {}))[1].get())


def assert_equal(x: Array, expected: np.ndarray) -> None:
    """The same shapes and numbers (NaN of bfloat16 is not known to NumPy's comparison)."""
    np.testing.assert_array_equal(x.get().astype("float64"), np.asarray(expected, "float64"))


TYPES = [("float64", None), ("float32", None), (BFLOAT16, None), (BFLOAT16, "float32")]


def numbers(*shape: int, dtype: Any = "float32", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


# the same without chance: for what is to be found in every run

HEADS = {
    "order": (0, 2, 1, 3)
}  # (B, H, N, K) as it lies in (B, N, H, K): two leading axes that no one stride describes
COLUMN_MAJOR = {"order": (1, 0)}
GAPS, SHIFTED_GAPS = {"gaps": [(0, 0), (2, 1)]}, {"gaps": [(0, 0), (1, 2)]}
BACKWARDS = {"steps": [-1, 1]}
EVERY_OTHER = {"steps": [1, 2]}
VARIED: list[dict[str, Any]] = [
    {"batch": (), "n": 3, "k": 4, "m": 5},
    {"batch": (), "n": 4, "k": 4, "m": 4, "transpose": (True, False)},
    {"batch": (), "n": 4, "k": 4, "m": 4, "transpose": (False, True)},
    {"batch": (), "n": 2, "k": 7, "m": 3, "placed": (GAPS, GAPS, GAPS), "accumulate": True},
    {"batch": (), "n": 2, "k": 7, "m": 3, "placed": (SHIFTED_GAPS, GAPS, GAPS)},  # the same, less aligned
    {"batch": (), "n": 2, "k": 7, "m": 3, "placed": (COLUMN_MAJOR, COLUMN_MAJOR, COLUMN_MAJOR), "accumulate": True},
    {"batch": (), "n": 2, "k": 3, "m": 3, "placed": (BACKWARDS, EVERY_OTHER, EVERY_OTHER), "accumulate": True},
    {"batch": (), "n": 1, "k": 5, "m": 1, "placed": (BACKWARDS, EVERY_OTHER, BACKWARDS)},
    {"batch": (), "n": 5, "k": 1, "m": 6, "transpose": (True, True), "placed": (GAPS, GAPS, None)},
    {"batch": (3,), "n": 2, "k": 3, "m": 4, "alpha": -0.5, "accumulate": True},
    {"batch": (2, 1, 3), "n": 2, "k": 3, "m": 4},
    {"batch": (3,), "n": 2, "k": 3, "m": 4, "placed": ({"steps": [-1, 1, 1]},) * 3, "accumulate": True},
    {"batch": (2, 3), "n": 2, "k": 3, "m": 4, "placed": (HEADS, HEADS, None), "transpose": (False, True)},
    {"batch": (3, 2), "n": 2, "k": 3, "m": 4, "placed": ({}, HEADS, HEADS)},
    {"batch": (), "n": 3, "k": 4, "m": 5, "bias": "float32"},
    {"batch": (2,), "n": 3, "k": 4, "m": 5, "bias": "float32", "alpha": 2.0, "accumulate": True},
]


def check_all() -> None:
    for (dtype, result), case in itertools.product(TYPES, VARIED):
        check(**case, dtype=dtype, result=result)
        if "bias" in case:
            check(**{**case, "bias": result or dtype}, dtype=dtype, result=result)
    # rows, and then a batch, that are all the same memory
    row, matrix = np.arange(3.0), np.arange(12.0).reshape(3, 4)
    rows = cupy.broadcast_to(cupy.asarray(row), (5, 2, 3))
    matrices = cupy.broadcast_to(cupy.asarray(matrix), (5, 3, 4))
    assert_equal(product_module.product(rows, matrices), np.broadcast_to(row @ matrix, (5, 2, 4)))
