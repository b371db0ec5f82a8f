"""What holds for every objective on a GPU: on the stand-in for CuPy, against NumPy."""

import dataclasses

import numpy as np
import pytest
import standin_cupy
from lineage.test_contract import STEPS, every_objective, loader, parts_of, tiny

from minivit.backend import get_namespace, to_numpy
from minivit.backend.precision import precision
from minivit.backend.workers import Workers
from minivit.data.device_loader import DeviceLoader, supports
from minivit.models import ViTConfig
from minivit.runs.evaluation import evaluate
from minivit.runs.recipes import Recipe
from minivit.update.device import DeviceStep
from minivit.update.step import step


def on_numpy(name, in_precision="float32"):
    objective, data = tiny(name)
    optimizer, ema = parts_of(objective)
    results = []
    with precision(in_precision):
        for i in range(STEPS):
            results.append(step(objective, optimizer, loader(objective, data).batch(i), 1.0, None, 2, seed=(3, i, 2)))
            ema.update()
    return results, objective, ema


def on_standin(cupy, name, in_precision="float32"):
    objective, data = tiny(name)
    optimizer, ema = parts_of(objective, "cupy")
    work, results = DeviceStep(objective, optimizer, 1.0, ema, 2), []
    with precision(in_precision), work.active():
        for i in range(STEPS):
            batch = loader(objective, data).batch(i)
            work.update({key: cupy.asarray(x) for key, x in batch.items()}, seed=(3, i, 2))
            results.append(work.read()[0])
    assert work.recorded
    return results, objective, ema


@pytest.fixture
def cupy():
    with standin_cupy.installed() as module:
        get_namespace("cupy")
        yield module


@every_objective
def test_a_recorded_step_does_what_step_does(name, cupy):
    expected, there, averages_there = on_numpy(name)
    found, here, averages = on_standin(cupy, name)
    for one, other in zip(found, expected, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-4)
        scalars = {key: float(mean) for key, mean in other.means.items() if not np.ndim(mean)}
        assert one.means == pytest.approx(scalars, rel=1e-3, abs=1e-5)
    for one, other in ((here, there), (averages, averages_there)):
        for key, array in other.state_dict().items():
            np.testing.assert_allclose(to_numpy(one.state_dict()[key]), array, rtol=1e-3, atol=1e-4, err_msg=key)


@every_objective
def test_mixed_precision_runs_and_is_what_numpy_emulates(name, cupy):
    expected, *_ = on_numpy(name, "bf16")
    found, *_ = on_standin(cupy, name, "bf16")
    full, *_ = on_numpy(name)
    for one, other, exact in zip(found, expected, full, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=0.05)
        assert other.loss == pytest.approx(exact.loss, rel=0.1)
    assert [result.loss for result in expected] != [result.loss for result in full]


@every_objective
def test_an_evaluation_on_a_gpu_is_that_of_the_cpu(name, cupy):
    """In pieces of what training has room for; what is drawn is the same."""
    objective, data = tiny(name)
    recipe = Recipe(model=ViTConfig(image_size=data.image_size, patch_size=data.image_size, channels=data.channels))
    with Workers(1) as workers:
        expected = evaluate(objective, data, recipe, workers)
        there = dataclasses.replace(recipe, backend="cupy", batch_size=5)
        assert evaluate(objective.to("cupy"), data, there, workers) == pytest.approx(expected, rel=1e-4)


@every_objective
def test_batches_made_on_a_gpu_are_those_of_the_loader(name, cupy):
    objective, data = tiny(name)
    batches = loader(objective, data)
    if not supports(batches):
        pytest.skip("the GPU only copies them")
    for made, batch in zip(DeviceLoader(batches, cupy), batches, strict=True):
        assert made.keys() == batch.keys()
        for key, array in batch.items():
            assert to_numpy(made[key]).tobytes() == array.tobytes(), key
