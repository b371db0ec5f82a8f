"""Maps cut into windows: put back, indexed by differences; attention inside them against loops over pairs of places."""

import math

import numpy as np
import pytest
from devices import assert_allclose, assert_equal, check_gradients, library, placed, tensor, to_device, to_host

from minivit.nn.windows import WindowAttention, regions_apart, relative_index, whole, windows

pytestmark = pytest.mark.usefixtures("device")


def test_windows_are_put_back():
    x = np.random.default_rng(0).standard_normal((2, 6, 8, 3))
    cut = windows(tensor(x), (3, 4))
    assert cut.shape == (8, 12, 3)
    assert_equal(cut.data[1].reshape(3, 4, 3), x[0, :3, 4:])
    assert_equal(whole(cut, (3, 4), (6, 8)).data, x)


@pytest.mark.parametrize(("rows", "columns"), [(2, 3), (4, 1)])
def test_the_index_is_that_of_differences(rows, columns):
    index = to_host(relative_index((rows, columns), library()))
    for i, j in np.ndindex(index.shape):
        down, across = i // columns - j // columns, i % columns - j % columns
        assert index[i, j] == (down + rows - 1) * (2 * columns - 1) + across + columns - 1


@pytest.mark.parametrize("shift", [(2, 1), (0, 1), (2, 0), (0, 0)])
def test_regions_are_those_of_slices(shift):
    size, window, label = (8, 9), (4, 3), np.zeros((8, 9), int)
    parts = [
        (slice(0, -w), slice(-w, -s), slice(-s, None)) if s else (slice(None),)
        for w, s in zip(window, shift, strict=True)
    ]
    for i, rows in enumerate(parts[0]):
        for j, columns in enumerate(parts[1]):
            label[rows, columns] = 3 * i + j
    found = to_host(regions_apart(size, window, shift, library()))
    assert found.shape == (6, 12, 12)
    for number in range(6):
        y, x = number // 3 * 4, number % 3 * 3
        own = label[y : y + 4, x : x + 3].reshape(-1)
        assert np.array_equal(found[number], own[:, None] != own)


def random_attention(bias=True):
    layer, rng = WindowAttention(6, 2, (2, 3), None, "float64", bias), np.random.default_rng(1)
    for p in layer.parameters():
        p.data[...] = rng.standard_normal(p.shape)
    return layer


@pytest.mark.parametrize("bias", [True, False])
def test_attention_is_that_of_a_loop(bias):
    """Two images of three windows; where places are apart, -100 is added, in the order (image, window)."""
    layer, rng = random_attention(bias), np.random.default_rng(0)
    x, apart, expected = rng.standard_normal((6, 6, 6)), rng.random((3, 6, 6)) < 0.4, np.zeros((6, 6, 6))
    qkv = x @ layer.qkv.weight.data + (layer.qkv.bias.data if bias else 0)
    for w, h, i in np.ndindex(6, 2, 6):
        q, k, v = (qkv[w, :, 6 * part + 3 * h : 6 * part + 3 * h + 3] for part in range(3))
        scores = np.zeros(6)
        for j in range(6):
            row = (i // 3 - j // 3 + 1) * 5 + i % 3 - j % 3 + 2
            scores[j] = q[i] @ k[j] / math.sqrt(3) + layer.relative_bias.data[row, h] - 100 * apart[w % 3, i, j]
        weights = np.exp(scores - scores.max())
        expected[w, i, 3 * h : 3 * h + 3] = weights / weights.sum() @ v
    expected = expected @ layer.out.weight.data + layer.out.bias.data
    found = placed(layer)(tensor(x), to_device(apart))
    assert_allclose(found.data, expected, rtol=1e-10, atol=1e-12)


def test_its_gradients():
    layer, rng = placed(random_attention()), np.random.default_rng(0)
    x, apart = tensor(rng.standard_normal((4, 6, 6)), requires_grad=True), to_device(rng.random((2, 6, 6)) < 0.3)
    check_gradients(lambda *_: layer(x, apart), x, *layer.parameters())
