"""Vectors of length 1."""

import numpy as np

from minivit.nn.lengths import unit
from minivit.tensor import Tensor


def test_lengths_are_one_and_nothing_stays_nothing():
    x = np.random.default_rng(0).normal(size=(3, 4))
    x[1] = 0
    for axis in (-1, 0):
        length = np.linalg.norm(x, axis=axis, keepdims=True)
        expected = np.divide(x, length, out=np.zeros_like(x), where=length > 0)
        np.testing.assert_allclose(unit(Tensor(x), axis, least=1e-12).data, expected, rtol=0, atol=1e-15)
    np.testing.assert_allclose(unit(Tensor(x[:1] * 1e-3), least=0.5).data, x[:1] * 2e-3, rtol=1e-15)
