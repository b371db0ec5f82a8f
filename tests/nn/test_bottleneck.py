"""The residual unit with batch normalisation, and the first layer, as in torchvision's ResNet."""

import numpy as np
import pytest
from devices import check_gradients

from minivit.nn import Module
from minivit.nn.bottleneck import SHRINKS, Bottleneck, ConvNorm, Root
from minivit.tensor import Tensor


def spread_out(module, seed=0):
    rng = np.random.default_rng(seed)
    for name, tensor in module.named_tensors():
        tensor.data += rng.uniform(0.1, 0.5, tensor.shape) if "running" in name else rng.normal(0, 0.3, tensor.shape)
    return module.eval()


def normed(layer, x):
    norm = layer.norm
    y = (x - norm.running_mean.data) / np.sqrt(norm.running_variance.data + 1e-5)
    return y * norm.scale.data + norm.bias.data


@pytest.mark.parametrize(("channels", "stride"), [(6, 1), (4, 1), (6, 2)])
def test_a_unit_is_branch_and_shortcut(channels, stride):
    rng = np.random.default_rng(1)
    middle = [ConvNorm(1, 2, 2, rng, "float64", stride)]
    unit = spread_out(Bottleneck(channels, 2, 6, middle, rng, "float64", stride))
    x = rng.normal(size=(2, 4, 6, channels))
    y = np.maximum(normed(unit.first, x @ unit.first.conv.weight.data[0, 0]), 0)
    y = np.maximum(normed(middle[0], y[:, ::stride, ::stride] @ middle[0].conv.weight.data[0, 0]), 0)
    y = normed(unit.last, y @ unit.last.conv.weight.data[0, 0])
    assert (unit.shortcut is None) == (channels == 6 and stride == 1)
    short = x
    if unit.shortcut:
        short = normed(unit.shortcut, x[:, ::stride, ::stride] @ unit.shortcut.conv.weight.data[0, 0])
    assert np.allclose(unit(Tensor(x)).data, np.maximum(short + y, 0), rtol=0, atol=1e-13)


def test_at_first_a_unit_is_its_shortcut():
    unit = Bottleneck(4, 2, 4, [Module()], np.random.default_rng(0), "float64")
    unit.middle[0].forward = lambda x: x
    x = np.random.default_rng(1).normal(size=(2, 3, 3, 4))
    assert np.array_equal(unit(Tensor(x)).data, np.maximum(x, 0))


@pytest.mark.parametrize("kind", SHRINKS)
def test_the_first_layer_shrinks_the_image(kind):
    root = spread_out(Root(kind, 1, 3, np.random.default_rng(0), "float64"))
    x = np.random.default_rng(1).normal(size=(1, 16, 24, 1))
    y = root(Tensor(x)).data
    assert y.shape == (1, 16 // SHRINKS[kind], 24 // SHRINKS[kind], 3)
    window = 7 if kind == "7x7" else 3
    around = np.pad(x, ((0, 0), (window // 2,) * 2, (window // 2,) * 2, (0, 0)))
    weight = root.layer.conv.weight.data

    def at(i, j):
        seen = around[0, i : i + window, j : j + window]
        return np.maximum(normed(root.layer, np.einsum("uvc,uvce->e", seen, weight)), 0)

    if kind == "3x3":
        expected = at(2, 3)
    else:  # the largest of three by three places, two pixels apart; those before the image do not exist
        expected = np.max([at(2 * i, 2 * j) for i in (3, 4, 5) for j in (5, 6, 7)], axis=0)
    assert np.allclose(y[0, 2, 3], expected, rtol=0, atol=1e-13)


def test_gradients():
    rng = np.random.default_rng(0)
    unit = spread_out(Bottleneck(3, 2, 4, [ConvNorm(3, 2, 2, rng, "float64")], rng, "float64"))

    def f(x, weight):
        unit.first.conv.weight = weight
        return unit(x)

    check_gradients(f, rng.normal(size=(1, 3, 2, 3)), unit.first.conv.weight.data.copy())
