"""group_norm, batch_norm and standardise."""

import hypothesis.strategies as st
import numpy as np
import pytest
from devices import ops, to_device
from hypothesis import given
from strategies import arrays, assert_close, assert_same, check, rngs, shapes

from minivit import functional as F
from minivit import ops as minivit_ops

groups_and_widths = st.tuples(st.integers(1, 3), st.integers(1, 3))


@st.composite
def group_norm_inputs(draw):
    """x (B, ..., C), scale, bias, groups; at least 4 numbers in a group: two near ones bend sharply."""
    groups, width = draw(groups_and_widths)
    pixels = draw(st.sampled_from([(2, 2), (4,), (5, 1), (2, 1, 2)]))
    x = draw(arrays((draw(st.integers(1, 2)), *pixels, groups * width)))
    return x, draw(arrays((groups * width,))), draw(arrays((groups * width,))), groups


@pytest.mark.gradient_check("group_norm")
@given(inputs=group_norm_inputs(), eps=st.sampled_from([1e-2, 1.0]))
def test_group_norm(inputs, eps):
    x, scale, bias, groups = inputs
    expected = np.empty_like(x)
    for image, out in zip(x, expected, strict=True):
        for channels in np.array_split(np.arange(x.shape[-1]), groups):
            part = image[..., channels]
            out[..., channels] = (part - part.mean()) / np.sqrt(part.var() + eps) * scale[channels] + bias[channels]
    assert_close(ops.group_norm(*inputs, eps=eps)[0], expected)
    check(ops.group_norm, x, scale, bias, groups=groups, eps=eps)


