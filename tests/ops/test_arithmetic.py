"""add, sub, mul, div, neg."""

import hypothesis.strategies as st
import numpy as np
import pytest
from devices import ops
from hypothesis import given
from strategies import (
    arrays,
    assert_close,
    assert_same,
    check,
    moderate,
    nonzero,
    op_case,
    positive,
    shape_pairs,
    shapes,
)

from minivit import functional as F


@pytest.mark.parametrize(
    ("name", "numpy_function", "values"),
    [
        op_case("add", np.add, moderate),
        op_case("sub", np.subtract, moderate),
        op_case("mul", np.multiply, moderate),
        op_case("div", np.divide, nonzero),
    ],
)
@given(data=st.data(), pair=shape_pairs())
def test_two_arguments_that_broadcast(name, numpy_function, values, data, pair):
    x, y = (data.draw(arrays(shape, values)) for shape in pair)
    op = getattr(ops, name)
    assert_close(op(x, y)[0], numpy_function(x, y))
    check(op, x, y)


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div"])
@given(x=arrays(shapes(), positive))
def test_a_python_number_takes_no_gradient_and_keeps_the_dtype(name, x):
    check(getattr(ops, name), x, 3)
    check(getattr(ops, name), x, 0.5)
    check(getattr(ops, name), 2.0, x)


@pytest.mark.gradient_check("neg")
@given(x=arrays(shapes()))
def test_neg(x):
    assert_close(ops.neg(x)[0], -x)
    check(ops.neg, x)


COMPOSITIONS = {
    "sub": lambda x, y: x + (-y),
    "div": lambda x, y: x * y**-1.0,
    "neg": lambda x: x * -1.0,
}


@pytest.mark.parametrize("name", COMPOSITIONS)
@given(data=st.data(), pair=shape_pairs(min_side=1))
def test_an_op_equals_its_composition(name, data, pair):
    arguments = COMPOSITIONS[name].__code__.co_argcount
    inputs = [data.draw(arrays(shape, positive)) for shape in pair[:arguments]]
    assert_same(getattr(F, name), COMPOSITIONS[name], *inputs, tolerance=1e-9)
