"""The variant CLIP: the handout's numbers by hand, and the master's gradients by central differences."""

import numpy as np
import pytest

from minivit.course.assignment import assignments
from minivit.course.solution import load

MASTER = load(assignments()["a7_clip"].master)


def test_the_handouts_examples():
    loss = MASTER.clip_loss(np.array([[2.0, 0], [0, 1]]), np.array([[1.0, 0], [0, 3]]), 0.0)[0]
    assert loss == pytest.approx(np.log(1 + np.exp(-1)), rel=1e-12)
    image, text = np.array([[1.0, 0]]), np.array([[0.5, 0.75**0.5]])
    loss, *_, dbias = MASTER.siglip_loss(image, text, 0.0, -0.5)
    assert loss == pytest.approx(np.log(2), rel=1e-12)
    assert dbias == pytest.approx(-0.5, rel=1e-12)


@pytest.mark.parametrize(("name", "numbers"), [("clip_loss", (0.4,)), ("siglip_loss", (0.4, -1.2))])
def test_gradients_by_central_differences(name, numbers):
    rng = np.random.default_rng(3)
    args = [2 * rng.normal(size=(3, 4)), rng.normal(size=(3, 4)), *map(np.float64, numbers)]
    loss = getattr(MASTER, name)
    gradients = loss(*args)[1:]
    for place, (x, gradient) in enumerate(zip(args, gradients, strict=True)):
        step = 1e-5 * rng.uniform(0.5, 1, np.shape(x))
        ahead, behind = ([*args[:place], x + sign * step, *args[place + 1 :]] for sign in (1, -1))
        slope = (loss(*ahead)[0] - loss(*behind)[0]) / 2
        assert slope == pytest.approx(np.sum(gradient * step), rel=1e-6)
