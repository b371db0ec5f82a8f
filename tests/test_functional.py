"""The table of contents: every op as a function of Tensors, and nothing else."""

import inspect

import numpy as np
import pytest
from devices import assert_equal, tensor, to_device

from minivit import functional, ops
from minivit.tensor import Tensor, grad

LIFTED = {name: value for name, value in vars(functional).items() if hasattr(value, "__wrapped__")}


def test_it_offers_exactly_the_ops():
    assert set(LIFTED) == set(ops.__all__)


@pytest.mark.parametrize("name", ops.__all__)
def test_a_function_of_tensors_is_the_op_of_its_name(name):
    lifted = LIFTED[name]
    assert lifted.__wrapped__ is getattr(ops, name)
    assert lifted.__doc__ == getattr(ops, name).__doc__
    assert inspect.signature(lifted) == inspect.signature(getattr(ops, name))


@pytest.mark.usefixtures("device")
def test_tensors_arrays_and_numbers_mix():
    x = tensor(np.array([1.0, 4.0]), requires_grad=True)
    y = functional.maximum(functional.where(to_device(np.array([True, False])), x, 2.0), 1.5)
    assert_equal(y, [1.5, 2.0])
    assert_equal(grad(functional.sum(y * to_device(np.array([3.0, 5.0]))), [x])[0], [0, 0])


@pytest.mark.usefixtures("device")
def test_ops_of_plain_arrays_give_tensors_without_gradient():
    y = functional.softmax(to_device(np.ones((2, 4))))
    assert isinstance(y, Tensor)
    assert not y.requires_grad
    assert_equal(y, np.full((2, 4), 0.25))
