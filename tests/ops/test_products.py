"""matmul and linear."""

import re

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from devices import ops
from hypothesis import given
from strategies import arrays, assert_close, assert_same, check, moderate, shapes

from minivit import functional as F


@st.composite
def factors(draw, min_side=0):
    """Two arrays that matmul takes: vectors, matrices, stacks of matrices that broadcast."""
    pair = hnp.mutually_broadcastable_shapes(signature=np.matmul.signature, max_dims=2, min_side=min_side, max_side=3)
    return [draw(arrays(shape)) for shape in draw(pair).input_shapes]


def matmul_by_element(x, y):
    """Sums over k of x[..., k] y[..., k, :], for matrices and stacks of them."""
    return (x[..., :, :, None] * y[..., None, :, :]).sum(axis=-2)


@pytest.mark.gradient_check("matmul")
@given(inputs=factors())
def test_matmul(inputs):
    assert_close(ops.matmul(*inputs)[0], np.matmul(*inputs))
    check(ops.matmul, *inputs)


@pytest.mark.parametrize(
    ("x_shape", "y_shape"),
    [
        ((3,), (3,)),
        ((3,), (3, 2)),
        ((2, 3), (3,)),
        ((3,), (4, 3, 2)),
        ((4, 2, 3), (3,)),
        ((2, 3), (4, 3, 2)),
        ((4, 2, 3), (3, 2)),
        ((5, 1, 2, 3), (4, 3, 2)),
        ((1, 0), (0, 2)),
        ((0, 3), (3, 2)),
    ],
)
def test_matmul_with_vectors_and_stacks(x_shape, y_shape):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal(x_shape), rng.standard_normal(y_shape)
    assert_close(ops.matmul(x, y)[0], np.matmul(x, y))
    check(ops.matmul, x, y)


@given(inputs=factors(min_side=1).filter(lambda inputs: inputs[0].ndim > 1 and inputs[1].ndim > 1))
def test_matmul_equals_its_composition(inputs):
    def composition(x, y):
        return F.sum(F.reshape(x, (*x.shape, 1)) * F.reshape(y, (*y.shape[:-2], 1, *y.shape[-2:])), axis=-2)

    assert_close(ops.matmul(*inputs)[0], matmul_by_element(*inputs))
    assert_same(F.matmul, composition, *inputs)


@pytest.mark.parametrize(
    ("x_shape", "y_shape"), [((2, 3), (2, 3)), ((3,), (4,)), ((), (3,)), ((3,), ()), ((2,), (3, 2))]
)
def test_matmul_says_what_does_not_fit(x_shape, y_shape):
    with pytest.raises(ValueError, match=r"matmul: x \(.*\) and y \(.*\) do not agree in the summed axis"):
        ops.matmul(np.ones(x_shape), np.ones(y_shape))


# linear


@st.composite
def linear_inputs(draw, min_side=0, values=moderate):
    features = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    x = draw(arrays((*draw(shapes(min_side=min_side)), features[0]), values))
    return x, draw(arrays(features, values)), draw(arrays((features[1],), values))


@pytest.mark.gradient_check("linear")
@given(inputs=linear_inputs())
def test_linear(inputs):
    x, weight, bias = inputs
    assert_close(ops.linear(x, weight, bias)[0], x @ weight + bias)
    assert_close(ops.linear(x, weight)[0], x @ weight)
    check(ops.linear, x, weight, bias)
    check(ops.linear, x, weight)
    check(ops.linear, x, weight, None)


@given(inputs=linear_inputs(min_side=1))
def test_linear_equals_its_composition(inputs):
    assert_same(F.linear, lambda x, weight, bias: F.matmul(x, weight) + bias, *inputs)
    assert_same(F.linear, F.matmul, *inputs[:2])


def test_linear_says_what_does_not_fit():
    x, weight = np.ones((32, 65, 192)), np.ones((384, 768))
    expected = "linear: x has 192 features in its last axis (32, 65, 192), weight expects 384 (384, 768)"
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        ops.linear(x, weight)
    with pytest.raises(ValueError, match=r"linear: bias has shape \(3,\), weight \(384, 768\) expects \(768,\)"):
        ops.linear(np.ones(384), weight, np.ones(3))
    with pytest.raises(ValueError, match=r"linear: x has no features in its last axis \(\)"):
        ops.linear(np.ones(()), weight)
    with pytest.raises(ValueError, match=r"weight expects 192 \(192,\)"):
        ops.linear(x, np.ones(192))


# linear_gelu


def gentle(rng, shape):
    """So small that x W + b is above -2: far to the left gelu is too flat for numerical differentiation."""
    return moderate(rng, shape) / 4


@pytest.mark.gradient_check("linear_gelu")
@given(inputs=linear_inputs(values=gentle), form=st.sampled_from(["tanh", "erf"]))
def test_linear_gelu(inputs, form):
    check(ops.linear_gelu, *inputs, rtol=1e-5, form=form)


@given(inputs=linear_inputs(min_side=1), form=st.sampled_from(["tanh", "erf"]))
def test_linear_gelu_equals_its_composition(inputs, form):
    def fused(x, weight, bias):
        return F.linear_gelu(x, weight, bias, form)

    assert_same(fused, lambda x, weight, bias: F.gelu(F.matmul(x, weight) + bias, form), *inputs)
