"""SwiGLU against its formula."""

import numpy as np
import pytest
from devices import assert_allclose, placed, tensor, to_host

from minivit.nn import SwiGLU
from minivit.ops.dropping import keep_mask

pytestmark = pytest.mark.usefixtures("device")


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("bias", [True, False])
def test_a_gate_lets_hidden_features_through(bias):
    layer, x = SwiGLU(6, 7, rng(), "float64", bias=bias), rng(1).standard_normal((2, 4, 6))
    for p in layer.parameters():
        p.data += 0.5 * rng(2).standard_normal(p.shape)
    placed(layer)

    def dense(part, x):
        return x @ to_host(part.weight) + (to_host(part.bias) if bias else 0)

    gate = dense(layer.gate, x)
    assert_allclose(layer(tensor(x)), dense(layer.out, gate / (1 + np.exp(-gate)) * dense(layer.value, x)), rtol=1e-12)


def test_dropout_is_where_that_of_the_mlp_is():
    layer, x = SwiGLU(6, 7, rng(), "float64", dropout=0.4, bias=False), rng(1).standard_normal((2, 4, 6))
    generator = rng(3)
    placed(layer)
    gate, value, out = (to_host(part.weight) for part in (layer.gate, layer.value, layer.out))
    gate, value = x @ gate, x @ value
    hidden = gate / (1 + np.exp(-gate)) * value * keep_mask((2, 4, 7), 0.4, generator, x)
    assert_allclose(layer(tensor(x), rng(3)), hidden @ out * keep_mask((2, 4, 6), 0.4, generator, x), rtol=1e-12)
