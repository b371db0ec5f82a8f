"""Embedding: a row for every id."""

import numpy as np
import pytest
from devices import assert_equal, placed, to_device, to_host

from minivit.nn import Embedding

pytestmark = pytest.mark.usefixtures("device")


def test_every_id_gets_its_row():
    layer = placed(Embedding(5, 3, np.random.default_rng(0)))
    ids = np.array([[4, 0, 4], [1, 2, 0]])
    assert_equal(layer(to_device(ids)), to_host(layer.table)[ids])


def test_the_table_is_normal_at_first():
    table = Embedding(200, 100, np.random.default_rng(0)).table.data
    assert table.dtype == "float32"
    assert 0.0195 < table.std() < 0.0205
    assert Embedding(200, 100, np.random.default_rng(0), std=0.5).table.data.std() > 0.4
