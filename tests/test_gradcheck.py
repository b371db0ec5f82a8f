"""The checker is itself checked: it must see planted errors, and must not see errors in what is right."""

import re

import numpy as np
import pytest
from hypothesis import given
from strategies import arrays, moderate, seeds, shapes

from minivit import functional as F
from minivit import gradcheck, ops
from minivit.gradcheck import GradientError, check_gradients, check_vjp
from minivit.tensor import Tensor, lift

rng = np.random.default_rng(0)
X = rng.standard_normal((3, 4))
SCALE, BIAS = rng.uniform(0.5, 2, (2, 4))


# Ops with one error each. What a function is right about, it takes from the op of minivit.


def planted(change):
    """exp with its gradient g y put through `change(g y, g, y, x)`."""

    def op(x):
        y, vjp = ops.exp(x)
        return y, lambda g: change(vjp(g)[0], g, y, x)

    op.__name__ = change.__name__
    return op


def zeros(d, g, y, x):
    return (np.zeros_like(d),)


def sign_flipped(d, g, y, x):
    return (-d,)


def ten_times(d, g, y, x):
    return (10 * d,)


def not_a_number(d, g, y, x):
    return (np.nan * d,)


def one_element_wrong(d, g, y, x):
    d[-1, -1] *= 1.001
    return (d,)


def two_gradients(d, g, y, x):
    return d, d


def no_tuple(d, g, y, x):
    return d


def transposed(d, g, y, x):
    return (d.T,)


def summed(d, g, y, x):
    return (d.sum(axis=1),)


def the_input_itself(d, g, y, x):
    x[...] = d
    return (x,)


def writes_to_the_input(d, g, y, x):
    x *= 2
    return (d,)


def writes_to_the_cotangent(d, g, y, x):
    g *= y
    return (g,)


def writes_to_y(d, g, y, x):
    y *= g
    return (y + 0,)


def wide_gradient(d, g, y, x):
    return (d.astype("float64"),)


def assumes_that_the_cotangent_is_contiguous(d, g, y, x):
    return (y * g.ravel(order="K").reshape(g.shape),)


def assumes_that_the_input_is_contiguous(d, g, y, x):
    return (g * np.exp(x.ravel(order="K")).reshape(x.shape),)


PLANTED = {
    zeros: "gradient of argument 0 (3, 4) is wrong",
    sign_flipped: "is wrong",
    ten_times: "is wrong",
    not_a_number: "is wrong",
    one_element_wrong: "is wrong",
    two_gradients: "must return a tuple of 1 gradients",
    no_tuple: "must return a tuple of 1 gradients",
    transposed: "gradient 0 has shape (4, 3), argument 0 has (3, 4)",
    summed: "gradient 0 has shape (3,), argument 0 has (3, 4)",
    the_input_itself: "argument 0 was modified",
    writes_to_the_input: "argument 0 was modified",
    writes_to_the_cotangent: "its vjp modified the cotangent",
    writes_to_y: "its vjp modified y",
    wide_gradient: "gradient 0 is float64 for float32 arguments",
    assumes_that_the_cotangent_is_contiguous: "is wrong",
    assumes_that_the_input_is_contiguous: "is wrong",
}


@pytest.mark.parametrize(("change", "message"), [pytest.param(*pair, id=pair[0].__name__) for pair in PLANTED.items()])
def test_a_planted_error_is_found(change, message):
    with pytest.raises(GradientError, match=f"^{change.__name__}: .*{re.escape(message)}"):
        check_vjp(planted(change), X.copy())


def softmax_with_zero_gradient(x):
    y, _ = ops.softmax(x)
    return y, lambda g: (np.zeros_like(x),)


def softmax_without_its_sum(x):
    y, _ = ops.softmax(x)
    return y, lambda g: (y * g,)


def softmax_summed_over_the_wrong_axis(x):
    y, _ = ops.softmax(x)
    return y, lambda g: (y * (g - (g * y).sum(axis=0, keepdims=True)),)


