"""Attention pooling: one query for a sequence, or one for each of its parts."""

import numpy as np

from minivit import functional as F
from minivit.nn.attention_pool import AttentionPool
from minivit.tensor import Tensor, grad


def pool_and_tokens():
    rng = np.random.default_rng(0)
    pool = AttentionPool(8, 2, 12, rng, "float64")
    pool.norm.bias.data[:] = rng.normal(size=8)
    return pool, Tensor(rng.normal(size=(1, 5, 8)), requires_grad=True)


def test_parts_are_pooled_each_for_itself():
    pool, x = pool_and_tokens()
    mask = np.array([[True, False, True, False, False], [False, True, False, False, True]])[None, None]
    found = pool(x, mask, 2)
    for row, chosen in zip(found.data[0], mask[0, 0], strict=True):
        assert np.allclose(row, pool(Tensor(x.data[:, chosen])).data[0, 0], rtol=0, atol=1e-13)
    (g,) = grad((found * np.random.default_rng(1).normal(size=found.shape)).sum(), [x])
    assert g[0, [0, 1, 2, 4]].all()
    assert not g[0, 3].any()


def test_the_order_of_tokens_does_not_count():
    pool, x = pool_and_tokens()
    assert np.allclose(pool(x).data, pool(Tensor(x.data[:, ::-1])).data, rtol=0, atol=1e-13)


def test_a_part_of_no_token_is_finite():
    pool, x = pool_and_tokens()
    mask = np.zeros((1, 1, 2, 5), bool)
    mask[0, 0, 0] = True
    y = pool(x, mask, 2)
    assert np.allclose(y.data[:, :1], pool(x).data, rtol=0, atol=1e-13)
    bias = pool.attention.out.bias
    assert np.allclose(y.data[0, 1], (bias + pool.mlp(pool.norm(bias))).data, rtol=0, atol=1e-13)
    assert all(np.isfinite(g).all() for g in grad(F.sum(y), [x, *pool.parameters()]))
