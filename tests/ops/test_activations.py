"""gelu in its forms."""

import math

import numpy as np
import pytest
from devices import ops
from hypothesis import given
from strategies import arrays, assert_close, assert_same, check, nonzero, shapes

from minivit import functional as F


def normal_cdf(x):
    return 0.5 * math.erfc(-x / math.sqrt(2))


@pytest.mark.gradient_check("gelu")
@pytest.mark.parametrize("form", ["tanh", "erf", "quick"])
@given(x=arrays(shapes()))
def test_gelu(form, x):
    check(ops.gelu, x, form=form)


@given(x=arrays(shapes()))
def test_gelu_erf_is_x_times_the_normal_distribution_function(x):
    expected = np.vectorize(lambda t: t * normal_cdf(t), otypes=[float])(x)
    assert_close(ops.gelu(x, "erf")[0], expected, 1e-14)


@given(x=arrays(shapes()))
def test_gelu_tanh_is_the_default_and_differs_from_erf_by_at_most_5e4(x):
    y, _ = ops.gelu(x)
    np.testing.assert_array_equal(y, ops.gelu(x, "tanh")[0])
    np.testing.assert_allclose(y, ops.gelu(x, "erf")[0], rtol=0, atol=4.8e-4)


def test_the_two_gelus_are_told_apart():
    x = np.array([2.75])
    assert abs(ops.gelu(x, "tanh")[0] - ops.gelu(x, "erf")[0]) > 4e-4


def gelu_tanh(x):
    return 0.5 * x * (1.0 + F.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


@pytest.mark.parametrize(
    ("function", "composition"),
    [
        pytest.param(F.gelu, gelu_tanh, id="gelu tanh"),
        pytest.param(lambda x: F.gelu(x, "quick"), lambda x: x * F.sigmoid(1.702 * x), id="gelu quick"),
        pytest.param(lambda x: F.gelu(x, "erf"), lambda x: x * (0.5 + 0.5 * F.erf(x / math.sqrt(2))), id="gelu erf"),
    ],
)
@given(x=arrays(shapes(), nonzero))
def test_gelu_equals_its_composition(function, composition, x):
    assert_same(function, composition, x, tolerance=1e-12)


@pytest.mark.parametrize("form", ["tanh", "erf"])
def test_gelu_equals_the_published_code(form, recorded):
    vectors = recorded("ops")
    y, vjp = ops.gelu(vectors[f"gelu_{form}/x"], form)
    np.testing.assert_allclose(y, vectors[f"gelu_{form}/y"], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(vjp(np.ones_like(y))[0], vectors[f"gelu_{form}/dy"], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", ["tanh", "erf", "quick"])
def test_gelu_at_ten_thousand(form, dtype):
    y, vjp = ops.gelu(np.array([-1e4, 1e4], dtype), form)
    rounding = np.finfo(dtype).eps  # of 1 + erf, which the factor x then enlarges
    np.testing.assert_allclose(y, [0, 1e4], rtol=0, atol=1e4 * rounding)
    np.testing.assert_allclose(vjp(np.ones(2, dtype))[0], [0, 1], rtol=0, atol=rounding)


def test_gelu_refuses_other_forms():
    with pytest.raises(ValueError, match='gelu: form is "sigmoid", expected "tanh", "erf" or "quick"'):
        ops.gelu(np.ones(2), "sigmoid")
