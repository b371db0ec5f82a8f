"""Optimisers and norms in tiles, shared by threads: the same numbers as whole arrays in one."""

import numpy as np
import pytest

from minivit.backend import tiles
from minivit.backend.workers import Workers
from minivit.optim import SGD, AdamW, global_norm
from minivit.optim.gradients import add_up
from minivit.tensor import Tensor

SHAPES = [(3, 4), (4,), (), (7, 11), (0, 2)]


def arrays(seed):
    rng = np.random.default_rng(seed)
    found = [np.asarray(rng.standard_normal(shape)) for shape in SHAPES]
    return [*found, np.asfortranarray(rng.standard_normal((5, 6)))]


def trained(optimizer, workers, **options):
    parameters = [Tensor(x, requires_grad=True) for x in arrays(0)]
    optimizer = optimizer(parameters, lr=0.1, weight_decay=0.2)
    for step in range(3):
        optimizer.step(arrays(step + 1), workers=workers, **options)
    return [p.data for p in parameters]


@pytest.mark.parametrize("optimizer", [AdamW, SGD])
def test_an_update_in_tiles_is_the_update(optimizer, monkeypatch):
    whole = trained(optimizer, None, scale=0.5)
    halved = trained(lambda *args, **kwargs: Halved(optimizer(*args, **kwargs)), None)
    monkeypatch.setattr(tiles, "TILE", 5)
    with Workers(2) as workers:
        tiled = trained(optimizer, workers, scale=0.5)
    for x, y, z in zip(whole, tiled, halved, strict=True):
        np.testing.assert_array_equal(x, y)
        np.testing.assert_array_equal(x, z)


class Halved:
    """An optimiser that is given gradients halved, instead of scale=0.5."""

    def __init__(self, optimizer):
        self.optimizer = optimizer

    def step(self, grads, workers):
        self.optimizer.step([g * 0.5 for g in grads], workers=workers)


@pytest.mark.parametrize("tile", [5, 1 << 17])
def test_gradients_add_up_and_their_norm_is_of_all(tile, monkeypatch):
    monkeypatch.setattr(tiles, "TILE", tile)
    shares = [arrays(seed) for seed in range(3)]
    expected = [sum(group) for group in zip(*shares, strict=True)]
    with Workers(2) as workers:
        total = add_up(shares, workers)
        norm = global_norm(total, workers)
    for found, first, x in zip(total, shares[0], expected, strict=True):
        assert found is first
        np.testing.assert_allclose(found, x, atol=1e-14)
    assert norm == pytest.approx(np.sqrt(sum((x**2).sum() for x in expected)), rel=1e-13)
    assert global_norm(total) == norm
