"""Constant tables: made once, on the device of those who ask."""

import numpy as np
import pytest

from minivit.models.kept import kept


@pytest.mark.parametrize("device", ["numpy", "standin", "cupy"], indirect=True)
def test_a_table_is_made_once_and_lies_on_the_device(device):
    calls = []

    def table(n):
        calls.append(n)
        return np.arange(n)

    like = device.zeros(1, "float32")
    first, again, other = kept(table, 3, like=like), kept(table, 3, like=like), kept(table, 4, like=like)
    assert first is again
    assert calls == [3, 4]
    assert type(first) is type(like)
    assert (first.dtype, other.shape) == (np.arange(1).dtype, (4,))