def softmax_of_the_sum_only(x):
    y, _ = ops.softmax(x)
    return y, lambda g: (y * (g.mean(axis=-1, keepdims=True) - (g * y).sum(axis=-1, keepdims=True)),)


def layer_norm_with(dx_of):
    """layer_norm whose dx is `dx_of(h, x_hat) / std`."""

    def layer_norm(x, scale, bias):
        y, vjp = ops.layer_norm(x, scale, bias)
        std = np.sqrt(x.var(axis=-1, keepdims=True) + 1e-6)
        x_hat = (x - x.mean(axis=-1, keepdims=True)) / std

        def wrong_vjp(g):
            return dx_of(g * scale, x_hat) / std, *vjp(g)[1:]

        return y, wrong_vjp

    return layer_norm


def mean(h):
    return h.mean(axis=-1, keepdims=True)


SUBTLE = {
    "softmax zero": (softmax_with_zero_gradient, [X]),
    "softmax without the sum": (softmax_without_its_sum, [X]),
    "softmax wrong axis": (softmax_summed_over_the_wrong_axis, [X]),
    "softmax mean of g for g": (softmax_of_the_sum_only, [X]),
    "layer_norm without the variance term": (layer_norm_with(lambda h, x_hat: h - mean(h)), [X, SCALE, BIAS]),
    "layer_norm without the mean term": (
        layer_norm_with(lambda h, x_hat: h - x_hat * mean(h * x_hat)),
        [X, SCALE, BIAS],
    ),
    "layer_norm with neither": (layer_norm_with(lambda h, x_hat: h), [X, SCALE, BIAS]),
    "log_softmax without the sum": (lambda x: (ops.log_softmax(x)[0], lambda g: (g + 0,)), [X]),
    "matmul transposed": (lambda x, y: (x @ y, lambda g: (g @ y, x.T @ g)), [X[:, :3], X[:, :3].copy()]),
}


@pytest.mark.parametrize("case", SUBTLE)
def test_a_subtle_error_is_found(case):
    op, inputs = SUBTLE[case]
    with pytest.raises(GradientError, match="is wrong"):
        check_vjp(op, *inputs)


def test_the_pattern_of_the_subtle_errors_is_right_without_the_error():
    check_vjp(layer_norm_with(lambda h, x_hat: h - mean(h) - x_hat * mean(h * x_hat)), X, SCALE, BIAS)


@pytest.mark.parametrize("case", ["softmax zero", "softmax mean of g for g"])
def test_a_cotangent_of_ones_would_not_see_the_softmax_errors(case, monkeypatch):
    """The gradient of sum(softmax(x)) is zero: why check_vjp draws its cotangent."""
    op, inputs = SUBTLE[case]
    drawn = np.random.default_rng(0)

    class Ones:
        """A generator whose cotangents are ones and whose directions are random."""

        standard_normal = staticmethod(np.ones)
        uniform, choice = drawn.uniform, drawn.choice

    monkeypatch.setattr(gradcheck.np.random, "default_rng", lambda seed: Ones())
    check_vjp(op, *inputs)


def test_a_float64_scalar_that_widens_the_value_is_found():
    def doubled(x):
        factor = np.float64(2)
        return x * factor, lambda g: (g * 2,)

    def halved(x):
        factor = np.float64(0.5)
        return x * 0.5, lambda g: (g * factor,)

    with pytest.raises(GradientError, match="doubled: y is float64 for float32 arguments"):
        check_vjp(doubled, X)
    with pytest.raises(GradientError, match="halved: gradient 0 is float64 for float32 arguments"):
        check_vjp(halved, X)


def test_an_op_that_hands_back_an_input_as_a_gradient_is_found():
    def dot(x, y):
        return (x * y).sum(), lambda g: (y, x)  # right for g = 1 alone, and aliased

    with pytest.raises(GradientError, match="dot: a gradient is argument 0 itself, not a new array"):
        check_vjp(dot, X, X + 1)


