"""Attention whose heads come apart, against MultiHeadAttention."""

import numpy as np
import pytest
from devices import assert_allclose, placed, tensor

from minivit import functional as F
from minivit.nn import HeadwiseAttention, MultiHeadAttention

pytestmark = pytest.mark.usefixtures("device")


class Exact(HeadwiseAttention):
    def attend(self, q, k, v):
        return F.softmax(q @ k.transpose(0, 1, 3, 2) * q.shape[-1] ** -0.5) @ v


class Marked(Exact):
    mark = 1

    def shown(self, q, k):
        return {"shapes": (q.shape, k.shape), "mark": self.mark}


@pytest.mark.parametrize("queries", [None, 2])
def test_it_has_the_parameters_and_the_result_of_attention(queries):
    rng = np.random.default_rng(0)
    plain = MultiHeadAttention(6, 3, rng)
    for parameter in plain.parameters():
        parameter.data += 0.3 * rng.standard_normal(parameter.shape).astype("float32")
    plain = placed(plain)
    layer = Exact.instead_of(plain)
    assert [name for name, _ in layer.named_parameters()] == [name for name, _ in plain.named_parameters()]
    assert layer.qkv is plain.qkv
    x = tensor(rng.standard_normal((2, 4, 6)).astype("float32"))
    taps = {}, {}
    assert_allclose(layer(x, None, taps[0], queries), plain(x, None, taps[1], queries), atol=1e-6)
    weights = taps[0]["attention_weights"]
    assert weights.shape == (2, 3, queries or 4, 4)
    assert_allclose(weights, taps[1]["attention_weights"][:, :, : queries or 4], atol=1e-6)


def test_a_subclass_says_what_a_tap_sees_and_gets_fields():
    plain, tap = placed(MultiHeadAttention(6, 2, np.random.default_rng(0))), {}
    Marked.instead_of(plain, mark=5)(tensor(np.zeros((1, 4, 6), "float32")), tap=tap, queries=1)
    assert tap == {"shapes": ((1, 2, 1, 3), (1, 2, 4, 3)), "mark": 5}
    assert Marked.mark == 1


def test_without_attend_it_is_not_a_layer():
    with pytest.raises(NotImplementedError):
        placed(HeadwiseAttention(6, 2, None))(tensor(np.zeros((1, 4, 6), "float32")))
