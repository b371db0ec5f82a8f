"""The matrix product of the CuPy backend is NumPy's, for all layouts, through cuBLASLt and through CuPy."""

import contextlib
import inspect
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from product_checks import (
    BFLOAT16,
    TYPES,
    check,
    check_all,
    fake_library,
    numbers,
    product_module,
    through,
)
from standin_cupy import cupy

from minivit.errors import BackendError

BOTH_WAYS = pytest.mark.parametrize("library", [fake_library, lambda: None], ids=["cublaslt", "cupy"])


@st.composite
def placements(draw, axes: int) -> dict[str, Any]:
    """Memory order, gaps and steps of an array: mostly what cuBLASLt can address, and now and then what it cannot."""
    gap = st.tuples(st.integers(0, 2), st.integers(0, 2))
    steps = draw(st.lists(st.sampled_from([1] * 8 + [2, -1]), min_size=axes, max_size=axes))
    return {
        "order": draw(st.permutations(range(axes))),
        "gaps": draw(st.lists(gap, min_size=axes, max_size=axes)),
        "steps": steps,
    }


@st.composite
def cases(draw) -> dict[str, Any]:
    batch = tuple(draw(st.lists(st.integers(1, 3), max_size=3)))
    dtype, result = draw(st.sampled_from(TYPES))
    axes = len(batch) + 2
    return {
        "batch": batch,
        **{size: draw(st.integers(1, 9)) for size in ("n", "k", "m")},
        **{"dtype": dtype, "result": result},
        "placed": (draw(placements(axes)), draw(placements(axes)), draw(st.none() | placements(axes))),
        "transpose": (draw(st.booleans()), draw(st.booleans())),
        "bias": draw(st.sampled_from([None, "float32", result or dtype])),
        "alpha": draw(st.sampled_from([1.0, 2.0, -0.5])),
        "accumulate": draw(st.booleans()),
    }


@BOTH_WAYS
@settings(max_examples=250)
@given(case=cases())
def test_products_equal_numpy_s(library, case):
    with through(library()):
        check(**case)


@BOTH_WAYS
def test_varied_products(library):
    with through(library()):
        check_all()