@given(inputs=group_norm_inputs(), eps=st.sampled_from([1e-6, 1e-2]))
def test_group_norm_is_layer_norm_of_each_group(inputs, eps):
    x, scale, bias, groups = inputs
    pixels = x[0].size // x.shape[-1]
    split = (len(x), pixels, groups, x.shape[-1] // groups)

    def composition(x, scale, bias):
        rows = x.reshape(*split).transpose(0, 2, 1, 3).reshape(len(x.data), groups, -1)
        unit = F.layer_norm(rows, *to_device((np.ones(rows.shape[-1]), np.zeros(rows.shape[-1]))), eps)
        x_hat = unit.reshape(split[0], groups, pixels, split[3]).transpose(0, 2, 1, 3).reshape(*x.shape)
        return x_hat * scale + bias

    assert_same(lambda *a: F.group_norm(*a, groups, eps), composition, x, scale, bias, tolerance=1e-8)


@given(inputs=group_norm_inputs(), rng=rngs)
def test_images_do_not_see_each_other(inputs, rng):
    x, scale, bias, groups = inputs
    together = np.concatenate([x, rng.standard_normal(x.shape)])
    assert_close(ops.group_norm(together, scale, bias, groups)[0][: len(x)], ops.group_norm(*inputs)[0])


def test_group_norm_equals_the_published_code(recorded):
    v = recorded("ops")
    y, _ = ops.group_norm(v["gn32_64/x"], v["gn32_64/scale"], v["gn32_64/bias"])
    np.testing.assert_allclose(y, v["gn32_64/y"], rtol=1e-9, atol=1e-12)


def test_group_norm_says_what_does_not_fit():
    x, six, three = np.ones((2, 3, 6)), np.ones(6), np.ones(3)
    for inputs, groups in (
        ((x, six, six), 4),
        ((x, six, six), 0),
        ((x, three, six), 2),
        ((x, six, three), 2),
        ((six, six, six), 2),
    ):
        with pytest.raises(
            ValueError, match=r"group_norm: x \(.*\), scale \(.*\) and bias \(.*\) do not agree in C, or"
        ):
            ops.group_norm(*inputs, groups=groups)


# standardise


@pytest.mark.gradient_check("standardise")
@given(weight=arrays(shapes(min_dims=2, min_side=2, max_dims=4, max_side=3)), eps=st.sampled_from([1e-5, 0.5]))
def test_standardise(weight, eps):
    filters = weight.reshape(-1, weight.shape[-1]).T
    expected = np.stack([(w - w.mean()) / (w.std() + eps) for w in filters], axis=-1).reshape(weight.shape)
    assert_close(ops.standardise(weight, eps)[0], expected, 1e-9)
    check(ops.standardise, weight, eps=max(eps, 1e-2), rtol=1e-5)  # filters of two near numbers bend sharply


@given(weight=arrays(shapes(min_dims=2, min_side=2, max_dims=4, max_side=3)), eps=st.sampled_from([1e-5, 0.5]))
def test_standardise_equals_its_composition(weight, eps):
    axes = tuple(range(weight.ndim - 1))

    def composition(weight):
        std = F.sqrt(F.var(weight, axis=axes, keepdims=True))
        return (weight - weight.mean(axis=axes, keepdims=True)) / (std + eps)

    assert_same(lambda weight: F.standardise(weight, eps), composition, weight, tolerance=1e-8)


def test_a_filter_of_equal_weights_is_zero_and_has_a_finite_gradient():
    weight = np.stack([np.full((2, 2), 3.0), np.arange(4.0).reshape(2, 2)], axis=-1)
    y, vjp = ops.standardise(weight)
    assert not y[..., 0].any()
    (dw,) = vjp(np.random.default_rng(0).standard_normal(weight.shape))
    assert np.isfinite(dw).all()
    assert_close(dw.sum(axis=(0, 1)), np.zeros(2), 1e-9)


# batch_norm


@st.composite
def batch_norm_inputs(draw):
    """x (..., C), scale, bias; at least 4 numbers of a channel: two near ones bend sharply."""
    rows = draw(st.sampled_from([(4,), (2, 3), (2, 1, 5), (1, 2, 3, 2)]))
    channels = draw(st.integers(1, 4))
    return tuple(draw(arrays(shape)) for shape in ((*rows, channels), (channels,), (channels,)))


@pytest.mark.gradient_check("batch_norm")
@given(inputs=batch_norm_inputs(), eps=st.sampled_from([1e-2, 1.0]))
def test_batch_norm(inputs, eps):
    x, scale, bias = inputs
    expected = np.empty_like(x)
    for c in range(x.shape[-1]):
        expected[..., c] = (x[..., c] - x[..., c].mean()) / np.sqrt(x[..., c].var() + eps) * scale[c] + bias[c]
    assert_close(ops.batch_norm(x, scale, bias, eps=eps)[0], expected)
    check(ops.batch_norm, x, scale, bias, eps=eps)


@given(inputs=batch_norm_inputs(), rng=rngs)
def test_batch_norm_with_running_statistics(inputs, rng):
    x, scale, bias = inputs
    mean, variance = rng.standard_normal(len(scale)), rng.uniform(0.1, 2, len(scale))
    expected = (x - mean) / np.sqrt(variance + 1e-5) * scale + bias
    assert_close(ops.batch_norm(x, scale, bias, (mean, variance))[0], expected)
    check(ops.batch_norm, x, scale, bias, running=(mean, variance), eps=1e-2)


@given(inputs=batch_norm_inputs())
def test_batch_norm_gives_mean_and_unbiased_variance(inputs):
    found = {}
    minivit_ops.batch_norm(*to_device(inputs), found=found)
    rows = np.asarray(inputs[0]).reshape(-1, inputs[0].shape[-1])
    assert_close((found["mean"], found["variance"]), (rows.mean(axis=0), rows.var(axis=0, ddof=1)))


def test_batch_norm_says_what_does_not_fit():
    x, one = np.ones((2, 3, 4)), np.ones(4)
    for bad in ((x, np.ones(3), one), (x, one, np.ones(3)), (x, np.ones((1, 4)), np.ones((1, 4))), (one, one, one)):
        with pytest.raises(ValueError, match=r"batch_norm: x \(.*\), scale \(.*\) and bias \(.*\) do not agree in C"):
            ops.batch_norm(*bad)
    with pytest.raises(ValueError, match=r"batch_norm: x \(1, 1, 4\) has 1 values per channel"):
        ops.batch_norm(np.ones((1, 1, 4)), one, one)
    y, _ = ops.batch_norm(np.ones((1, 1, 4)), one, one, (one, one))
    np.testing.assert_array_equal(y, np.ones((1, 1, 4)))
