"""RMSNorm: what it holds, and that it uses it."""

import numpy as np
import pytest
from devices import assert_allclose, placed, tensor

from minivit.nn import RMSNorm

pytestmark = pytest.mark.usefixtures("device")


def test_tokens_of_any_size_leave_with_that_of_the_scale():
    layer, x = RMSNorm(6, eps=0.1, dtype="float64"), np.random.default_rng(0).standard_normal((2, 4, 6))
    assert [(name, p.data.tolist()) for name, p in layer.named_parameters()] == [("scale", [1] * 6)]
    layer.scale.data += np.arange(6)
    placed(layer)
    expected = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + 0.1) * np.arange(1, 7)
    assert_allclose(layer(tensor(x)), expected, rtol=1e-12)
