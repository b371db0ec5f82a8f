"""The variant MAE: the handout's numbers by hand, the master's gradient by central differences."""

import numpy as np
import pytest

from minivit.course.assignment import assignments
from minivit.course.solution import load

MAE = assignments()["a7_mae"]


@pytest.fixture(scope="module")
def master():
    return load(MAE.master, given=MAE.given)


def test_the_handouts_examples(master):
    assert master.random_mask(3, 7, 0.75, 0).sum(axis=1).tolist() == [6, 6, 6]
    latent = np.array([10.0, 1, 2]).reshape(1, 3, 1)
    mask = np.array([[True, False, True, False]])
    placed = master.decoder_input(latent, mask, np.full((1, 1, 1), -1.0), np.zeros((1, 5, 1)))
    assert placed.ravel().tolist() == [10, -1, 1, -1, 2]
    picture, hidden = np.array([1.0, 3]).reshape(1, 1, 2, 1), np.array([[True]])
    loss, gradient = master.mae_loss(np.zeros((1, 1, 2)), picture, (1, 2), hidden, False)
    assert (loss, gradient.ravel().tolist()) == (5, [-1, -3])
    assert master.mae_loss(np.zeros((1, 1, 2)), picture, (1, 2), hidden, True)[0] == pytest.approx(0.5, rel=1e-5)


def test_the_gradient_by_central_differences(master):
    rng = np.random.default_rng(0)
    prediction, images = rng.normal(size=(2, 6, 4)), rng.normal(size=(2, 4, 6, 1))
    rest = (images, (2, 2), rng.permutation(np.arange(12) < 8).reshape(2, 6), True)
    step = 1e-5 * rng.uniform(0.5, 1, prediction.shape)
    ahead, behind = (master.mae_loss(prediction + sign * step, *rest)[0] for sign in (1, -1))
    slope = np.sum(master.mae_loss(prediction, *rest)[1] * step)
    assert (ahead - behind) / 2 == pytest.approx(slope, rel=1e-6)
