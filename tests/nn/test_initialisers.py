"""Initial values: the distributions of the published code, drawn often enough to tell them from their neighbours."""

import math

import numpy as np
import pytest

from minivit.nn import MLP, LayerNorm, Linear, MultiHeadAttention, PatchEmbed
from minivit.nn import initialisers as init


def rng():
    return np.random.default_rng(0)


def test_lecun_normal_is_truncated_at_two_sigmas():
    fan_in = 300
    w = init.lecun_normal(rng(), fan_in, 2000)
    sigma = math.sqrt(1 / fan_in) / 0.87962566103423978
    assert w.shape == (fan_in, 2000)
    assert 1.999 * sigma < abs(w).max() <= 2 * sigma
    assert w.std() == pytest.approx(math.sqrt(1 / fan_in), rel=0.003)
    assert w.mean() == pytest.approx(0, abs=5 * sigma / math.sqrt(w.size))
    within_one_sigma = (abs(w) < sigma).mean()
    assert within_one_sigma == pytest.approx(0.6827 / 0.9545, abs=0.003)  # drawn again outside, not clipped: 0.683


def test_xavier_uniform_limit():
    w = init.xavier_uniform(rng(), 100, 500)
    limit = math.sqrt(6 / 600)
    assert w.shape == (100, 500)
    assert 0.999 * limit < abs(w).max() <= limit
    assert w.std() == pytest.approx(limit / math.sqrt(3), rel=0.01)


def test_normal_is_not_truncated():
    w = init.normal(rng(), (1, 197, 192), std=0.02)
    assert w.std() == pytest.approx(0.02, rel=0.02)
    assert abs(w).max() > 0.07
    assert (abs(w) > 0.04).mean() == pytest.approx(0.0455, abs=0.004)


def test_queries_keys_and_values_are_initialised_each_for_itself():
    width = 192
    layer = MultiHeadAttention(width, 3, rng())
    limit = math.sqrt(3 / width)  # sqrt(6 / 2D) = 0.125; a (D, 3D) draw would have sqrt(6 / 4D) = 0.088
    parts = np.split(layer.qkv.weight.data, 3, axis=1)
    for w in (*parts, layer.out.weight.data):
        assert w.shape == (width, width)
        assert 0.999 * limit < abs(w).max() <= limit
    assert not np.array_equal(parts[0], parts[1])
    assert not np.array_equal(parts[1], parts[2])
    assert not layer.qkv.bias.data.any()
    assert not layer.out.bias.data.any()


def test_mlp_kernels_and_its_tiny_biases():
    layer = MLP(200, 3000, rng(), "float64")
    limit = math.sqrt(6 / 3200)
    for w in (layer.hidden.weight.data, layer.out.weight.data):
        assert 0.999 * limit < abs(w).max() <= limit
    assert layer.hidden.bias.data.std() == pytest.approx(1e-6, rel=0.05)
    assert layer.out.bias.data.std() == pytest.approx(1e-6, rel=0.2)


def test_patch_projection_is_lecun_normal_in_the_pixels_of_a_patch():
    layer = PatchEmbed((8, 4), 3, 2000, rng(), "float64")
    assert layer.projection.weight.data.std() == pytest.approx(math.sqrt(1 / 96), rel=0.01)
    assert not layer.projection.bias.data.any()


def test_layer_norm_starts_as_plain_normalisation():
    layer = LayerNorm(5)
    assert layer.scale.data.tolist() == [1] * 5
    assert layer.bias.data.tolist() == [0] * 5
    assert layer.eps == 1e-6


@pytest.mark.parametrize("initialiser", [init.lecun_normal, init.xavier_uniform, init.zeros])
def test_without_a_generator_there_are_zeros_that_take_no_memory(initialiser):
    w = initialiser(None, 10**6, 10**6)
    assert w.shape == (10**6, 10**6)
    assert w.strides == (0, 0)
    assert w[-1, -1] == 0


@pytest.mark.parametrize("initialiser", [init.lecun_normal, init.xavier_uniform])
def test_float32_weights_are_the_rounded_float64_weights_of_the_seed(initialiser):
    one, two = (Linear(7, 9, rng(), dtype, weight=initialiser) for dtype in ("float32", "float64"))
    assert (one.weight.dtype, two.weight.dtype) == ("float32", "float64")
    np.testing.assert_array_equal(one.weight.data, two.weight.data.astype("float32"))
    assert not np.array_equal(one.weight.data, two.weight.data)


def test_a_parameter_owns_writeable_contiguous_memory_of_its_dtype():
    ones = init.constant(1, (3, 4))
    for tensor in (init.parameter(ones), init.parameter(init.constant(0, (3, 4)))):
        assert tensor.requires_grad
        assert tensor.dtype == "float32"
        assert tensor.data.flags.c_contiguous
        tensor.data[0, 0] = 7  # every element is its own
        assert (tensor.data == 7).sum() == 1
    assert (ones == 1).all()


@pytest.mark.parametrize("value", [0.0, 2.5])
def test_a_learned_number_has_an_axis(value):
    """Of a number without axes `g += more` makes another one: the gradient of all pieces but the last would be lost."""
    with pytest.raises(ValueError, match=r"^parameter: the shape is \(\), .* use \(1,\) for a single number$"):
        init.parameter(init.constant(value, ()))
    number = init.parameter(init.constant(value, (1,)))
    assert number.shape == (1,)
    assert number.data.tolist() == [value]
