"""Worker threads: order, context, exceptions, and that BLAS gets its threads back."""

import threading
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from minivit import functional as F
from minivit.backend import kernels
from minivit.backend.kernels import find
from minivit.backend.workers import Workers
from minivit.tensor import Tensor, grad, no_grad


def blas_threads():
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


@pytest.fixture
def two_blas_threads():
    """BLAS with two threads, whatever the machine has."""
    with threadpool_limits(2, user_api="blas"):
        yield


@pytest.mark.parametrize("count", [1, 2, 5])
def test_results_come_in_the_order_of_the_items(count):
    def slow(i):
        time.sleep(0.002 * (7 - i))
        return i * i

    with Workers(count) as workers:
        assert workers.map(slow, range(7)) == [i * i for i in range(7)]
        assert workers.map(slow, iter([3])) == [9]
        assert workers.map(slow, []) == []


def test_several_work_at_once():
    meet = threading.Barrier(3, timeout=10)
    with Workers(3) as workers:
        workers.map(lambda _: meet.wait(), range(3))  # BrokenBarrierError unless three threads get there
        names = set(workers.map(lambda _: (meet.wait(), threading.current_thread().name)[1], range(3)))
    assert len(names) == 3
    assert all(name.startswith("minivit-worker") for name in names)


def test_one_worker_is_the_calling_thread():
    with Workers(1) as workers:
        assert workers.map(lambda _: threading.current_thread(), [0]) == [threading.current_thread()]


def test_outside_of_its_context_it_works_one_after_the_other():
    workers = Workers(3)
    assert workers.map(lambda _: threading.current_thread(), [0]) == [threading.current_thread()]
    with workers:
        pass
    assert workers.map(lambda _: threading.current_thread(), [0]) == [threading.current_thread()]


@pytest.mark.parametrize("count", [1, 2])
def test_workers_see_the_callers_context(count):
    """Grad mode and kernels are context variables; those of the thread that calls `map` hold."""
    w = Tensor(np.ones(3), requires_grad=True)

    def recorded(_):
        return (w * 2.0).requires_grad

    def fused(_):
        return find("softmax", np.ndarray) or find("gelu", np.ndarray)

    with Workers(count) as workers:
        assert workers.map(recorded, range(4)) == [True] * 4
        with no_grad():
            assert workers.map(recorded, range(4)) == [False] * 4
        assert workers.map(recorded, range(4)) == [True] * 4
        assert all(workers.map(fused, range(4)))
        with kernels("reference"):
            assert workers.map(fused, range(4)) == [None] * 4
        with np.errstate(divide="ignore"):
            assert workers.map(lambda x: np.float64(1) / np.float64(x), [0.0, 0.0]) == [np.inf] * 2


def test_what_a_worker_changes_in_its_context_stays_there():
    w = Tensor(np.ones(3), requires_grad=True)

    def leave_it_off(_):
        no_grad().__enter__()

    with Workers(2) as workers:
        workers.map(leave_it_off, range(4))
        assert workers.map(lambda _: (w * 2.0).requires_grad, range(4)) == [True] * 4
        assert (w * 2.0).requires_grad


def test_workers_share_parameters():
    """Gradients of pieces, taken at the same time from the same Tensors, are those taken one after the other."""
    rng = np.random.default_rng(0)
    w = Tensor(rng.standard_normal((6, 4)), requires_grad=True)
    pieces = [rng.standard_normal((50, 6)) for _ in range(8)]

    def gradient(x):
        return grad(F.tanh(Tensor(x) @ w).sum(), [w])[0]

    alone = [gradient(x) for x in pieces]
    with Workers(4) as workers:
        for _ in range(5):
            together = workers.map(gradient, pieces)
            assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize("count", [1, 2])
def test_an_exception_is_raised_in_the_caller_and_the_pool_lives_on(count):
    def fail(i):
        if i == 1:
            raise ZeroDivisionError("of item 1")
        return i

    with Workers(count) as workers:
        with pytest.raises(ZeroDivisionError, match="of item 1"):
            workers.map(fail, range(3))
        assert workers.map(fail, [5, 6]) == [5, 6]
    with pytest.raises(ZeroDivisionError), Workers(count) as workers:
        workers.map(fail, range(3))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("minivit-worker")]


@pytest.mark.usefixtures("two_blas_threads")
def test_blas_is_held_to_one_thread_and_gets_the_others_back(monkeypatch):
    monkeypatch.setattr("minivit.backend.workers.available_cores", lambda: 2)
    assert set(blas_threads()) == {2}
    with Workers(2) as workers:
        assert set(blas_threads()) == {1}
        assert [set(found) for found in workers.map(lambda _: blas_threads(), range(2))] == [{1}, {1}]
    assert set(blas_threads()) == {2}
    with pytest.raises(KeyboardInterrupt), Workers(2):
        raise KeyboardInterrupt
    assert set(blas_threads()) == {2}
    with Workers(1):
        assert set(blas_threads()) == {2}


@pytest.mark.usefixtures("two_blas_threads")
def test_items_with_a_size_are_shared_evenly():
    with Workers(2) as workers:
        sizes = [9, 1, 9, 1, 9, 1, 9, 1]  # as weights and biases alternate
        names = workers.map(lambda _: (time.sleep(0.01), threading.current_thread().name)[1], sizes, size=float)
        loads = [sum(s for s, n in zip(sizes, names, strict=True) if n == name) for name in set(names)]
        assert sorted(loads) == [20, 20]
        assert workers.map(lambda x: -x, range(9), size=lambda x: x * x) == [-x for x in range(9)]


def test_no_thread_works_on_after_an_exception_was_raised():
    done = []

    def work(i):
        if i == 0:
            raise ZeroDivisionError
        time.sleep(0.02)
        done.append(i)

    with Workers(2) as workers:
        with pytest.raises(ZeroDivisionError):
            workers.map(work, range(4))
        assert done == [1, 3]


def test_workers_can_be_used_again():
    workers = Workers(2)
    for _ in range(2):
        with workers:
            assert workers.map(lambda x: x + 1, [1, 2, 3]) == [2, 3, 4]
            assert set(blas_threads()) == {1}
        assert set(blas_threads()) == {2}
