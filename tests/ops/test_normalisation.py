"""softmax, log_softmax, layer_norm."""

import hypothesis.strategies as st
import numpy as np
import pytest
from devices import ops
from hypothesis import given
from strategies import arrays, assert_close, assert_same, check, op_case, rngs, shapes

from minivit import functional as F

EXTREMES = np.array(
    [[1e4, -1e4, 0.0, 9_999.0], [1e3, 1e3, 1e3, 1e3], [-1e4, -1e4, -9_998.0, -1e4], [-1e3, 5.0, 1e3, 999.5]]
)


def softmax_in_long_double(x, axis=-1):
    e = np.exp(x.astype(np.longdouble) - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


@st.composite
def arrays_and_axis(draw):
    x = draw(arrays(shapes(min_dims=1, min_side=1)))
    return x, draw(st.integers(-x.ndim, x.ndim - 1))


@pytest.mark.parametrize(
    ("name", "definition"),
    [
        op_case("softmax", softmax_in_long_double),
        op_case("log_softmax", lambda x, a: np.log(softmax_in_long_double(x, a))),
    ],
)
@given(drawn=arrays_and_axis())
def test_softmax_and_its_logarithm(name, definition, drawn):
    x, axis = drawn
    op = getattr(ops, name)
    assert_close(op(x, axis)[0], definition(x, axis), 1e-14)
    check(op, x, axis=axis)


@given(drawn=arrays_and_axis())
def test_softmax_equals_its_composition(drawn):
    x, axis = drawn

    def composition(x):
        e = F.exp(x - F.max(x, axis, keepdims=True))
        return e / e.sum(axis, keepdims=True)

    assert_same(lambda x: F.softmax(x, axis), composition, x)
    assert_same(lambda x: F.log_softmax(x, axis), lambda x: F.log(composition(x)), x)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_softmax_of_large_numbers(dtype):
    x = EXTREMES.astype(dtype)
    expected = softmax_in_long_double(x).astype("float64")
    y, vjp = ops.softmax(x)
    log_y, log_vjp = ops.log_softmax(x)
    rounding = 4 * np.finfo(dtype).eps
    np.testing.assert_allclose(y, expected, rtol=rounding, atol=0)
    np.testing.assert_allclose(log_y[expected > 0], np.log(expected[expected > 0]), rtol=rounding, atol=rounding)
    g = np.random.default_rng(0).standard_normal(x.shape).astype(dtype)
    np.testing.assert_allclose(vjp(g)[0], expected * (g - (g * expected).sum(-1, keepdims=True)), atol=8 * rounding)
    np.testing.assert_allclose(log_vjp(g)[0], g - expected * g.sum(-1, keepdims=True), atol=8 * rounding)


def test_softmax_of_minus_infinity_is_zero():
    y, vjp = ops.softmax(np.array([0.0, -np.inf, 0.0]))
    np.testing.assert_array_equal(y, [0.5, 0, 0.5])
    np.testing.assert_array_equal(vjp(np.array([1.0, 5.0, 0.0]))[0], [0.25, 0, -0.25])


@pytest.mark.parametrize("op", [ops.softmax, ops.log_softmax])
def test_no_rows_have_no_softmax(op):
    y, vjp = op(np.ones((0, 3)))
    assert y.shape == vjp(y)[0].shape == (0, 3)


# layer_norm


@st.composite
def layer_norm_inputs(draw, min_side=0):
    """x (..., D) with D of at least 2: of one number the normal form is 0 and there is nothing to check."""
    width = draw(st.integers(2, 6))
    x = draw(arrays((*draw(shapes(max_dims=2, min_side=min_side)), width)))
    return x, draw(arrays((width,))), draw(arrays((width,)))


def layer_norm_by_row(x, scale, bias, eps):
    y = np.empty_like(x)
    for i in np.ndindex(x.shape[:-1]):
        deviation = x[i] - np.mean(x[i])
        y[i] = deviation / np.sqrt(np.mean(deviation**2) + eps) * scale + bias
    return y


@pytest.mark.gradient_check("layer_norm")
@given(inputs=layer_norm_inputs(), eps=st.sampled_from([1e-6, 1e-2, 1.0]))
def test_layer_norm(inputs, eps):
    assert_close(ops.layer_norm(*inputs, eps)[0], layer_norm_by_row(*inputs, eps), 1e-9)
    check(ops.layer_norm, *inputs, eps=max(eps, 1e-2))  # rows of two near numbers bend sharply if eps is small


@given(inputs=layer_norm_inputs(min_side=1), eps=st.sampled_from([1e-6, 1e-2, 1.0]))
def test_layer_norm_equals_its_composition(inputs, eps):
    def composition(x, scale, bias):
        centred = x - x.mean(axis=-1, keepdims=True)
        return centred / F.sqrt(F.var(x, axis=-1, keepdims=True) + eps) * scale + bias

    assert_same(lambda x, scale, bias: F.layer_norm(x, scale, bias, eps), composition, *inputs, tolerance=1e-8)


@given(x=arrays(shapes(max_dims=2, min_side=1).map(lambda shape: (*shape, 1))), rng=rngs)
def test_layer_norm_of_one_feature_is_the_bias(x, rng):
    scale, bias = rng.standard_normal((2, 1))
    y, vjp = ops.layer_norm(x, scale, bias)
    assert_close(y, np.broadcast_to(bias, x.shape))
    dx, dscale, dbias = vjp(np.ones_like(x))
    assert_close((dx, dscale, dbias), (np.zeros_like(x), np.zeros(1), np.array([float(x.size)])))


@pytest.mark.parametrize(("source", "eps"), [("flax1e-6", 1e-6), ("torch1e-5", 1e-5), ("hf1e-12", 1e-12)])
def test_layer_norm_equals_the_published_code(source, eps, recorded):
    vectors = recorded("ops")
    y, vjp = ops.layer_norm(vectors["ln/x"], vectors["ln/scale"], vectors["ln/bias"], eps)
    for name, found in zip(("y", "gx", "gscale", "gbias"), (y, *vjp(vectors["ln/upstream"])), strict=True):
        expected = vectors[f"ln/{source}/{name}"]
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * abs(expected).max())


