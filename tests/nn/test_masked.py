"""Blocks whose tokens do not all see each other: equal to the ViT's where they do, and blind where they must be."""

import numpy as np
import pytest

from minivit.nn import MLP, EncoderBlock, LayerNorm, MultiHeadAttention, RMSNorm
from minivit.nn.masked import BiasFreeMLP, MaskedAttention, MaskedBlock
from minivit.tensor import Tensor, grad


def blocks(**fields):
    """A ViT's block and a masked one, with the same weights."""
    found = []
    for kind, attention in ((EncoderBlock, MultiHeadAttention), (MaskedBlock, MaskedAttention)):
        rng = np.random.default_rng(0)
        mlp = MLP(8, 12, rng, "float64")
        found.append(kind(attention(8, 2, rng, "float64"), mlp, 8, "float64", **fields))
    return found


X = Tensor(np.random.default_rng(1).normal(size=(2, 5, 8)), requires_grad=True)


@pytest.mark.parametrize("fields", [{}, {"layer_scale": 0.1}, {"dropout": 0.5}, {"drop_path": 0.5}], ids=str)
def test_without_a_mask_it_is_the_block_of_a_vit(fields):
    plain, masked = (block(X, np.random.default_rng(2)).data for block in blocks(**fields))
    assert np.allclose(plain, masked, rtol=0, atol=1e-13)


def test_what_a_token_does_not_see_has_no_effect_on_it():
    _, block = blocks()
    seen = np.eye(5, dtype=bool) | (np.arange(5) < 2)
    tap = {}
    y = block(X, tap=tap, mask=seen)
    (g,) = grad(y[:, 4].sum(), [X])
    assert not g[:, 2:4].any()
    assert g[:, [0, 1, 4]].all()
    assert np.array_equal(tap["attention_weights"] > 0, np.broadcast_to(seen, (2, 2, 5, 5)))
    hidden = Tensor(np.where(seen, 0, np.finfo("float64").min))
    assert np.allclose(block(X, bias=hidden[None, None]).data, y.data, rtol=0, atol=1e-13)


def test_a_query_that_sees_nobody_gives_finite_numbers_and_gradients():
    _, block = blocks()
    nobody = np.zeros((5, 5), bool)
    for how in ({"mask": nobody}, {"bias": Tensor(np.full((5, 5), np.finfo("float64").min))[None, None]}):
        y = block(X, **how)
        assert np.isfinite(y.data).all()
        assert all(np.isfinite(g).all() for g in grad(y.sum(), [X, *block.parameters()]))


@pytest.mark.parametrize("kind", [RMSNorm, LayerNorm])
def test_queries_and_keys_are_normalised_by_head(kind):
    rng = np.random.default_rng(0)
    q_norm, k_norm = (kind(4, 1e-6, "float64") for _ in range(2))
    attention = MaskedAttention(8, 2, rng, "float64", q_norm=q_norm, k_norm=k_norm)
    scales = np.repeat(np.array([3.0, 5.0]), 4)  # of one head and of the other
    before, tap = {}, {}
    attention(X, tap=before)
    attention.qkv.weight.data[:, :8] *= scales
    attention(X, tap=tap)
    assert np.allclose(tap["attention_weights"], before["attention_weights"], rtol=0, atol=1e-4)
    q_norm.scale.data *= 2
    attention(X, tap=tap)
    assert not np.allclose(tap["attention_weights"], before["attention_weights"], rtol=0, atol=1e-3)


def test_biases_can_be_left_out():
    attention = MaskedAttention(8, 2, None, qkv_bias=False, out_bias=False)
    assert [name for name, _ in attention.named_parameters()] == ["qkv.weight", "out.weight"]
    assert [name for name, _ in BiasFreeMLP(8, 12, None).named_parameters()] == ["hidden.weight", "out.weight"]
    rng = np.random.default_rng(0)
    plain, free = MLP(8, 12, rng, "float64"), BiasFreeMLP(8, 12, rng, "float64")
    for layer in ("hidden", "out"):
        getattr(plain, layer).bias.data[:] = 0
        getattr(free, layer).weight = getattr(plain, layer).weight
    assert np.allclose(free(X).data, plain(X).data, rtol=0, atol=1e-14)


def test_weights_are_dropped_in_training():
    attention = MaskedAttention(8, 2, np.random.default_rng(0), "float64", dropout=0.5)
    first, second = (attention(X, np.random.default_rng(seed)).data for seed in (1, 2))
    assert not np.allclose(first, second)
    attention.eval()
    assert np.array_equal(attention(X).data, attention(X).data)
