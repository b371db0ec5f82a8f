"""The matrix library: what is said of it where its threads can be held back, and where they cannot."""

import ctypes
import subprocess
import sys
import warnings

import numpy as np
import pytest
import threadpoolctl

from minivit.backend import blas
from minivit.backend.workers import Workers


@pytest.fixture(autouse=True)
def _said_again(monkeypatch):
    monkeypatch.delenv("VECLIB_MAXIMUM_THREADS", raising=False)
    blas.limitable.cache_clear()
    yield
    blas.limitable.cache_clear()


@pytest.fixture
def built_with(monkeypatch):
    """built_with("mkl"): NumPy with this library, of which threadpoolctl sees nothing."""

    def pretend(name, found=True):
        build = {"Build Dependencies": {"blas": {"name": name, "found": found}}}
        monkeypatch.setattr(np, "show_config", lambda mode: build)
        monkeypatch.setattr(threadpoolctl, "threadpool_info", lambda: [{"user_api": "openmp", "num_threads": 2}])

    return pretend


@pytest.fixture
def accelerate(monkeypatch, built_with):
    """The calls of the function that sets threads, on a made-up macOS; on an older one after `accelerate.clear()`."""

    class Framework:
        calls: list[int] = []  # noqa: RUF012

        def __init__(self, path):
            assert path == blas.ACCELERATE

        class BLASSetThreading:
            def __call__(self, threading):
                Framework.calls.append(threading)
                return 0

        BLASSetThreading = BLASSetThreading()

    built_with("accelerate")
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(ctypes, "CDLL", Framework)
    return Framework


def test_here_it_is_seen(caplog):
    assert blas.built_with()
    assert blas.trouble() == ""
    assert blas.limitable()
    assert caplog.records == []


def test_one_that_is_not_seen_is_named_once_in_one_line(built_with, caplog, monkeypatch):
    built_with("scipy-openblas")
    monkeypatch.setattr(threadpoolctl, "__version__", "3.2.0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            with Workers(2) as workers:
                assert workers.map(abs, [-1, -2]) == [1, 2]
            assert not blas.limitable()
    (line,) = [record.getMessage() for record in caplog.records]
    assert "scipy-openblas is unknown to threadpoolctl 3.2.0" in line
    assert "pip install --upgrade threadpoolctl" in line
    assert "\n" not in line


def test_one_worker_says_nothing(built_with, caplog):
    built_with("scipy-openblas")
    with Workers(1):
        pass
    assert caplog.records == []


def test_the_line_reaches_the_terminal_even_where_warnings_are_errors():
    program = (
        "import threadpoolctl, minivit.backend.blas as blas\n"
        "threadpoolctl.threadpool_info = lambda: []\n"
        "assert not blas.limitable() and not blas.limitable()"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.startswith("matrix products use threads of their own: ")
    assert done.stderr.count("\n") == 1


def test_numpy_without_a_library_has_no_threads(built_with):
    built_with("none", found=False)
    assert blas.trouble() == ""


def test_a_numpy_that_says_nothing_of_it(built_with, monkeypatch):
    built_with("mkl")
    monkeypatch.setattr(np, "show_config", lambda mode: {})
    assert blas.trouble().startswith("the matrix library is unknown to threadpoolctl")


def test_accelerate_is_told_in_each_worker(accelerate):
    assert blas.limitable()
    with Workers(2) as workers:
        workers.map(abs, range(2))
    assert set(accelerate.calls) == {blas.ONE_THREAD}


def test_an_older_accelerate(accelerate, monkeypatch, caplog):
    monkeypatch.delattr(accelerate, "BLASSetThreading")
    assert "Accelerate" in blas.trouble()
    assert "VECLIB_MAXIMUM_THREADS=1" in blas.trouble()
    blas.hold_this_thread()  # does nothing
    assert not blas.limitable()
    assert len(caplog.records) == 1
    monkeypatch.setenv("VECLIB_MAXIMUM_THREADS", "1")
    assert blas.trouble() == ""


def test_no_more_threads_than_cores(monkeypatch):
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        monkeypatch.setattr("minivit.backend.workers.available_cores", lambda: 1)
        with Workers(1):
            assert {library["num_threads"] for library in blas.libraries()} == {1}
        assert {library["num_threads"] for library in blas.libraries()} == {2}
        monkeypatch.setattr("minivit.backend.workers.available_cores", lambda: 5)
        with Workers(1):
            assert {library["num_threads"] for library in blas.libraries()} == {2}  # never more than before
