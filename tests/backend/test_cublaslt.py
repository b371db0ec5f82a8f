"""The matrix product of the CuPy backend, computed in host memory by a strict stand-in for cuBLASLt.

Whole numbers are multiplied, so that every dtype holds the result exactly and every error, however small, is seen.
"""

import contextlib
import importlib
import inspect
import itertools
import sys
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import standin_cupy
from backend.fake_cublaslt import FakeCublasLt, round_to_tf32
from hypothesis import given, settings
from hypothesis import strategies as st
from standin_cupy import cupy, device

from minivit.backend import Array
from minivit.backend.cupy_kernels import cublaslt
from minivit.backend.precision import precision
from minivit.errors import BackendError

product_module = importlib.import_module("minivit.backend.cupy_kernels.product")
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


BOTH_WAYS = pytest.mark.parametrize("library", [fake_library, lambda: None], ids=["cublaslt", "cupy"])


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


# how it is computed


def numbers(*shape: int, dtype: Any = "float32", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def test_bfloat16_is_summed_in_float32_and_may_stay_so():
    a, b = numbers(5, 300, dtype=BFLOAT16), numbers(300, 4, dtype=BFLOAT16, seed=1)
    exact = a.astype("float64") @ b.astype("float64")
    with through(fake_library()):
        wide = product_module.product(cupy.asarray(a), cupy.asarray(b), dtype="float32").get()
        narrow = product_module.product(cupy.asarray(a), cupy.asarray(b)).get()
    assert np.abs(wide - exact).max() < 1e-4
    np.testing.assert_array_equal(narrow, wide.astype(BFLOAT16))
    assert np.abs(narrow.astype("float64") - exact).max() > 1e-3


def test_float32_is_rounded_to_tf32_only_where_that_is_asked_for():
    a, b = numbers(5, 30), numbers(30, 4, seed=1)
    with through(fake_library()):
        x, y = cupy.asarray(a), cupy.asarray(b)
        full = product_module.product(x, y).get()
        with precision("tf32"):
            tf32 = product_module.product(x, y).get()
            double = product_module.product(x.astype("float64"), y.astype("float64")).get()
    np.testing.assert_allclose(full, a @ b, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(tf32, round_to_tf32(a) @ round_to_tf32(b), rtol=1e-5, atol=1e-6)
    assert np.abs(full - tf32).max() > 1e-4
    np.testing.assert_allclose(double, a.astype("float64") @ b.astype("float64"), rtol=1e-12)


def launches(functions: FakeCublasLt) -> list[tuple[int, ...]]:
    """(batch, n, k, m) of each launch."""
    return [(batch, columns, inner, rows) for batch, rows, columns, inner, *_ in functions.launches]


def test_heads_are_looped_over_and_nothing_is_copied(monkeypatch):
    with through(functions := fake_library()):
        monkeypatch.setattr(cupy, "ascontiguousarray", None)
        qkv = cupy.asarray(numbers(5, 7, 3, 2, 8)).transpose(2, 0, 3, 1, 4)
        scores = product_module.product(qkv[0], qkv[1], transpose_b=True)
        assert launches(functions) == [(5, 7, 8, 7)] * 2
        product_module.product(scores, scores, transpose_a=True)
    assert launches(functions)[2:] == [(10, 7, 7, 7)]  # contiguous: both leading axes are one


def test_column_blocks_and_transposes_are_not_copied(monkeypatch):
    with through(functions := fake_library()):
        monkeypatch.setattr(cupy, "ascontiguousarray", None)
        x = cupy.asarray(numbers(6, 20))
        y = product_module.product(x[:, 3:11], x[:, 4:12], transpose_a=True)
        product_module.product(x[::2, :4], y.T[:4], out=x[3:, 12:])
    assert launches(functions) == [(1, 8, 6, 8), (1, 3, 4, 8)]


def test_a_bias_of_the_results_dtype_is_added_by_the_product():
    with through(functions := fake_library()):
        x = cupy.asarray(numbers(4, 4, dtype=BFLOAT16))
        product_module.product(x, x, bias=x[0].copy())
        product_module.product(x, x, bias=x[0].astype("float32"))
        product_module.product(x, x, bias=x[0].astype("float32"), dtype="float32")
    assert [epilogue for *_, epilogue, _ in functions.launches] == [4, 1, 4]


def test_a_problem_is_prepared_once():
    with through(functions := fake_library()) as library:
        x, out = cupy.asarray(numbers(8, 8)), cupy.asarray(numbers(8, 8))
        for _ in range(3):
            product_module.product(x, x, alpha=0.5)
            product_module.product(x, x, out=out, accumulate=True)
        assert functions.heuristic_calls == 1
        kinds = sorted(kind for kind, _ in functions.objects.values())
        assert kinds == ["description", "handle", "layout", "layout", "layout"]
        product_module.product(x, x, transpose_a=True)
        product_module.product(x[:, :6], x[:6])
        assert functions.heuristic_calls == 3
        assert len(library._workspaces) == 1
        with (stream := cupy.cuda.Stream(non_blocking=True)):
            product_module.product(x, x)
        assert len(library._workspaces) == 2
    assert [used for *_, used in functions.launches] == [functions.launches[0][-1]] * 8 + [stream.ptr]


def test_an_address_that_is_less_aligned_is_another_problem():
    with through(functions := fake_library()):
        memory = cupy.zeros(80, "float32")
        for start, prepared in [(0, 1), (0, 1), (4, 2), (1, 3), (3, 3), (64, 3)]:
            product_module.product(memory[start : start + 16].reshape(4, 4), memory[:16].reshape(4, 4))
            assert functions.heuristic_calls == prepared


def test_a_product_is_captured_in_a_graph():
    with through(fake_library()):
        a, b, y = (cupy.asarray(numbers(3, 3, seed=seed)) for seed in range(3))
        before = y.get()
        with (stream := cupy.cuda.Stream(non_blocking=True)):
            product_module.product(a, b, out=y)  # prepares the problem and the workspace
            y.set(before)
            stream.begin_capture()
            product_module.product(a, b, out=y)
            graph = stream.end_capture()
            np.testing.assert_array_equal(y.get(), before)
            a += 1
            graph.launch()
        np.testing.assert_allclose(y.get(), a.get() @ b.get(), rtol=1e-5)


# where cuBLASLt cannot


def test_what_cublaslt_declines_goes_through_cupy():
    functions = fake_library()
    functions.declines = lambda description: True
    with through(functions, fallback=True):
        x = cupy.asarray(numbers(3, 4))
        with pytest.warns(UserWarning, match=r"cannot compute 1 products \(3, 4\) x \(4, 3\), float32 to float32: "):
            y = product_module.product(x, x.T)
        assert_equal(product_module.product(x, x.T), y.get())
        np.testing.assert_allclose(y.get(), x.get() @ x.T.get(), rtol=1e-5)
    assert functions.heuristic_calls == 1
    assert not functions.launches
    assert [kind for kind, _ in functions.objects.values()] == ["handle"]


def test_a_bias_that_cublaslt_declines_is_added_afterwards():
    functions = fake_library()
    functions.declines = lambda description: description["epilogue"] != 1
    with through(functions):
        check((2,), 3, 4, 5, bias="float32", accumulate=True)
    assert functions.launches


def test_a_driver_that_cublaslt_refuses_is_warned_of_once():
    functions = fake_library()
    functions.starts = False
    with through(functions, fallback=True):
        with pytest.warns(UserWarning, match=r"does not start \(CUBLAS_STATUS_NOT_INITIALIZED\)"):
            check((), 2, 3, 4)
        check((), 4, 3, 2)


@pytest.fixture
def fresh() -> Iterator[None]:
    cublaslt.library.cache_clear()
    yield
    cublaslt.library.cache_clear()


@pytest.mark.usefixtures("fresh")
def test_a_missing_library_is_warned_of_once(monkeypatch):
    monkeypatch.delenv("MINIVIT_CUBLASLT", raising=False)
    monkeypatch.setattr(cublaslt, "_load", lambda: None)
    with pytest.warns(UserWarning, match="was not found"):
        assert cublaslt.library() is None
    assert cublaslt.library() is None
    assert cublaslt.library_version() is None


@pytest.mark.usefixtures("fresh")
def test_the_library_can_be_switched_off(monkeypatch):
    monkeypatch.setattr(cublaslt, "_load", fake_library)
    monkeypatch.setenv("MINIVIT_CUBLASLT", "0")
    assert cublaslt.library() is None
    cublaslt.library.cache_clear()
    monkeypatch.setenv("MINIVIT_CUBLASLT", "1")
    assert isinstance(cublaslt.library(), cublaslt.CublasLt)
    assert cublaslt.library_version() == "13.1.0"


def test_an_error_names_the_problem():
    with through(functions := fake_library()):
        x = cupy.asarray(numbers(3, 4))
        product_module.product(x, x.T)
        functions.allowed = lambda address, size: False
        with pytest.raises(BackendError) as error:
            product_module.product(x, x.T)
    expected = "CUBLAS_STATUS_EXECUTION_FAILED: 1 products (3, 4) x (4, 3), float32 to float32"
    assert str(error.value) == f"cublasLtMatmul failed with {expected}"


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