def test_a_forward_pass_that_writes_to_its_input_is_found():
    def relu(x):
        x[x < 0] = 0
        return x + 0, lambda g: (g * (x > 0),)

    with pytest.raises(GradientError, match="relu: argument 0 was modified"):
        check_vjp(relu, X.copy())


def test_an_op_that_is_not_smooth_is_not_passed():
    def rounded(x):
        return np.round(x, 3), lambda g: (g,)

    with pytest.raises(GradientError, match="is wrong"):
        check_vjp(rounded, X)


def test_a_missing_unbroadcast_is_found(monkeypatch):
    def scaled(x, scale):
        return x * scale

    check_gradients(scaled, X, SCALE)
    wrong = lambda d, shape: d[(0,) * (d.ndim - len(shape))]
    monkeypatch.setattr("minivit.backward.unbroadcast", wrong)
    with pytest.raises(GradientError, match=r"scaled: gradient of argument 1 \(4,\) is wrong"):
        check_gradients(scaled, X, SCALE)


def test_no_unbroadcast_at_all_is_found(monkeypatch):
    monkeypatch.setattr("minivit.backward.unbroadcast", lambda d, shape: d)
    with pytest.raises(ValueError, match=r"mul.*: gradient 1 has shape \(3, 4\), its argument \(4,\)"):
        check_gradients(lambda x, scale: x * scale, X, SCALE)


def test_check_gradients_finds_planted_errors():
    for case, (op, inputs) in SUBTLE.items():
        op.__name__ = case
        with pytest.raises(GradientError, match="is wrong"):
            check_gradients(lift(op), *inputs)


def test_check_gradients_restores_the_parameters():
    weight = Tensor(X.copy(), requires_grad=True)
    data = weight.data
    check_gradients(lambda weight: F.softmax(weight * 2.0), weight)
    assert weight.data is data
    np.testing.assert_array_equal(data, X)
    assert weight.grad is None


def test_check_gradients_finds_an_input_that_the_tape_lost():
    with pytest.raises(GradientError, match="not connected to its inputs by the tape"):
        check_gradients(lambda x: F.exp(Tensor(x.data)), X)
    with pytest.raises(GradientError, match="it predicts 0, central differences measure"):
        check_gradients(lambda x, y: F.exp(Tensor(x.data)) + y, X, X)


def test_the_message_gives_the_numbers():
    with pytest.raises(
        GradientError, match=r"predicts [-\d.]+, central differences measure [-\d.]+ \(relative error 0\.9"
    ):
        check_vjp(planted(ten_times), X)


@given(x=arrays(shapes(max_dims=4), moderate), seed=seeds)
def test_a_right_op_passes_whatever_is_drawn(x, seed):
    assert check_vjp(ops.tanh, x, rng=seed) <= 1e-6


def test_a_right_op_passes_a_thousand_times():
    errors = []
    for seed in range(1000):
        draw = np.random.default_rng(seed)
        x, scale, bias = draw.standard_normal((2, 5)), draw.standard_normal(5), draw.standard_normal(5)
        errors.append(check_vjp(ops.softmax, x, rng=draw, directions=1))
        errors.append(check_vjp(ops.layer_norm, x, scale, bias, rng=draw, directions=1, eps=1e-2))
    assert max(errors) <= 1e-6


def test_a_wrong_op_fails_a_thousand_times():
    for seed in range(1000):
        with pytest.raises(GradientError):
            check_vjp(softmax_summed_over_the_wrong_axis, X, rng=seed, directions=1, dtypes=())


def test_arguments_that_are_not_floating_point_are_left_alone():
    logits = rng.standard_normal((3, 4))
    check_vjp(ops.cross_entropy, logits, np.array([0, 3, 1]))
    check_vjp(ops.where, np.array([True, False, True, False]), X, X + 1)
    check_vjp(ops.mul, X, 3)


def test_nothing_to_check_in_empty_arrays():
    assert check_vjp(ops.exp, np.ones((0, 3))) == 0
