"""The table of faster kernels, and how `lift` uses it."""

import sys

import numpy as np
import pytest

from minivit import functional as F
from minivit import ops
from minivit.backend import kernels
from minivit.backend.kernels import chosen, find, register, registered
from minivit.tensor import Tensor, grad, lift, no_grad

kernels_module = sys.modules["minivit.backend.kernels"]  # the package offers a function of that name


@pytest.fixture
def table(monkeypatch):
    """An empty table in the place of the real one."""
    empty = {}
    monkeypatch.setattr(kernels_module, "_TABLE", empty)
    return empty


def plus_one(x):
    """An op that no kernel is registered for."""
    return x + 1, lambda g: (g * 1,)


@pytest.fixture
def fast_plus_one(table):
    @register("plus_one", np.ndarray)
    def fast_plus_one(x):
        return x + 1, lambda g: (g * 10,)  # wrong, to tell the two apart

    return fast_plus_one


def slope(x=None):
    x = Tensor(np.zeros(1) if x is None else x, requires_grad=True)
    return grad(lift(plus_one)(x), [x])[0].item()


def test_register_gives_the_kernel_back_and_find_finds_it(fast_plus_one):
    assert find("plus_one", np.ndarray) is fast_plus_one
    assert find("plus_two", np.ndarray) is None
    assert find("plus_one", float) is None
    assert registered() == {("plus_one", np.ndarray, True): fast_plus_one}


def test_a_kernel_without_vjp_is_used_where_no_gradient_is_wanted(fast_plus_one):
    register("plus_one", np.ndarray, vjp=False)(lambda x: (x + 100, None))
    plus = lift(plus_one)
    wanted = Tensor(np.zeros(1), requires_grad=True)
    assert plus(np.zeros(1)).data == 100
    assert plus(wanted).data == 1
    with no_grad():
        assert plus(wanted).data == 100
    with kernels("reference"):
        assert plus(np.zeros(1)).data == 1
    assert slope(wanted.data) == 10


def test_a_kernel_with_vjp_serves_where_there_is_none_without(fast_plus_one):
    assert find("plus_one", np.ndarray, vjp=False) is fast_plus_one
    assert find("plus_one", float, vjp=False) is None


def test_the_op_is_chosen_where_no_kernel_is(fast_plus_one):
    x = np.zeros(1)
    assert chosen("plus_one", plus_one, [x], True)(x)[1](x + 1) == (10,)
    assert chosen("plus_one", plus_one, [1.0], True) is plus_one
    assert chosen("plus_one", plus_one, [], True) is plus_one
    with kernels("reference"):
        assert chosen("plus_one", plus_one, [x], True) is plus_one


def test_the_table_is_handed_out_as_a_copy(fast_plus_one):
    registered().clear()
    assert find("plus_one", np.ndarray) is fast_plus_one


def test_lift_looks_the_table_up_at_every_call(table):
    lifted = lift(plus_one)
    x = Tensor(np.zeros(1), requires_grad=True)
    assert grad(lifted(x), [x])[0] == 1
    register("plus_one", np.ndarray)(lambda x: (x + 1, lambda g: (g * 10,)))
    assert grad(lifted(x), [x])[0] == 10


def test_reference_mode_runs_the_op(fast_plus_one):
    assert slope() == 10
    with kernels("reference"):
        assert slope() == 1
        with kernels("fused"):
            assert slope() == 10
        assert slope() == 1
    assert slope() == 10


def test_an_error_leaves_the_mode_as_it_was(fast_plus_one):
    with pytest.raises(ZeroDivisionError), kernels("reference"):
        raise ZeroDivisionError
    assert slope() == 10


def test_a_kernel_is_for_one_type_of_array(table):
    class OtherArray(np.ndarray):
        pass

    register("plus_one", OtherArray)(lambda x: (x + 1, lambda g: (g * 10,)))
    assert slope() == 1
    assert slope(np.zeros(1).view(OtherArray)) == 10


def test_a_kernel_that_returns_not_implemented_leaves_the_work_to_the_op(table):
    register("plus_one", np.ndarray)(lambda x: NotImplemented)
    assert slope() == 1


def test_errors_of_a_kernel_read_like_those_of_its_op(table):
    @register("exp", np.ndarray)
    def exp(x):
        raise ValueError("too hot")

    with pytest.raises(ValueError, match=r"exp: too hot \(x float64 \(2,\)\)"):
        F.exp(np.ones(2))


def test_an_unknown_mode():
    with pytest.raises(ValueError, match='kernels: mode is "fast", expected "reference" or "fused"'):
        kernels("fast").__enter__()


def test_kernels_are_registered_under_names_of_ops():
    assert {name for name, *_ in registered()} <= set(ops.__all__)
