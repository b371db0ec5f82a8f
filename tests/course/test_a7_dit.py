"""The variant DiT: the handout's numbers by hand, and the master's block by central differences."""

import numpy as np
import pytest

from minivit.course.assignment import assignments
from minivit.course.solution import load

DIT = assignments()["a7_dit"]


@pytest.fixture(scope="module")
def master():
    return load(DIT.master, given=DIT.given)


def test_the_handouts_examples(master):
    vector = master.timestep_embedding(np.array([np.pi]), 4)
    assert vector[0] == pytest.approx([-1, 0.9995, 0, 0.0314], abs=5e-5)
    assert master.denoise_step(np.array([1.1]), np.array([0.5]), 0, np.array([0.36]), np.ones(1)) == pytest.approx(1)


def test_the_block_by_central_differences(master):
    rng = np.random.default_rng(0)
    width, hidden = 4, 5
    names = ["ada.weight", "attention.qkv.weight", "attention.out.weight", "mlp.hidden.weight", "mlp.out.weight"]
    shapes = [(width, 6 * width), (width, 3 * width), (width, width), (width, hidden), (hidden, width)]
    params = {name: rng.normal(size=shape) for name, shape in zip(names, shapes, strict=True)}
    params |= {name.replace("weight", "bias"): rng.normal(size=params[name].shape[1]) for name in names}
    config = {"width": width, "heads": 2, "gelu": "erf", "norm_eps": 1e-3}
    x, c, g = rng.normal(size=(2, 3, width)), rng.normal(size=(2, width)), rng.normal(size=(2, 3, width))
    dx, dc, grads = master.dit_block_backward(x, c, params, config, g)
    steps = {name: 1e-5 * rng.uniform(0.5, 1, np.shape(v)) for name, v in {"x": x, "c": c, **params}.items()}

    def value(sign):
        moved = {name: params[name] + sign * steps[name] for name in params}
        return np.sum(g * master.dit_block(x + sign * steps["x"], c + sign * steps["c"], moved, config))

    slope = sum(np.sum(d * steps[name]) for name, d in {"x": dx, "c": dc, **grads}.items())
    assert (value(1) - value(-1)) / 2 == pytest.approx(slope, rel=1e-6)
