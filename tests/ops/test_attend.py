"""Attention between any queries, keys and values."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from devices import ops, tensor, to_device
from hypothesis import given
from strategies import arrays, assert_close, assert_same, check

from minivit import functional as F
from minivit.tensor import grad


@st.composite
def queries_keys_values(draw):
    """q, k, v with any number of queries and keys and with values of their own width; heads; the shape of A."""
    batch, queries, keys = draw(st.integers(0, 2)), draw(st.integers(1, 3)), draw(st.integers(1, 4))
    heads, features, others = (draw(st.integers(1, 3)) for _ in range(3))
    shapes = (queries, heads * features), (keys, heads * features), (keys, heads * others)
    return [draw(arrays((batch, *shape))) for shape in shapes], heads, (batch, heads, queries, keys)


def part_of(draw, shape):
    """A shape that broadcasts to `shape`."""
    stretched = tuple(1 if draw(st.booleans()) else n for n in shape)
    return stretched[draw(st.integers(0, len(shape))) :]


def attend_by_query(q, k, v, heads, bias, mask, keep, scale):
    """As the formulas have it: one query of one head at a time."""
    shape = (len(q), heads, q.shape[1], k.shape[1])
    bias, mask, keep = (np.broadcast_to(x, shape) for x in (bias, mask, keep))
    y = np.zeros((*q.shape[:2], v.shape[2]))
    for b, h, m in np.ndindex(shape[:3]):
        own, values = (slice(h * n // heads, (h + 1) * n // heads) for n in (q.shape[2], v.shape[2]))
        seen = np.flatnonzero(mask[b, h, m])
        e = [math.exp(scale * (q[b, m, own] @ k[b, n, own]) + bias[b, h, m, n]) for n in seen]
        for n, part in zip(seen, e, strict=True):
            y[b, m, values] += part / sum(e) * keep[b, h, m, n] * v[b, n, values]
    return y


@pytest.mark.gradient_check("attend")
@given(data=st.data(), drawn=queries_keys_values(), scale=st.sampled_from([None, 0.3]))
def test_attend(data, drawn, scale):
    (q, k, v), heads, shape = drawn
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    bias = data.draw(arrays(part_of(data.draw, shape)))
    mask = rng.random(part_of(data.draw, shape)) < 0.6  # a query may be left with no key at all
    keep = (rng.random(shape) < 2 / 3) * 1.5
    number = 1 / math.sqrt(q.shape[2] / heads) if scale is None else scale
    everything = {"heads": heads, "mask": mask, "keep": keep, "scale": scale}
    for bias_given, options in [(None, {"heads": heads, "scale": scale}), (bias, everything)]:
        y, _ = ops.attend(q, k, v, bias_given, **options)
        factors = (0.0, True, 1.0) if bias_given is None else (bias, mask, keep)
        assert_close(y, attend_by_query(q, k, v, heads, *factors, number))
    check(ops.attend, q, k, v, heads=heads, scale=scale)
    everything["keep"] = keep.astype("float32")  # which leaves float64 alone
    check(ops.attend, q, k, v, bias, **everything)


@given(drawn=queries_keys_values(), data=st.data())
def test_attend_equals_its_composition(drawn, data):
    (q, k, v), heads, shape = drawn
    bias = data.draw(arrays(part_of(data.draw, shape)))

    def composition(q, k, v, bias):
        q, k, v = (x.reshape(*x.shape[:2], heads, x.shape[2] // heads).transpose(0, 2, 1, 3) for x in (q, k, v))
        a = F.softmax(q @ k.transpose(0, 1, 3, 2) / math.sqrt(q.shape[3]) + bias)
        y = (a @ v).transpose(0, 2, 1, 3)
        return y.reshape(*y.shape[:2], y.shape[2] * y.shape[3])

    assert_same(lambda *inputs: F.attend(*inputs, heads=heads), composition, q, k, v, bias)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("tokens", "heads", "features"), [(5, 1, 4), (17, 3, 8), (65, 4, 16)])
@pytest.mark.parametrize("dropped", [False, True])
def test_attention_is_the_case_of_one_sequence_bit_for_bit(dtype, tokens, heads, features, dropped):
    rng = np.random.default_rng(0)
    width = heads * features
    qkv = rng.standard_normal((2, tokens, 3 * width)).astype(dtype)
    g = rng.standard_normal((2, tokens, width)).astype(dtype)
    keep = ((rng.random((2, heads, tokens, tokens)) < 0.8) / 0.8).astype(dtype) if dropped else None
    y, vjp = ops.attention(qkv, heads, keep)
    parts = (qkv[..., i * width : (i + 1) * width] for i in range(3))
    z, attend_vjp = ops.attend(*parts, heads=heads, keep=keep)
    np.testing.assert_array_equal(y, z)
    np.testing.assert_array_equal(vjp(g)[0], np.concatenate(attend_vjp(g)[:3], axis=-1))


# masks


@pytest.mark.parametrize("hide", ["mask", "bias"])
def test_a_query_that_may_look_nowhere_gets_nothing_and_gives_nothing(hide):
    rng = np.random.default_rng(0)
    q, k, v, g = rng.standard_normal((4, 2, 3, 4))
    mask = np.ones((2, 1, 3, 3), bool)
    mask[0, 0, 1] = False
    options = {"mask": mask} if hide == "mask" else {"bias": np.where(mask, 0, -np.inf)}
    y, vjp = ops.attend(q, k, v, heads=2, **options)
    dq, dk, dv, _ = vjp(g)
    assert not y[0, 1].any()
    assert not dq[0, 1].any()
    rest = [0, 2]
    z, rest_vjp = ops.attend(q[:1, rest], k[:1], v[:1], heads=2)
    expected = rest_vjp(g[:1, rest])
    assert_close((y[:1, rest], dq[:1, rest], dk[:1], dv[:1]), (z, *expected[:3]))
    assert all(np.isfinite(d).all() for d in (y, dq, dk, dv))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_a_mask_hides_changes_nothing(dtype):
    rng = np.random.default_rng(0)
    q, k, v = rng.standard_normal((3, 1, 5, 6)).astype(dtype)
    mask = np.tri(5, dtype=bool)
    y, _ = ops.attend(q, k, v, heads=2, mask=mask)
    for seen in range(1, 5):
        hidden = [x.copy() for x in (k, v)]
        for x in hidden:
            x[:, seen:] = 1e4
        z, _ = ops.attend(q, *hidden, heads=2, mask=mask)
        np.testing.assert_array_equal(z[:, :seen], y[:, :seen])
        assert not np.allclose(z[:, seen:], y[:, seen:])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_scores_do_not_overflow(dtype):
    q = np.zeros((1, 3, 2), dtype)
    q[0, :, 0] = [100, -100, 50]  # scores of +-1e4
    v = np.arange(6, dtype=dtype).reshape(1, 3, 2)
    y, vjp = ops.attend(q, q, v, heads=1)
    np.testing.assert_array_equal(y[0], [[0, 1], [2, 3], [0, 1]])
    assert all(np.isfinite(d).all() for d in vjp(np.ones_like(y))[:3])


def test_the_engine_gives_bias_and_inputs_their_gradients_and_keeps_the_mask():
    rng = np.random.default_rng(0)
    q, k, v = (tensor(rng.standard_normal((2, 3, 4)), requires_grad=True) for _ in range(3))
    bias = tensor(rng.standard_normal((2, 3, 3)), requires_grad=True)
    mask = to_device(np.tri(3, dtype=bool))
    y = F.attend(q, k, v, bias=bias, heads=2, mask=mask)
    mask[...] = False  # the caller's own from here on
    g = rng.standard_normal(y.shape)
    found = grad(y, [q, k, v, bias], to_device(g))
    _, vjp = ops.attend(*(x.data for x in (q, k, v, bias)), heads=2, mask=to_device(np.tri(3, dtype=bool)))
    *expected, dbias = vjp(g)
    assert_close(found, [*expected, dbias.sum(axis=0)])


# what does not fit

Q, K, V = np.ones((2, 3, 4)), np.ones((2, 5, 4)), np.ones((2, 5, 6))


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ((Q, K, V), {"heads": 4}, r"q \(2, 3, 4\), k \(2, 5, 4\) and v \(2, 5, 6\) are not .* divisible by 4 heads"),
        ((Q, K, V), {"heads": 0}, "divisible by 0 heads"),
        ((Q, K[:1], V), {"heads": 2}, r"k \(1, 5, 4\)"),
        ((Q, K, V[:, :4]), {"heads": 2}, r"v \(2, 4, 6\)"),
        ((Q, K[..., :2], V), {"heads": 2}, r"k \(2, 5, 2\)"),
        ((Q[0], K, V), {"heads": 2}, r"q \(3, 4\)"),
        ((Q, K, V, np.ones((5, 3))), {"heads": 2}, r"bias \(5, 3\) does not broadcast .* \(2, 2, 3, 5\)"),
        ((Q, K, V, np.ones((1, 2, 2, 3, 5))), {"heads": 2}, "bias"),
        ((Q, K, V), {"heads": 2, "mask": np.ones((2, 5), bool)}, r"mask \(2, 5\) does not broadcast"),
        ((Q, K, V), {"heads": 2, "mask": np.ones((3, 5))}, "mask is of float64, expected booleans"),
        ((Q, K, V), {"heads": 2, "keep": np.ones((3, 5))}, r"keep is \(3, 5\), the attention weights are"),
    ],
)
def test_attend_says_what_does_not_fit(arrays, options, message):
    with pytest.raises(ValueError, match=f"attend: .*{message}"):
        ops.attend(*arrays, **options)