def test_eps_is_the_published_one_by_default(recorded):
    vectors = recorded("ops")
    y, _ = ops.layer_norm(vectors["ln/x"], vectors["ln/scale"], vectors["ln/bias"])
    np.testing.assert_allclose(y, vectors["ln/flax1e-6/y"], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("mean", "spread", "tolerance"),
    [(1e4, 1.0, 2e-3), (3.0, 1e-3, 2e-3), (0.0, 1.0, 1e-6)],  # float32 spacing near the mean, over the spread
)
def test_layer_norm_keeps_its_digits_far_from_zero_and_nearly_constant(mean, spread, tolerance):
    rng = np.random.default_rng(1)
    x = (mean + spread * rng.standard_normal((8, 64))).astype("float32")
    scale, bias = rng.standard_normal((2, 64)).astype("float32")
    g = rng.standard_normal(x.shape).astype("float32")
    y, vjp = ops.layer_norm(x, scale, bias)
    exact_y, exact_vjp = ops.layer_norm(*(a.astype("float64") for a in (x, scale, bias)))
    assert y.dtype == "float32"
    for found, expected in zip((y, *vjp(g)), (exact_y, *exact_vjp(g.astype("float64"))), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * abs(expected).max())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_layer_norm_of_constant_rows_is_the_bias(dtype):
    x = np.array([[3, 3, 3, 3], [0, 0, 0, 0]], dtype)
    y, vjp = ops.layer_norm(x, np.ones(4, dtype), np.arange(4, dtype=dtype))
    np.testing.assert_array_equal(y, [[0, 1, 2, 3]] * 2)
    assert np.isfinite(vjp(np.ones_like(x))[0]).all()


def test_layer_norm_says_what_does_not_fit():
    x, width3, width4 = np.ones((2, 3)), np.ones(3), np.ones(4)
    for inputs in (
        (x, width4, width3),
        (x, width3, width4),
        (np.ones(()), width3, width3),
        (x, np.ones((1, 3)), width3),
    ):
        with pytest.raises(ValueError, match=r"layer_norm: x \(.*\), scale \(.*\) and bias \(.*\) do not agree in D"):
            ops.layer_norm(*inputs)