@BOTH_WAYS
@pytest.mark.parametrize("sizes", [(0, 3, 2), (3, 0, 2), (3, 2, 0), (0, 0, 0)])
@pytest.mark.parametrize("batch", [(), (0,), (2,)])
@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("bias", [None, "float32"])
def test_empty_products(library, batch, sizes, accumulate, bias):
    with through(library()):
        check(batch, *sizes, dtype=BFLOAT16, bias=bias, accumulate=accumulate)


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "message"),
    [
        ((numbers(3), numbers(3, 2)), {}, ValueError, "two axes"),
        ((numbers(2, 3), numbers(2, 3)), {}, ValueError, "do not agree"),
        ((numbers(2, 3), numbers(2, 3)), {"transpose_a": True, "transpose_b": True}, ValueError, "do not agree"),
        ((numbers(4, 2, 3), numbers(3, 2)), {}, ValueError, "do not agree"),
        ((numbers(2, 3), numbers(3, 2)), {"bias": numbers(3)}, ValueError, "bias has shape"),
        ((numbers(2, 3), numbers(3, 2)), {"out": numbers(2, 3)}, ValueError, "out has shape"),
        ((numbers(2, 3), numbers(3, 2)), {"accumulate": True}, ValueError, "needs an out"),
        ((numbers(2, 3), numbers(3, 2, dtype="float64")), {}, TypeError, "no product of float32 and float64"),
        ((numbers(2, 3), numbers(3, 2)), {"dtype": "float64"}, TypeError, "no product"),
        ((numbers(2, 3), numbers(3, 2)), {"out": numbers(2, 2), "dtype": "float64"}, TypeError, "out is float32"),
        ((numbers(2, 3, dtype=int), numbers(3, 2, dtype=int)), {}, TypeError, "no product of int64"),
        ((numbers(2, 3), numbers(3, 2)), {"bias": numbers(2, dtype="float64")}, TypeError, "bias of float64"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, keywords, error, message):
    with through(fake_library()):
        arrays = {name: cupy.asarray(x) if isinstance(x, np.ndarray) else x for name, x in keywords.items()}
        with pytest.raises(error, match=message):
            product_module.product(*map(cupy.asarray, arguments), **arrays)


# these tests are themselves tested: each planted error must be found

PLANTED = [
    ("product", "a=matrices[1],\n        b=matrices[0],", "a=matrices[0],\n        b=matrices[1],"),
    ("product", "(first_b + start_b, first_a + start_a,", "(first_a + start_a, first_b + start_b,"),
    ("product", "transpose_a=layout_b.transposed", "transpose_a=layout_a.transposed"),
    ("product", "transpose_b=layout_a.transposed", "transpose_b=False"),
    ("product", "x.shape[-2:] if stored.transposed else (x.shape[-1], x.shape[-2])", "x.shape[-2:]"),
    ("product", "batch.strides[which]", "batch.strides[0]"),
    ("product", "batch.strides[which]", "2 * batch.strides[which]"),
    ("product", "batch=batch.size", "batch=1"),
    ("product", "float(accumulate)", "0.0"),
    ("product", "float(accumulate)", "1.0"),
    ("product", "xp.add(out, bias, out=out", "xp.add(out, 0, out=out"),
    ("product", "bias is not None and bias.dtype == out.dtype else", "bias is not None else"),
    ("product", "alignment(x.data.ptr, *(start[which] for start in starts))", "256"),
    ("product", "alignment(x.data.ptr, *(start[which] for start in starts))", "alignment(x.data.ptr)"),
    ("product", "return x.shape, x.strides, x.dtype, alignment(x.data.ptr)", "return x.shape, x.strides, x.dtype"),
    ("product", "return x.shape, x.strides, x.dtype, alignment(x.data.ptr)", "return x.shape, x.dtype"),
    ("product", "            out[...] = target\n", "            pass\n"),
    ("strides", "columns if rows == 1 else row_stride", "columns"),
    ("strides", "rows if columns == 1 else column_stride", "rows"),
    ("strides", "row_stride >= columns", "True"),
    ("strides", "size > 1 and stride < 0", "False"),
    ("strides", "axes[-1].strides == tuple(size * stride for stride in strides)", "True"),
    ("strides", "x.itemsize * sum(index * axis.strides", "sum(index * axis.strides"),
    ("strides", "Axis(axes[-1].size * size, strides)", "Axis(size, strides)"),
    ("cublaslt", "byref(self._scalar(alpha))", "byref(self._scalar(1.0))"),
    ("cublaslt", '"float64" if double else "float32"', '"float32"'),
    ("cublaslt", "ctypes.c_double if double else c_float", "c_float"),
    ("cublaslt", "api.COMPUTE_64F if double else", ""),
    ("cublaslt", "api.DESC_TRANSB, c_int32", "api.DESC_TRANSA, c_int32"),
    ("cublaslt", "api.LAYOUT_STRIDED_BATCH_OFFSET, c_int64", "api.LAYOUT_STRIDED_BATCH_OFFSET, c_int32"),
    ("cublaslt", "if bias is not None:", "if False:"),
    ("cublaslt", "api.EPILOGUE_BIAS)", "1)"),
    ("cublaslt", "(a, b, d, d), strict", "(d, d, a, b), strict"),
]
FOUND = (AssertionError, BackendError, RecursionError, UserWarning)  # the last: cuBLASLt was asked for the impossible
MODULES = {name: sys.modules[f"minivit.backend.cupy_kernels.{name}"] for name in ("cublaslt", "strides", "product")}


@contextlib.contextmanager
def edited(name: str, old: str, new: str) -> Iterator[None]:
    """Within this context the module has been run again with its text changed, as have those that import from it."""
    kept = {module: dict(vars(module)) for module in MODULES.values()}
    try:
        for each, module in MODULES.items():
            source = inspect.getsource(module)
            if each == name:
                assert old in source, "the planted error has no place any more"
                source = source.replace(old, new)
            exec(compile(source, str(module.__file__), "exec"), vars(module))
        yield
    finally:
        for module, names in kept.items():
            vars(module).clear()
            vars(module).update(names)


@pytest.mark.parametrize(("module", "old", "new"), PLANTED)
def test_a_planted_error_is_found(module, old, new):
    with (
        edited(module, old, new),
        through(fake_library()),
        pytest.raises(FOUND),
    ):
        check_all()


def test_nothing_planted_nothing_found():
    with edited("product", "", ""), through(fake_library()):
        check_all()
