"""The variant DINO: the handout's numbers by hand, the master's gradients by central differences."""

import numpy as np
import pytest

from minivit.course.assignment import assignments
from minivit.course.solution import load

MASTER = load(assignments()["a7_dino"].master)


def test_the_handouts_examples():
    zero = np.zeros((1, 2))
    loss, gradients = MASTER.dino_loss([zero, zero], [np.array([[np.log(3), 0]]), zero], zero, 1.0, 1.0)
    assert loss == pytest.approx(np.log(2), rel=1e-12)
    assert np.array(gradients) == pytest.approx(np.array([[[0, 0]], [[-1 / 8, 1 / 8]]]), abs=1e-15)
    teacher = {"w": np.ones(1)}
    for _ in range(10):
        teacher = MASTER.update_teacher(teacher, {"w": np.zeros(1)}, 0.9)
    assert teacher["w"] == pytest.approx(0.349, abs=5e-4)


def test_gradients_by_central_differences():
    rng = np.random.default_rng(2)
    student, (first, second) = [rng.normal(size=(3, 4)) for _ in range(4)], rng.normal(size=(2, 3, 4))
    rest = ([first, second], rng.normal(size=(1, 4)), 0.5, 0.2)
    steps = [1e-5 * rng.uniform(0.5, 1, (3, 4)) for _ in student]
    gradients = MASTER.dino_loss(student, *rest)[1]
    ahead = MASTER.dino_loss([s + d for s, d in zip(student, steps, strict=True)], *rest)[0]
    behind = MASTER.dino_loss([s - d for s, d in zip(student, steps, strict=True)], *rest)[0]
    slope = sum(np.sum(g * d) for g, d in zip(gradients, steps, strict=True))
    assert (ahead - behind) / 2 == pytest.approx(slope, rel=1e-6)
