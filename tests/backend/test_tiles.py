"""Arrays in pieces: every element once, as views, in the same place of each array."""

import numpy as np
import pytest

from minivit.backend import tiles
from minivit.backend.tiles import flat_tiles, row_tiles


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    monkeypatch.setattr(tiles, "TILE", 5)


@pytest.mark.parametrize(("rows", "width"), [(0, 3), (1, 3), (7, 2), (4, 100), (3, 0)])
def test_row_tiles_cover_every_row_once(rows, width):
    found = list(row_tiles(rows, width))
    assert [i for piece in found for i in range(rows)[piece]] == list(range(rows))
    assert all(piece.stop <= rows for piece in found)
    assert all((piece.stop - piece.start) * width <= max(5, width) for piece in found)


@pytest.mark.parametrize("shape", [(), (0,), (4,), (5,), (6,), (3, 4), (2, 3, 3)])
def test_flat_tiles_are_views_of_every_element(shape):
    x, y = np.zeros(shape), np.zeros(shape)
    for a, b in flat_tiles(x, y):
        assert a.shape == b.shape
        assert a.size <= 5
        a += 1
        b += 2
    assert (x == 1).all()
    assert (y == 2).all()


def test_an_array_that_is_not_contiguous_comes_whole():
    x, y = np.zeros((4, 6)).T, np.zeros((6, 4))
    ((a, b),) = flat_tiles(x, y)
    assert a is x
    assert b is y
