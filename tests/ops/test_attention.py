"""Scaled dot-product attention on the packed projection."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from devices import assert_allclose, ops, tensor, to_device, to_host
from hypothesis import given
from strategies import arrays, assert_close, assert_same, check

from minivit import functional as F
from minivit.ops.attention import attention_weights, merge_heads, split_heads
from minivit.tensor import grad


@st.composite
def packed(draw, min_side=1):
    """qkv (B, N, 3D), the number of heads, and factors that drop one in three attention weights."""
    batch, tokens = draw(st.integers(min_side, 2)), draw(st.integers(1, 4))
    heads, features = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    qkv = draw(arrays((batch, tokens, 3 * heads * features)))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    return qkv, heads, (rng.random((batch, heads, tokens, tokens)) < 2 / 3) * 1.5


def attention_by_head(qkv, heads, keep=None):
    """Eq. 5 to 8 as written: one sequence and one head at a time."""
    batch, tokens, packed_width = qkv.shape
    width = packed_width // 3
    k_dim = width // heads
    y = np.zeros((batch, tokens, width))
    for b in range(batch):
        for h in range(heads):
            columns = np.arange(h * k_dim, (h + 1) * k_dim)
            q, k, v = (qkv[b][:, part * width + columns] for part in range(3))
            e = np.exp(q @ k.T / math.sqrt(k_dim))
            a = e / e.sum(axis=1, keepdims=True)
            y[b][:, columns] = (a if keep is None else a * keep[b, h]) @ v
    return y


@pytest.mark.gradient_check("attention")
@given(drawn=packed(min_side=0))
def test_attention(drawn):
    qkv, heads, keep = drawn
    assert_close(ops.attention(qkv, heads)[0], attention_by_head(qkv, heads))
    assert_close(ops.attention(qkv, heads, keep)[0], attention_by_head(qkv, heads, keep))
    check(ops.attention, qkv, heads=heads)
    check(ops.attention, qkv, heads=heads, keep=keep.astype("float32"))  # float32 factors leave float64 alone


@given(drawn=packed())
def test_attention_equals_its_composition(drawn):
    qkv, heads, keep = drawn
    batch, tokens, width = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3

    def composition(factors):
        def attend(qkv):
            q, k, v = (
                qkv[..., part * width : (part + 1) * width]
                .reshape(batch, tokens, heads, width // heads)
                .transpose(0, 2, 1, 3)
                for part in range(3)
            )
            a = F.softmax(q @ k.transpose(0, 1, 3, 2) / math.sqrt(width // heads))
            return (a * to_device(factors) @ v).transpose(0, 2, 1, 3).reshape(batch, tokens, width)

        return attend

    assert_same(lambda qkv: F.attention(qkv, heads), composition(1.0), qkv)
    assert_same(lambda qkv: F.attention(qkv, heads, keep=to_device(keep)), composition(keep), qkv)


def test_attention_equals_the_published_code(recorded):
    vectors = {key.removeprefix("mha/"): value for key, value in recorded("ops").items() if key.startswith("mha/")}
    width, heads, _ = vectors["p/query/kernel"].shape
    parameters = {
        "kernel": np.concatenate(
            [vectors[f"p/{part}/kernel"].reshape(width, -1) for part in ("query", "key", "value")], 1
        ),
        "bias": np.concatenate([vectors[f"p/{part}/bias"].ravel() for part in ("query", "key", "value")]),
        "out/kernel": vectors["p/out/kernel"].reshape(-1, width),
        "out/bias": vectors["p/out/bias"],
    }
    leaves = {name: tensor(value, requires_grad=True) for name, value in parameters.items()}
    x = tensor(vectors["x"], requires_grad=True)
    packed_projection = F.linear(x, leaves["kernel"], leaves["bias"])
    y = F.linear(F.attention(packed_projection, heads), leaves["out/kernel"], leaves["out/bias"])
    assert_allclose(y, vectors["y"], rtol=1e-9)
    dx, dkernel, dbias, dout_kernel, dout_bias = to_host(grad(y, [x, *leaves.values()], to_device(vectors["upstream"])))
    found = {"gx": dx, "g/out/kernel": dout_kernel, "g/out/bias": dout_bias}
    for i, part in enumerate(("query", "key", "value")):
        found[f"g/{part}/kernel"] = dkernel[:, i * width : (i + 1) * width]
        found[f"g/{part}/bias"] = dbias[i * width : (i + 1) * width]
    for name, gradient in found.items():
        expected = vectors[name].reshape(gradient.shape)
        np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_attention_between_large_queries_and_keys(dtype):
    qkv = np.zeros((1, 3, 6), dtype)
    qkv[0, :, 0] = qkv[0, :, 2] = [100, -100, 50]  # scores of +-1e4
    qkv[0, :, 4:] = np.arange(6).reshape(3, 2)
    y, vjp = ops.attention(qkv, 1)
    np.testing.assert_array_equal(y[0], [[0, 1], [2, 3], [0, 1]])
    assert np.isfinite(vjp(np.ones_like(y))[0]).all()


def test_queries_keys_and_values_are_views():
    qkv = np.arange(2 * 3 * 24.0).reshape(2, 3, 24)
    q, k, v = split_heads(qkv, 4)
    assert all(np.shares_memory(part, qkv) and part.shape == (2, 4, 3, 2) for part in (q, k, v))
    np.testing.assert_array_equal(merge_heads(k), qkv[..., 8:16])
    np.testing.assert_array_equal(v[:, 1], qkv[..., 18:20])


@given(drawn=packed())
def test_attention_weights_of_a_query_sum_to_one(drawn):
    q, k, _ = split_heads(drawn[0], drawn[1])
    assert_close(attention_weights(q, k).sum(axis=-1), np.ones(q.shape[:-1]))


@pytest.mark.parametrize(("shape", "heads"), [((2, 3, 10), 1), ((2, 3, 12), 3), ((3, 12), 2), ((1, 2, 3, 12), 2)])
def test_attention_says_what_does_not_fit(shape, heads):
    with pytest.raises(
        ValueError, match=rf"attention: qkv \(.*\) is not \(B, N, 3D\) with D divisible by {heads} heads"
    ):
        ops.attention(np.ones(shape), heads)


@pytest.mark.parametrize("heads", [0, -1])
def test_heads_are_at_least_one(heads):
    with pytest.raises(ValueError, match="heads"):
        F.attention(np.ones((1, 2, 3), "float32"), heads)
