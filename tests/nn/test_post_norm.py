"""The layer that normalises after each branch, and attention with a mask, against loops."""

import numpy as np
import pytest
from transformer_by_hand import attention, gelu, norm

from minivit.nn import MLP
from minivit.nn.masked import MaskedAttention
from minivit.nn.post_norm import PostNormBlock
from minivit.tensor import Tensor, grad


def block(dropout=0.0, attention_dropout=0.0):
    rng = np.random.default_rng(0)
    inner = MaskedAttention(6, 2, rng, "float64", attention_dropout)
    made = PostNormBlock(inner, MLP(6, 10, rng, "float64", gelu="erf"), 6, "float64", dropout, norm_eps=1e-3)
    for parameter in made.parameters():
        parameter.data += 0.3 * rng.standard_normal(parameter.shape)
    return made


def by_hand(made, x, seen):
    state = made.state_dict()
    w, b = (np.split(state[f"attention.qkv.{kind}"].T, 3) for kind in ("weight", "bias"))
    out = state["attention.out.weight"].T, state["attention.out.bias"]
    middle = x + attention(x, x, *zip(w, b, strict=True), out, 2, seen)
    middle = norm(middle, state["norm1.scale"], state["norm1.bias"], 1e-3)
    hidden = gelu(middle @ state["mlp.hidden.weight"] + state["mlp.hidden.bias"])
    last = middle + hidden @ state["mlp.out.weight"] + state["mlp.out.bias"]
    return middle, norm(last, state["norm2.scale"], state["norm2.bias"], 1e-3)


@pytest.mark.parametrize("masked", [False, True])
def test_it_agrees_with_loops(masked):
    made, x = block(), np.random.default_rng(1).normal(size=(2, 5, 6))
    seen = np.array([[True] * 5, [True, True, False, True, False]]) if masked else np.ones((2, 5), bool)
    tap = {}
    y = made(Tensor(x), tap=tap, mask=seen[:, None, None] if masked else None)
    for b in (0, 1):
        middle, last = by_hand(made, x[b], np.broadcast_to(seen[b], (5, 5)))
        assert np.allclose(tap["middle"].data[b], middle, rtol=0, atol=1e-12)
        assert np.allclose(y.data[b], last, rtol=0, atol=1e-12)
    assert tap["output"] is y
    weights = tap["attention_weights"]
    assert np.allclose(weights.sum(axis=-1), 1)
    assert not (weights * ~seen[:, None, None]).any()
    assert np.allclose(
        made.attention.out(tap["attended"]).data, made.attention(Tensor(x), mask=seen[:, None, None]).data
    )


def test_no_gradient_comes_from_what_is_masked():
    made, x = block(), Tensor(np.random.default_rng(1).normal(size=(1, 4, 6)), requires_grad=True)
    g = np.random.default_rng(2).normal(size=(1, 4, 6))
    g[:, 3] = 0  # nothing is asked of the last token itself
    (dx,) = grad(made(x, mask=np.array([True, True, True, False])[None, None, None]), [x], g)
    assert not dx[:, 3].any()
    assert dx[:, :3].all()


@pytest.mark.parametrize("where", [{"dropout": 0.5}, {"attention_dropout": 0.5}])
def test_dropout_is_drawn_in_training_only(where):
    made, x = block(**where), Tensor(np.random.default_rng(1).normal(size=(1, 4, 6)))
    first, again, other = (made(x, np.random.default_rng(seed)).data for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.array_equal(made.eval()(x).data, block()(x).data)
    with pytest.raises(ValueError, match="rng"):
        made.train()(x)
