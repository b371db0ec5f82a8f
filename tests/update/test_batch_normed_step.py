"""Whole updates of a network with batch normalisation: pieces, threads, what evaluation sees."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from minivit.backend.workers import Workers
from minivit.nn import BatchNorm, Linear, Module
from minivit.optim import SGD
from minivit.update.batch_normed import BatchNormedClassification
from minivit.update.step import step


class Network(Module):
    def __init__(self):
        rng = np.random.default_rng(0)
        self.first = Linear(3, 4, rng, "float64")
        self.norm = BatchNorm(4, "float64")
        self.head = Linear(4, 5, rng, "float64")

    def forward(self, images, tap=None, rng=None):
        features = self.norm(self.first(self.tensor(images))).mean(axis=(1, 2))
        return self.head(features * features)


def batch(size=8):
    rng = np.random.default_rng(1)
    return {"images": rng.normal(1, 2, size=(size, 2, 2, 3)), "labels": rng.integers(0, 5, size)}


def updated(accumulate=1, workers=1, rate=0.0):
    objective = BatchNormedClassification(Network())
    with Workers(workers) as pool:
        result = step(
            objective, SGD(objective.named_parameters(), lr=rate), batch(), workers=pool, accumulate=accumulate
        )
    return objective, result


def test_running_statistics_move_once_an_update_towards_those_of_the_batch():
    objective, result = updated()
    x = objective.model.first(objective.tensor(batch()["images"])).data.reshape(-1, 4)
    assert_allclose(objective.model.norm.running_mean.data, 0.1 * x.mean(axis=0), rtol=1e-12)
    assert_allclose(objective.model.norm.running_variance.data, 0.9 + 0.1 * x.var(axis=0, ddof=1), rtol=1e-12)
    assert 0 <= result.accuracy <= 1


def test_pieces_have_statistics_of_their_own_and_threads_change_nothing():
    one, four = (updated(accumulate=4 // workers, workers=workers) for workers in (1, 2))
    for name, x in one[0].state_dict().items():
        assert_allclose(x, four[0].state_dict()[name], rtol=1e-13, err_msg=name)  # summed in another order
    assert one[1].loss == pytest.approx(four[1].loss, rel=1e-13)
    assert one[1].loss != pytest.approx(updated()[1].loss, rel=1e-6)
    x = one[0].model.first(one[0].tensor(batch()["images"])).data.reshape(4, 8, 4)  # four pieces of two images
    expected = 0.9 + 0.1 * x.var(axis=1, ddof=1).mean(axis=0)
    assert_allclose(one[0].model.norm.running_variance.data, expected, rtol=1e-12)


def test_evaluation_uses_them_and_changes_nothing():
    objective, _ = updated(rate=0.1)
    before = {name: x.copy() for name, x in objective.state_dict().items()}
    objective.eval()
    outputs = objective(batch())
    assert len(outputs) == 1
    assert list(objective.sums(outputs, batch())) == ["accuracy"]
    alone = np.concatenate([objective({"images": x[None]})[0].data for x in batch()["images"]])
    assert_allclose(outputs[0].data, alone, rtol=1e-12)  # of each image for itself
    assert objective.loss(outputs, batch()).item() > 0
    for name, x in objective.state_dict().items():
        assert_array_equal(x, before[name], err_msg=name)
