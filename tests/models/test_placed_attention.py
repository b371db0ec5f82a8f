"""Positions that are part of the attention: the relative ones of appendix D.4, and rotary ones."""

import numpy as np
import pytest

from minivit.errors import ConfigError
from minivit.gradcheck import check_gradients
from minivit.models import ViT, ViTConfig
from minivit.models.cost import multiply_adds
from minivit.models.placed_attention import RelativeAttention, RotaryAttention, diagonals
from minivit.tensor import Tensor

SHAPE = {"image_size": (6, 8), "channels": 1, "patch_size": 2, "width": 16, "depth": 2, "heads": 2, "num_classes": 5}


def drawn(layer, seed=0):
    """The layer with all parameters drawn."""
    rng = np.random.default_rng(seed)
    for p in layer.parameters():
        p.data[...] = rng.normal(0, 0.5, p.shape)
    return layer


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def by_loops(layer, x, placed=lambda q: q, bias=lambda q, i, j: 0.0):
    """The attention of one sequence (N, D), pair by pair.   placed, bias: of one head's queries or keys (N, Dh)."""
    width, heads = x.shape[-1], layer.heads
    qkv = x @ layer.qkv.weight.data + layer.qkv.bias.data
    out, each = [], width // heads
    for h in range(heads):
        q, k, v = (qkv[:, part * width + h * each :][:, :each] for part in range(3))
        q, k = placed(q), placed(k)
        scores = np.array([[(q[i] @ k[j] + bias(q, i, j)) / each**0.5 for j in range(len(x))] for i in range(len(x))])
        out.append(softmax(scores) @ v)
    return np.concatenate(out, axis=1) @ layer.out.weight.data + layer.out.bias.data


@pytest.mark.parametrize("tokens", [1, 2, 7])
def test_relative_scores_are_those_of_the_equation(tokens):
    layer = drawn(RelativeAttention(tokens, 12, 3, np.random.default_rng(0), "float64", 0.0, True))
    x = np.random.default_rng(1).normal(size=(2, tokens, 12))
    expected = [by_loops(layer, one, bias=lambda q, i, j: q[i] @ layer.offsets.data[i - j + tokens - 1]) for one in x]
    whole = layer(Tensor(x)).data
    np.testing.assert_allclose(whole, expected, rtol=1e-10, atol=1e-12)
    for queries in {1, tokens}:
        np.testing.assert_allclose(layer(Tensor(x), queries=queries).data, whole[:, :queries], rtol=1e-10, atol=1e-12)
    tap = {}
    layer(Tensor(x), tap=tap)
    assert tap["attention_weights"].shape == (2, 3, tokens, tokens)


def turned(q, grid, before):
    """Queries or keys (N, Dh) of one head turned as complex numbers: the first half of the pairs by the column."""
    each = q.shape[1]
    f = 100.0 ** -(np.arange(each // 4) / (each // 4))
    y, x = np.mgrid[: grid[0], : grid[1]].reshape(2, -1)
    angles = np.concatenate([x[:, None] * f, y[:, None] * f], axis=1)
    pairs = (q[before:, 0::2] + 1j * q[before:, 1::2]) * np.exp(1j * angles)
    out = q.copy()
    out[before:, 0::2], out[before:, 1::2] = pairs.real, pairs.imag
    return out


@pytest.mark.parametrize("before", [0, 1])
def test_rotary_scores_are_those_of_turned_queries_and_keys(before):
    grid = (2, 3)
    layer = drawn(RotaryAttention(grid, 16, 2, np.random.default_rng(0), "float64", 0.0, True))
    x = np.random.default_rng(1).normal(size=(2, 6 + before, 16))
    expected = [by_loops(layer, one, placed=lambda q: turned(q, grid, before)) for one in x]
    np.testing.assert_allclose(layer(Tensor(x)).data, expected, rtol=1e-10, atol=1e-12)


def test_the_first_rows_of_the_diagonals():
    x = np.arange(2.0 * 3 * 5 * 9).reshape(2, 3, 5, 9)
    expected = np.array(
        [[[[x[b, h, i, j - i + 4] for j in range(5)] for i in range(5)] for h in range(3)] for b in (0, 1)]
    )
    for rows in range(1, 6):
        np.testing.assert_array_equal(diagonals(Tensor(x[:, :, :rows])).data, expected[:, :, :rows])


@pytest.mark.parametrize("position", ["relative", "rope"])
def test_gradients(position):
    model = drawn(ViT(ViTConfig(**SHAPE, position=position), dtype="float64"))
    x = np.random.default_rng(2).normal(size=(2, 6, 8, 1))
    check_gradients(lambda *parameters: model(x), *model.parameters(), rtol=1e-4)


@pytest.mark.parametrize("classifier", ["token", "gap"])
@pytest.mark.parametrize("position", ["relative", "rope"])
def test_a_model_with_such_positions_sees_where_patches_are(position, classifier):
    config = ViTConfig(**SHAPE, position=position, classifier=classifier)
    model = drawn(ViT(config))
    assert not hasattr(model, "position_embedding")
    images = np.random.default_rng(0).normal(size=(1, 6, 8, 1)).astype("float32")
    patches = images.reshape(1, 3, 2, 4, 2, 1)
    moved = patches[:, ::-1].reshape(images.shape)  # the same patches in other places
    assert np.abs(model(images).data - model(moved).data).max() > 1e-4
    blind = drawn(ViT(ViTConfig(**SHAPE, position="none", classifier=classifier)))
    assert np.abs(blind(images).data - blind(moved).data).max() < 1e-5


def test_counts_and_costs():
    none, relative, rope = (ViT(ViTConfig(**SHAPE, position=p), None) for p in ("none", "relative", "rope"))
    assert relative.num_parameters() - none.num_parameters() == 2 * (2 * 13 - 1) * 8  # blocks, offsets, Dh
    assert rope.num_parameters() == none.num_parameters()
    costs = [multiply_adds(model.config) for model in (none, relative, rope)]
    assert costs[1] - costs[0] == 2 * 13 * 25 * 16
    assert costs[2] == costs[0]


def test_heads_that_cannot_be_turned_are_refused():
    with pytest.raises(ConfigError, match="position rope turns pairs for rows and columns: heads of width 6"):
        ViTConfig(**{**SHAPE, "width": 12}, position="rope")
