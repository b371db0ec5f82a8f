"""How the CuPy backend uses cuBLASLt: what it launches, what it prepares once, and what happens where it cannot."""

import gc
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import standin_cupy
from fake_cublaslt import FakeCublasLt, round_to_tf32
from product_checks import (
    BFLOAT16,
    assert_equal,
    check,
    check_all,
    fake_library,
    numbers,
    product_module,
    through,
)
from standin_cupy import cupy

from minivit.backend.cupy_kernels import cublaslt
from minivit.backend.precision import precision
from minivit.errors import BackendError

# how it is computed


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


# timing its algorithms


@pytest.fixture
def tuned(monkeypatch) -> None:
    monkeypatch.setenv("MINIVIT_CUBLASLT_TUNE", "1")


@pytest.mark.usefixtures("tuned")
@pytest.mark.parametrize(("times", "best"), [([1.0, 3.0, 1.0, 2.0], 1), ([9.0, 2.0, 1.0, 3.0], 0)])
def test_the_fastest_algorithm_is_used_from_then_on(monkeypatch, times, best):
    """times: of each algorithm's first run, which is not counted, and of the runs that are."""
    with through(functions := fake_library()):
        elapsed = iter(times)
        monkeypatch.setattr(cupy.cuda, "get_elapsed_time", lambda start, end: next(elapsed))
        x = cupy.asarray(numbers(4, 4))
        product_module.product(x, x)
        timed = len(functions.algorithms_used) - 1
        product_module.product(x, x)
    assert set(functions.algorithms_used[:timed]) == {0, 1}
    assert functions.algorithms_used[timed:] == [best, best]


@pytest.mark.usefixtures("tuned")
def test_timing_changes_no_result():
    with through(functions := fake_library()):
        check_all()  # also of products that add to what is there
        assert 1 in functions.algorithms_used


@pytest.mark.usefixtures("tuned")
def test_an_algorithm_that_fails_is_not_chosen():
    with through(functions := fake_library()):
        functions.refused = {0}
        check((), 3, 4, 5)
    assert functions.algorithms_used[-1] == 1


@pytest.mark.usefixtures("tuned")
def test_nothing_is_timed_in_a_capture():
    with through(functions := fake_library()):
        x, y = cupy.asarray(numbers(4, 4)), cupy.zeros((4, 4), "float32")
        with (stream := cupy.cuda.Stream(non_blocking=True)):
            stream.begin_capture()
            product_module.product(x, x, out=y)
            graph = stream.end_capture()
            assert functions.algorithms_used == [0]
            graph.launch()
        np.testing.assert_allclose(y.get(), x.get() @ x.get(), rtol=1e-5)


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


class Installed:
    """A library that says which version it is."""

    def __init__(self, version: int):
        self.cublasLtGetVersion = lambda: version


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize(
    ("cuda", "libraries", "expected"),
    [
        (12, {"libcublasLt.so.13": 130100, "libcublasLt.so.12": 120405}, 120405),
        (13, {"libcublasLt.so.13": 130100, "libcublasLt.so.12": 120405}, 130100),
        (12, {"libcublasLt.so.13": 130100}, None),
        (13, {"libcublasLt.so.12": 120405, "found": 120405}, None),
        (12, {"libcublasLt.so.13": 130100, "found": 120100}, 120100),
        (12, {"found": 130100, "wheel": 120800}, 120800),
        (13, {"found": 130200}, 130200),
    ],
    ids=str,
)
def test_the_library_is_that_of_cupy_s_cuda(cuda, libraries, expected, monkeypatch, tmp_path):
    """Whatever else is installed. "found": what NVIDIA's finder gives; "wheel": in site-packages."""
    names = {"found": "/somewhere/libcublasLt", "wheel": str(tmp_path / f"nvidia/cublas/lib/libcublasLt.so.{cuda}")}
    if "wheel" in libraries:
        Path(names["wheel"]).parent.mkdir(parents=True)
        Path(names["wheel"]).touch()
    at = {names.get(name, name): Installed(version) for name, version in libraries.items()}

    def load(name):
        if name not in at:
            raise OSError(name)
        return at[name]

    def find(name):
        return SimpleNamespace(abs_path=names["found"])

    with standin_cupy.installed(cuda=cuda), monkeypatch.context() as patch:
        patch.setattr(cublaslt.ctypes, "CDLL", load)
        patch.setattr(cublaslt.sys, "path", [str(tmp_path)])
        patch.setitem(sys.modules, "cuda.pathfinder", SimpleNamespace(load_nvidia_dynamic_lib=find))
        library = cublaslt._load()
        assert (library and library.cublasLtGetVersion()) == expected


def test_memory_that_is_short_when_cublaslt_starts_is_no_missing_library():
    with through(functions := fake_library()):
        functions.start_status = 3
        x = cupy.asarray(numbers(3, 4))
        with pytest.raises(BackendError, match="CUBLAS_STATUS_ALLOC_FAILED"):
            product_module.product(x, x.T)
        functions.start_status = 0
        product_module.product(x, x.T)
    assert functions.launches


def test_scratch_memory_is_everybody_s_and_let_go_of_with_the_stream():
    with through(fake_library()) as library:
        x, pool, default = cupy.asarray(numbers(3, 4)), cupy.cuda.MemoryPool(), cupy.get_default_memory_pool()
        gc.collect()  # of other tests
        used = default.used_bytes()
        with (stream := cupy.cuda.Stream(non_blocking=True)), cupy.cuda.using_allocator(pool.malloc):
            product_module.product(x, x.T)
        assert (pool.used_bytes(), default.used_bytes()) == (0, used + cublaslt.WORKSPACE_BYTES)
        library.release(0, stream.ptr)
        library.release(0, stream.ptr)
        assert default.used_bytes() == used


def test_an_error_names_the_problem():
    with through(functions := fake_library()):
        x = cupy.asarray(numbers(3, 4))
        product_module.product(x, x.T)
        functions.allowed = lambda address, size: False
        with pytest.raises(BackendError) as error:
            product_module.product(x, x.T)
    expected = "CUBLAS_STATUS_EXECUTION_FAILED: 1 products (3, 4) x (4, 3), float32 to float32"
    assert str(error.value) == f"cublasLtMatmul failed with {expected}"
