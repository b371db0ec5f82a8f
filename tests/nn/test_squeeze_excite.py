"""Layers of mobile convolutional networks."""

import numpy as np
import pytest

from minivit.nn import BatchNorm, Linear
from minivit.nn.sequence import Sequence
from minivit.nn.squeeze_excite import ACTIVATIONS, NormAct, SqueezeExcite
from minivit.tensor import Tensor


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


ACTS = {"none": lambda x: x, "relu": lambda x: np.maximum(x, 0), "silu": lambda x: x * sigmoid(x)}


@pytest.mark.parametrize("act", ACTS)
def test_an_activation_follows_the_norm(act):
    x, layer, plain = np.random.default_rng(0).normal(size=(3, 2, 2, 4)), NormAct(4, act, "float64"), BatchNorm(4)
    for mode in (True, False):
        expected = ACTS[act](plain.train(mode)(Tensor(x)).data)
        assert np.allclose(layer.train(mode)(Tensor(x)).data, expected)


def test_all_activations_have_a_name():
    x = Tensor(np.array([-1.0, 0.5]))
    found = {name: act(x).data.tolist() for name, act in ACTIVATIONS.items()}
    assert found["gelu"] != found["gelu_tanh"]
    assert found["gelu"] == pytest.approx([-0.15865525, 0.34573123])
    assert found["relu"] == [0, 0.5]


def test_channels_are_weighed_by_the_means_of_all():
    rng = np.random.default_rng(0)
    layer, x = SqueezeExcite(3, 2, rng, "float64", "relu"), rng.normal(size=(2, 4, 5, 3))
    layer.reduce.bias.data[...], layer.expand.bias.data[...] = rng.normal(size=2), rng.normal(size=3)
    y = layer(Tensor(x)).data
    for image, found in zip(x, y, strict=True):
        hidden = np.maximum(image.mean(axis=(0, 1)) @ layer.reduce.weight.data + layer.reduce.bias.data, 0)
        assert np.allclose(found, image * sigmoid(hidden @ layer.expand.weight.data + layer.expand.bias.data))


def test_a_sequence_applies_one_after_the_other():
    rng, x = np.random.default_rng(0), Tensor(np.ones((1, 2)))
    first, second = Linear(2, 3, rng), Linear(3, 1, rng)
    assert np.array_equal(Sequence(first, second)(x).data, second(first(x)).data)
    assert Sequence()(x) is x
    assert [name for name, _ in Sequence(first).named_parameters()] == ["inside.0.weight", "inside.0.bias"]
