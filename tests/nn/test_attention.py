"""Attention to the tokens before and to another sequence, against loops over heads and tokens."""

import math

import numpy as np
import pytest
from devices import assert_allclose, assert_equal, placed, tensor, to_device, to_host

from minivit.nn import CausalAttention, CrossAttention, MultiHeadAttention
from minivit.ops.dropping import keep_mask

pytestmark = pytest.mark.usefixtures("device")

WIDTH, HEADS = 6, 3


def rng(seed=0):
    return np.random.default_rng(seed)


def perturbed(layer):
    """The layer with random parameters everywhere: no bias is zero."""
    generator = rng(7)
    for p in layer.parameters():
        p.data += 0.5 * generator.standard_normal(p.shape)
    return placed(layer)


def attended(q, k, v, seen, keep=None):
    """The heads' weighted means side by side, one query at a time, over the keys that it has `seen`."""
    y, width = np.zeros((*q.shape[:2], v.shape[2])), q.shape[2] // HEADS
    for b, i, head in np.ndindex(*q.shape[:2], HEADS):
        mine = slice(head * width, (head + 1) * width)
        keys = [n for n in range(k.shape[1]) if seen(i, n)]
        e = [math.exp(q[b, i, mine] @ k[b, n, mine] / math.sqrt(width)) for n in keys]
        for n, part in zip(keys, e, strict=True):
            y[b, i, mine] += part / sum(e) * v[b, n, mine] * (1 if keep is None else keep[b, head, i, n])
    return y


def dense(layer, x):
    return x @ to_host(layer.weight) + (0 if layer.bias is None else to_host(layer.bias))


# causal


def causal(layer, x, keep=None):
    q, k, v = np.split(dense(layer.qkv, x), 3, axis=-1)
    return dense(layer.out, attended(q, k, v, lambda i, n: n <= i, keep))


def test_a_token_looks_at_itself_and_at_those_before_it():
    layer, x = perturbed(CausalAttention(WIDTH, HEADS, rng(), "float64")), rng(1).standard_normal((2, 5, WIDTH))
    assert_allclose(layer(tensor(x)), causal(layer, x), rtol=1e-12)
    assert_allclose(layer(tensor(x), queries=2), causal(layer, x)[:, :2], rtol=1e-12)
    for seen in range(1, 5):
        later = x.copy()
        later[:, seen:] += 1
        assert_equal(layer(tensor(later))[:, :seen], to_host(layer(tensor(x)))[:, :seen])


def test_causal_dropout_takes_the_masks_of_multi_head_attention():
    layer, x = CausalAttention(WIDTH, HEADS, rng(), "float64", dropout=0.4), rng(1).standard_normal((2, 5, WIDTH))
    perturbed(layer)
    keep = keep_mask((2, HEADS, 5, 5), 0.4, rng(3), x)
    assert_allclose(layer(tensor(x), rng(3)), causal(layer, x, keep), rtol=1e-12)
    assert_allclose(layer.eval()(tensor(x)), causal(layer, x), rtol=1e-12)
    with pytest.raises(ValueError, match="attention dropout: in training mode it draws a mask"):
        layer.train()(tensor(x))


def test_causal_weights_are_those_of_multi_head_attention():
    one, other = (kind(WIDTH, HEADS, rng()) for kind in (CausalAttention, MultiHeadAttention))
    for (name, p), (same, q) in zip(one.named_parameters(), other.named_parameters(), strict=True):
        assert name == same
        np.testing.assert_array_equal(p.data, q.data)


def test_the_tap_of_causal_attention_shows_weights_that_look_back():
    layer, tap = perturbed(CausalAttention(WIDTH, HEADS, rng(), "float64")), {}
    x = tensor(rng(1).standard_normal((2, 5, WIDTH)))
    layer(x, tap=tap)
    weights = to_host(tap["attention_weights"])
    assert weights.shape == (2, HEADS, 5, 5)
    assert not np.triu(weights, 1).any()
    assert_allclose(weights.sum(axis=-1), np.ones((2, HEADS, 5)))
    values = np.split(dense(layer.qkv, to_host(x)), 3, axis=-1)[2].reshape(2, 5, HEADS, -1).transpose(0, 2, 1, 3)
    merged = (weights @ values).transpose(0, 2, 1, 3).reshape(2, 5, WIDTH)
    assert_allclose(layer(x), dense(layer.out, merged), rtol=1e-12)


# cross


def cross(layer, x, context, values=None, keep=None, seen=lambda i, n: True):
    q, k = dense(layer.query, x), dense(layer.key, context)
    return dense(layer.out, attended(q, k, dense(layer.value, context if values is None else values), seen, keep))


X, CONTEXT, VALUES = (rng(i).standard_normal(shape) for i, shape in enumerate([(2, 4, WIDTH), (2, 7, 5), (2, 7, 5)]))


@pytest.mark.parametrize("bias", [True, False])
def test_queries_of_one_sequence_ask_another(bias):
    layer = perturbed(CrossAttention(WIDTH, HEADS, 5, rng(), "float64", bias=bias))
    assert_allclose(layer(tensor(X), tensor(CONTEXT)), cross(layer, X, CONTEXT), rtol=1e-12)
    assert all((part.bias is not None) == bias for part in (layer.query, layer.key, layer.value, layer.out))


def test_values_may_be_others_than_what_gives_the_keys():
    layer = perturbed(CrossAttention(WIDTH, HEADS, 5, rng(), "float64"))
    y = layer(tensor(X), tensor(CONTEXT), values=tensor(VALUES))
    assert_allclose(y, cross(layer, X, CONTEXT, VALUES), rtol=1e-12)


def test_a_mask_says_where_queries_may_look():
    layer = perturbed(CrossAttention(WIDTH, HEADS, 5, rng(), "float64"))
    mask = np.arange(7) % 2 == np.arange(4)[:, None] % 2
    y = layer(tensor(X), tensor(CONTEXT), mask=to_device(mask))
    assert_allclose(y, cross(layer, X, CONTEXT, seen=lambda i, n: n % 2 == i % 2), rtol=1e-12)
    hidden = tensor(np.where(mask, 0, -np.inf))
    assert_allclose(layer(tensor(X), tensor(CONTEXT), bias=hidden), to_host(y), rtol=1e-12)


def test_dropout_of_cross_attention():
    layer = perturbed(CrossAttention(WIDTH, HEADS, 5, rng(), "float64", dropout=0.4))
    keep = keep_mask((2, HEADS, 4, 7), 0.4, rng(3), X)
    assert_allclose(layer(tensor(X), tensor(CONTEXT), rng(3)), cross(layer, X, CONTEXT, keep=keep), rtol=1e-12)
    assert_allclose(layer.eval()(tensor(X), tensor(CONTEXT)), cross(layer, X, CONTEXT), rtol=1e-12)


def test_projections_of_cross_attention_are_each_initialised_for_their_widths():
    layer = CrossAttention(64, 4, 200, rng())
    for part, fan_in in ((layer.query, 64), (layer.key, 200), (layer.value, 200), (layer.out, 64)):
        limit = math.sqrt(6 / (fan_in + 64))
        assert part.weight.shape == (fan_in, 64)
        assert 0.98 * limit < np.abs(part.weight.data).max() <= limit
        assert not part.bias.data.any()
