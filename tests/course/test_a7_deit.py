"""The variant DeiT: the handout's numbers by hand, the master's gradients by central differences."""

import numpy as np
import pytest

from minivit.course.assignment import assignments
from minivit.course.solution import load

DEIT = assignments()["a7_deit"]


@pytest.fixture(scope="module")
def master():
    return load(DEIT.master, given=DEIT.given)


def test_the_handouts_examples(master):
    zero = np.zeros((1, 2))
    loss, dclass, ddistil = master.hard_loss(zero, zero, np.array([0]), np.array([[0.0, 1]]))
    assert loss == pytest.approx(np.log(2), rel=1e-12)
    assert (dclass[0], ddistil[0]) == (pytest.approx([-0.25, 0.25]), pytest.approx([0.25, -0.25]))
    taught = np.array([[np.log(3), 0]])
    loss, _, ddistil = master.soft_loss(zero, zero, np.array([0]), taught, 1.0, 1.0)
    assert loss == pytest.approx(0.131, abs=5e-4)
    assert ddistil[0] == pytest.approx([-0.25, 0.25])


@pytest.mark.parametrize(("name", "numbers"), [("hard_loss", ()), ("soft_loss", (0.3, 2.5))])
def test_gradients_by_central_differences(master, name, numbers):
    rng = np.random.default_rng(4)
    a, b, teacher = rng.normal(size=(3, 3, 4))
    labels, loss = np.array([0, 3, 3]), getattr(master, name)
    da, db = 1e-5 * rng.uniform(0.5, 1, (2, 3, 4))
    ahead, behind = (loss(a + k * da, b + k * db, labels, teacher, *numbers)[0] for k in (1, -1))
    _, ga, gb = loss(a, b, labels, teacher, *numbers)
    assert (ahead - behind) / 2 == pytest.approx(np.sum(ga * da) + np.sum(gb * db), rel=1e-6)
