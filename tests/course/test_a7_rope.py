"""The variant RoPE with SwiGLU: the handout's numbers by hand, the master's backwards by central differences."""

import numpy as np
import pytest

from minivit.course.assignment import assignments
from minivit.course.solution import load

ROPE = assignments()["a7_rope"]


@pytest.fixture(scope="module")
def master():
    return load(ROPE.master, given=ROPE.given)


def test_the_handouts_examples(master):
    turned = master.rope(np.tile([1.0, 0, 1, 0], (1, 1, 2, 1)), (1, 2), 77.0)
    assert turned[0, 0, 1] == pytest.approx([0.540, 0.841, 1, 0], abs=5e-4)
    assert master.rms_norm(np.array([3.0, 4]), np.ones(2), 0.0) == pytest.approx([0.849, 1.131], abs=5e-4)
    ones = {f"{name}.weight": np.ones((1, 1)) for name in ("gate", "up", "out")}
    assert master.swiglu(np.array([2.0]), ones) == pytest.approx(3.523, abs=5e-4)


def test_backwards_by_central_differences(master):
    rng = np.random.default_rng(1)
    x, g = rng.normal(size=(2, 3, 6, 8)), rng.normal(size=(2, 3, 6, 8))
    scale = rng.uniform(0.5, 2, 8)
    params = {"gate.weight": rng.normal(size=(8, 5)), "up.weight": rng.normal(size=(8, 5))}
    params["out.weight"] = rng.normal(size=(5, 8))
    for f, dx in (
        (lambda x: master.rope(x, (2, 3), 40.0), master.rope_backward(x, (2, 3), 40.0, g)),
        (lambda x: master.rms_norm(x, scale, 0.1), master.rms_norm_backward(x, scale, 0.1, g)[0]),
        (lambda x: master.swiglu(x, params), master.swiglu_backward(x, params, g)[0]),
    ):
        step = 1e-5 * rng.uniform(0.5, 1, x.shape)
        assert np.sum(g * (f(x + step) - f(x - step))) / 2 == pytest.approx(np.sum(dx * step), rel=1e-6)
