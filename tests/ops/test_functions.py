"""Powers, exp, log, trigonometry, erf, maximum, where, activations."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from devices import assert_equal, ops, tensor, to_device, to_host
from hypothesis import given
from strategies import (
    arrays,
    assert_close,
    assert_same,
    between,
    check,
    distinct,
    moderate,
    nonzero,
    op_case,
    positive,
    rngs,
    shape_pairs,
    shapes,
)

from minivit import functional as F
from minivit.tensor import grad

erf_by_element = np.vectorize(math.erf, otypes=[float])


@pytest.mark.parametrize(
    ("name", "numpy_function", "values"),
    [
        op_case("exp", np.exp, moderate),
        op_case("log", np.log, positive),
        op_case("sqrt", np.sqrt, positive),
        op_case("tanh", np.tanh, moderate),
        op_case("sin", np.sin, moderate),
        op_case("cos", np.cos, moderate),
        op_case("erf", erf_by_element, moderate),
    ],
)
@given(data=st.data(), shape=shapes())
def test_one_argument(name, numpy_function, values, data, shape):
    x = data.draw(arrays(shape, values))
    op = getattr(ops, name)
    assert_close(op(x)[0], numpy_function(x))
    check(op, x)


COMPOSITIONS = {
    "pow": lambda x, y: F.exp(y * F.log(x)),
    "sqrt": lambda x: x**0.5,
    "cos": lambda x: 1.0 - 2.0 * F.sin(0.5 * x) ** 2.0,
    "tanh": lambda x: 1.0 - 2.0 / (F.exp(2.0 * x) + 1.0),
}


@pytest.mark.parametrize("name", COMPOSITIONS)
@given(data=st.data(), pair=shape_pairs(min_side=1))
def test_an_op_equals_its_composition(name, data, pair):
    arguments = COMPOSITIONS[name].__code__.co_argcount
    inputs = [data.draw(arrays(shape, positive)) for shape in pair[:arguments]]
    assert_same(getattr(F, name), COMPOSITIONS[name], *inputs, tolerance=1e-9)


# pow


@pytest.mark.gradient_check("pow")
@given(data=st.data(), pair=shape_pairs())
def test_pow(data, pair):
    x, y = (data.draw(arrays(shape, positive)) for shape in pair)
    assert_close(ops.pow(x, y)[0], np.power(x, y))
    check(ops.pow, x, y)
    check(ops.pow, x, 3)
    check(ops.pow, x, 0.5)
    check(ops.pow, 2.0, x)


@given(x=arrays(shapes(), nonzero))
def test_whole_exponents_take_negative_bases(x):
    for exponent in (-2, -1, 0, 1, 2, 3):
        check(ops.pow, x, exponent)


def test_pow_at_zero():
    x = np.zeros(3)
    for exponent, slope in ((0, 0), (1, 1), (2, 0), (0.0, 0), (1.5, 0)):
        z, vjp = ops.pow(x, exponent)
        assert_close((z, vjp(np.ones(3))[0]), (x**exponent, np.full(3, slope)))
    z, vjp = ops.pow(x, np.array([0.0, 1.0, 2.0]))
    assert_close((z, *vjp(np.ones(3))), (np.array([1.0, 0, 0]), np.array([0.0, 1, 0]), np.zeros(3)))


# erf


@pytest.mark.parametrize(("dtype", "ulps"), [("float64", 8), ("float32", 6)])
def test_erf_agrees_with_the_c_library(dtype, ulps):
    x = np.concatenate([np.linspace(-7, 7, 20_001), np.logspace(-30, 0, 1_001), [-1e30, 1e30]]).astype(dtype)
    expected = erf_by_element(x.astype("float64"))
    y, _ = ops.erf(x)
    assert y.dtype == dtype
    np.testing.assert_allclose(y, expected, rtol=ulps * np.finfo(dtype).eps, atol=0)


def test_erf_at_the_ends():
    y, vjp = ops.erf(np.array([-np.inf, -40.0, -0.0, 0.0, 40.0, np.inf, np.nan]))
    np.testing.assert_allclose(y, [-1, -1, 0, 0, 1, 1, np.nan], atol=1e-15)
    np.testing.assert_array_equal(vjp(np.ones(7))[0], [0, 0, *2 * [2 / math.sqrt(math.pi)], 0, 0, np.nan])


# maximum and where


@pytest.mark.gradient_check("maximum")
@given(data=st.data(), pair=shape_pairs())
def test_maximum(data, pair):
    x, y = data.draw(arrays(pair[0], distinct)), data.draw(arrays(pair[1], between))
    assert_close(ops.maximum(x, y)[0], np.maximum(x, y))
    check(ops.maximum, x, y)
    check(ops.maximum, x, 0.05)
    assert_same(F.maximum, lambda x, y: 0.5 * (x + y + ((x - y) * (x - y)) ** 0.5), x, y)


def test_equal_arguments_of_maximum_share_the_gradient():
    x = tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = tensor([3.0, 2.0, 1.0], requires_grad=True)
    dx, dy = to_host(grad(F.maximum(x, y), [x, y], to_device(np.float32([10, 10, 10]))))
    np.testing.assert_array_equal(dx, [0, 5, 10])
    np.testing.assert_array_equal(dy, [10, 5, 0])


@pytest.mark.gradient_check("where")
@given(data=st.data(), pair=shape_pairs())
def test_where(data, pair):
    x, y = (data.draw(arrays(shape)) for shape in pair)
    condition = data.draw(rngs).random(data.draw(st.sampled_from([*pair, np.broadcast_shapes(*pair)]))) < 0.5
    assert_close(ops.where(condition, x, y)[0], np.where(condition, x, y))
    check(ops.where, condition, x, y)
    check(ops.where, condition, x, 0.0)


@given(data=st.data(), pair=shape_pairs(min_side=1))
def test_where_equals_its_composition(data, pair):
    condition = to_device(data.draw(rngs).random(np.broadcast_shapes(*pair)) < 0.5)
    inputs = [data.draw(arrays(shape)) for shape in pair]
    assert_same(lambda x, y: F.where(condition, x, y), lambda x, y: x * condition + y * ~condition, *inputs)


def test_where_hides_what_it_did_not_choose():
    x = tensor([0.0, 4.0], requires_grad=True)
    y = F.where(to_device(np.array([False, True])), x, to_device(np.float32([np.nan, np.inf])))
    assert_equal(y, [np.nan, 4])
    assert_equal(grad(y, [x], to_device(np.float32([1, 1])))[0], [0, 1])


# activations


@pytest.mark.parametrize(
    ("name", "by_element", "values"),
    [
        op_case("relu", lambda x: max(x, 0.0), nonzero),
        op_case("sigmoid", lambda x: 1 / (1 + math.exp(-x)), moderate),
        op_case("silu", lambda x: x / (1 + math.exp(-x)), moderate),
    ],
)
@given(data=st.data(), shape=shapes())
def test_activation(name, by_element, values, data, shape):
    x = data.draw(arrays(shape, values))
    op = getattr(ops, name)
    assert_close(op(x)[0], np.vectorize(by_element, otypes=[float])(x))
    check(op, x)


@pytest.mark.parametrize(
    ("function", "composition"),
    [
        pytest.param(F.relu, lambda x: F.maximum(x, 0.0), id="relu"),
        pytest.param(F.sigmoid, lambda x: 1.0 / (1.0 + F.exp(-x)), id="sigmoid"),
        pytest.param(F.silu, lambda x: x * F.sigmoid(x), id="silu"),
    ],
)
@given(x=arrays(shapes(), nonzero))
def test_an_activation_equals_its_composition(function, composition, x):
    assert_same(function, composition, x, tolerance=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("op", "limits", "slopes"),
    [
        (ops.relu, (0, 1e4), (0, 1)),
        (ops.silu, (0, 1e4), (0, 1)),
        (ops.sigmoid, (0, 1), (0, 0)),
    ],
)
def test_an_activation_at_ten_thousand(op, limits, slopes, dtype):
    y, vjp = op(np.array([-1e4, 1e4], dtype))
    rounding = np.finfo(dtype).eps  # which the factor x enlarges
    np.testing.assert_allclose(y, limits, rtol=0, atol=1e4 * rounding)
    np.testing.assert_allclose(vjp(np.ones(2, dtype))[0], slopes, rtol=0, atol=rounding)


def test_the_slope_of_relu_at_zero_is_zero():
    assert ops.relu(np.zeros(3))[1](np.ones(3))[0].tolist() == [0, 0, 0]


@pytest.mark.gradient_check("swiglu")
@given(data=st.data(), shape=shapes())
def test_swiglu(data, shape):
    gate, value = data.draw(arrays(shape)), data.draw(arrays(shape))
    assert_close(ops.swiglu(gate, value)[0], gate / (1 + np.exp(-gate)) * value)
    check(ops.swiglu, gate, value)
    assert_same(F.swiglu, lambda gate, value: F.silu(gate) * value, gate, value)


def test_swiglu_of_large_gates():
    y, vjp = ops.swiglu(np.array([-np.inf, -1e4, 1e4]), np.array([2.0, 2.0, 2.0]))
    assert_close((y, *vjp(np.ones(3))), ([0, 0, 2e4], [0, 0, 2], [0, 0, 1e4]))


def test_swiglu_says_what_does_not_fit():
    with pytest.raises(ValueError, match=r"swiglu: gate \(2, 3\) and value \(3,\) differ"):
        ops.swiglu(np.ones((2, 3)), np.ones(3))
