"""sum, mean, max, var."""

import hypothesis.strategies as st
import numpy as np
import pytest
from devices import ops
from hypothesis import given
from strategies import arrays, assert_close, assert_same, axes, check, distinct, op_case, shapes

from minivit import functional as F
from minivit.ops.reductions import count


@st.composite
def arrays_and_axes(draw, values, min_side=1):
    x = draw(arrays(shapes(min_side=min_side), values))
    return x, draw(axes(x.ndim))


@pytest.mark.parametrize(
    ("name", "numpy_function"),
    [op_case("sum", np.sum), op_case("mean", np.mean), op_case("max", np.max), op_case("var", np.var)],
)
@given(drawn=arrays_and_axes(distinct), keepdims=st.booleans())
def test_reduction(name, numpy_function, drawn, keepdims):
    x, axis = drawn
    op = getattr(ops, name)
    assert_close(op(x, axis, keepdims)[0], numpy_function(x, axis=axis, keepdims=keepdims))
    check(op, x, axis=axis, keepdims=keepdims)


@given(drawn=arrays_and_axes(distinct, min_side=0), keepdims=st.booleans())
def test_the_sum_of_nothing_is_zero(drawn, keepdims):
    x, axis = drawn
    assert_close(ops.sum(x, axis, keepdims)[0], np.sum(x, axis=axis, keepdims=keepdims))
    check(ops.sum, x, axis=axis, keepdims=keepdims)


@pytest.mark.parametrize("op", [ops.mean, ops.max, ops.var])
def test_reductions_of_no_rows(op):
    y, vjp = op(np.ones((0, 3)), axis=1)
    assert y.shape == (0,)
    assert vjp(y)[0].shape == (0, 3)


@given(drawn=arrays_and_axes(distinct), keepdims=st.booleans())
def test_reductions_equal_their_compositions(drawn, keepdims):
    x, axis = drawn
    n = count(x.shape, axis)

    def var(x):
        centred = x - F.mean(x, axis, keepdims=True)
        return F.mean(centred * centred, axis, keepdims)

    assert_same(lambda x: F.mean(x, axis, keepdims), lambda x: F.sum(x, axis, keepdims) / n, x)
    assert_same(lambda x: F.var(x, axis, keepdims), var, x)


@given(x=arrays(shapes(min_dims=1, min_side=2), distinct))
def test_the_unbiased_variance(x):
    check(ops.var, x, axis=-1, ddof=1)
    assert_close(ops.var(x, -1, ddof=1)[0], np.var(x, axis=-1, ddof=1))
    assert_same(lambda x: F.var(x, -1, ddof=1), lambda x: F.var(x, -1) * (x.shape[-1] / (x.shape[-1] - 1)), x)


def test_the_variance_keeps_its_digits_far_from_zero():
    x = (1e4 + np.random.default_rng(0).standard_normal(1000)).astype("float32")
    np.testing.assert_allclose(ops.var(x)[0], np.var(x.astype("float64")), rtol=1e-5)


@given(x=arrays(shapes(min_dims=1, min_side=1), distinct), axis=st.integers(-1, 0))
def test_equal_maxima_share_the_gradient(x, axis):
    twice = np.concatenate([x, x], axis)
    y, vjp = ops.max(twice, axis)
    g = np.random.default_rng(0).standard_normal(y.shape)
    half, _ = np.split(vjp(g)[0], 2, axis)
    assert_close(vjp(g)[0], np.concatenate([half, half], axis))
    assert_close(2 * half, ops.max(x, axis)[1](g)[0])


def test_the_gradient_of_max_in_numbers():
    y, vjp = ops.max(np.array([[1.0, 3.0, 3.0], [5.0, 2.0, 5.0]]))
    assert y == 5
    np.testing.assert_array_equal(vjp(np.array(6.0))[0], [[0, 0, 0], [3, 0, 3]])
