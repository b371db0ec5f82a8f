"""Normalisation by size alone."""

import hypothesis.strategies as st
import numpy as np
import pytest
from devices import ops
from hypothesis import given
from strategies import arrays, assert_close, assert_same, check, shapes

from minivit import functional as F


@pytest.mark.gradient_check("rms_norm")
@given(data=st.data(), shape=shapes(min_dims=1), eps=st.sampled_from([1e-6, 0.1]))
def test_rms_norm(data, shape, eps):
    shape = (*shape[:-1], shape[-1] + 1)
    x, scale = data.draw(arrays(shape)), data.draw(arrays(shape[-1:]))
    by_row = [row / np.sqrt(np.mean(row**2) + eps) * scale for row in x.reshape(-1, shape[-1])]
    assert_close(ops.rms_norm(x, scale, eps)[0], np.array(by_row).reshape(shape))
    check(ops.rms_norm, x, scale, eps=eps)
    assert_same(
        lambda x, scale: F.rms_norm(x, scale, eps),
        lambda x, scale: x / F.sqrt((x * x).mean(axis=-1, keepdims=True) + eps) * scale,
        x,
        scale,
    )


def test_of_rows_with_mean_0_it_is_layer_norm():
    rng = np.random.default_rng(0)
    x, scale = rng.standard_normal((5, 8)), rng.standard_normal(8)
    x -= x.mean(axis=-1, keepdims=True)
    assert_close(ops.rms_norm(x, scale)[0], ops.layer_norm(x, scale, np.zeros(8))[0])


@pytest.mark.parametrize(("x", "scale"), [((2, 3), (2,)), ((2, 3), (1, 3)), ((), ())])
def test_rms_norm_says_what_does_not_fit(x, scale):
    with pytest.raises(ValueError, match=r"rms_norm: x \(.*\) and scale \(.*\) do not agree in D"):
        ops.rms_norm(np.ones(x), np.ones(scale))
