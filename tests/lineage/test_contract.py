"""What holds for every objective: of the lineage, classification, and three toys of which each needs another thing.

The file of a system gives `tiny(dtype="float32") -> (objective, dataset)`, see `minivit.lineage`.
"""

import contextlib
import dataclasses
import importlib

import numpy as np
import pytest
from toy_objectives import TOYS

from minivit import lineage
from minivit.backend import to_numpy
from minivit.backend.workers import Workers
from minivit.data import Augment, Loader
from minivit.errors import NonFiniteError
from minivit.lineage import OBJECTIVES, SYSTEMS
from minivit.models import ViTConfig
from minivit.optim import EMA, SGD, AdamW
from minivit.runs.building import recompute
from minivit.runs.evaluation import evaluate
from minivit.runs.recipes import Recipe
from minivit.tensor import grad
from minivit.update.draws import ImageDraws
from minivit.update.host import HostStep
from minivit.update.step import step

NAMES = [*TOYS, *OBJECTIVES]
STEPS, BATCH = 6, 6
every_objective = pytest.mark.parametrize("name", NAMES)


def tiny(name, dtype="float32"):
    kind = TOYS.get(name) or importlib.import_module(f"minivit.lineage.{OBJECTIVES[name].partition(':')[0]}")
    return kind.tiny(dtype)


def loader(objective, data, seed=3, total_steps=STEPS, **options):
    augment = Augment(data.image_size, flip=True)
    return Loader(data, BATCH, augment, objective, total_steps=total_steps, seed=seed, **options)


def batch_of(name, step=1, dtype="float32"):
    """An objective, and its batch of a step."""
    objective, data = tiny(name, dtype)
    return objective, loader(objective, data).batch(step)


class Recorder(SGD):
    """An optimiser that keeps the gradients it is given and changes nothing."""

    def step(self, grads=None, scale=1.0, workers=None):
        self.seen = grads


def gradients(objective, batch, workers=1, accumulate=1):
    recorder = Recorder(objective.named_parameters())
    before = snapshot(objective)
    with Workers(workers) as pool:
        result = step(objective, recorder, batch, workers=pool, accumulate=accumulate, seed=(5, 6))
    after = snapshot(objective)
    objective.load_state_dict(before)
    return recorder.seen, result, after


def snapshot(module):
    return {name: array.copy() for name, array in module.state_dict().items()}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_run_builds_it(name):
    """By its name, from the config and columns that it states, the same from the same seed."""
    assert name in SYSTEMS
    assert lineage.module_of(name).PARITY
    objective, data = tiny(name)
    fields = {"name": name, **dataclasses.asdict(objective.config)}
    classes = len(data.classes) if "labels" in lineage.columns(fields) else 0
    shape = dataclasses.replace(objective.encoder.config, num_classes=classes)
    recipe, teacher = Recipe(model=shape, objective=fields), getattr(objective, "teacher", None)
    given = lineage.Given(shape, data.classes, STEPS, teacher=teacher)
    built, again = (lineage.build(recipe, given) for _ in range(2))
    batch = loader(built, data).batch(1)
    assert np.isfinite(to_numpy(built.loss(built(batch, np.random.default_rng(0)), batch).data))
    one, other = snapshot(built), snapshot(again)
    assert one.keys() == other.keys()
    assert all(one[key].tobytes() == other[key].tobytes() for key in one)


def assert_near(found, expected, tolerance, names=None):
    for name, one, other in zip(names or range(len(found)), found, expected, strict=True):
        assert abs(one - other).max() <= tolerance * max(1, abs(other).max()), name


@every_objective
@pytest.mark.parametrize(("workers", "accumulate"), [(1, 2), (1, 3), (2, 1), (2, 2), (3, 1)])
def test_the_cut_of_the_batch_changes_nothing(name, workers, accumulate):
    """Loss, gradients, sums and the new state, with dropout."""
    objective, batch = batch_of(name, dtype="float64")
    expected, whole, state = gradients(objective, batch)
    found, result, other = gradients(objective, batch, workers, accumulate)
    assert result.loss == pytest.approx(whole.loss, rel=1e-12)
    assert_near(found, expected, 1e-12, dict(objective.named_parameters()))
    assert_near(list(result.means.values()), list(whole.means.values()), 1e-12, whole.means)
    assert_near(list(other.values()), list(state.values()), 1e-12, state)
    assert any(abs(g).max() > 1e-6 for g in expected)


@every_objective
def test_the_gradient_is_that_of_the_loss_of_the_whole_batch(name):
    """On one tape, which knows neither pieces nor losses that compare."""
    objective, batch = batch_of(name, dtype="float64")
    found, result, _ = gradients(objective, batch, accumulate=3)
    loss = objective.loss(objective(batch, ImageDraws((5, 6), 0, BATCH, BATCH)), batch)
    parameters = dict(objective.named_parameters())
    assert result.loss == pytest.approx(loss.item(), rel=1e-12)
    assert_near(found, grad(loss, parameters.values()), 1e-12, parameters)


@every_objective
def test_dropout_is_on_and_recomputing_changes_nothing(name):
    objective, batch = batch_of(name, dtype="float64")
    kept, result, _ = gradients(objective, batch)
    recompute(objective, True)
    again, other, _ = gradients(objective, batch, accumulate=2)
    recompute(objective, False)
    assert other.loss == pytest.approx(result.loss, rel=1e-12)
    assert_near(again, kept, 1e-12, dict(objective.named_parameters()))
    plain, quiet, _ = gradients(objective.eval(), batch)
    assert quiet.loss != result.loss
    assert any(not np.allclose(a, b) for a, b in zip(plain, kept, strict=True))


def parts_of(objective, backend="numpy"):
    """The optimiser and the averages. With a larger eps, since gradients that are rounding only would be blown up."""
    objective.to(backend).train()
    parameters = objective.named_parameters()
    return AdamW(parameters, lambda t: 1e-2 / (1 + t), eps=1e-4, weight_decay=0.05), EMA(parameters, 0.9)


def run(name, stops=(), threads=1):
    """The state after all steps; at each stop everything is made anew, and the state is all that is kept."""
    kept, losses = None, []
    for begin, end in zip((0, *stops), (*stops, STEPS), strict=True):
        objective, data = tiny(name)
        optimizer, ema = parts_of(objective)
        parts = objective, optimizer, ema
        if kept is not None:
            for part, state in zip(parts, kept, strict=True):
                part.load_state_dict(state)
        with Workers(2) as workers, loader(objective, data, start_step=begin, threads=threads) as batches:
            work = HostStep(objective, optimizer, 1.0, ema, 2, workers)
            for i, batch in zip(range(begin, end), batches, strict=False):
                work.update(batch, seed=(3, i, 2))
                losses.append(work.read()[0].loss)
        kept = [{key: np.copy(x) for key, x in part.state_dict().items()} for part in parts]
    return kept, losses


@every_objective
def test_a_run_that_was_stopped_ends_as_one_that_was_not(name):
    """Bit for bit, whatever the loader's threads."""
    whole, losses = run(name)
    for stops, threads in (((1,), 2), ((2, 5), 1), (tuple(range(1, STEPS)), 3)):
        resumed, again = run(name, stops, threads)
        assert again == losses
        for part, expected in zip(resumed, whole, strict=True):
            assert part.keys() == expected.keys()
            for key, array in expected.items():
                assert part[key].tobytes() == array.tobytes(), key
    assert len(set(losses)) == STEPS


@every_objective
def test_after_an_update_only_what_does_not_learn_is_changed(name):
    objective, batch = batch_of(name)
    learning = dict(objective.named_parameters())
    before = snapshot(objective)
    _, _, after = gradients(objective, batch)
    for key, array in after.items():
        assert key not in learning or np.array_equal(array, before[key]), key


@every_objective
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_named_and_changes_nothing(name, value):
    objective, batch = batch_of(name)
    optimizer, _ = parts_of(objective)
    before = snapshot(objective)
    for key, array in batch.items():
        if array.dtype.kind == "f" and array.ndim:
            spoiled = {**batch, key: np.where(np.arange(array.size).reshape(array.shape) == 0, value, array)}
            with pytest.raises(NonFiniteError, match=f"^the input {key} "):
                step(objective, optimizer, spoiled, accumulate=2)
    key, parameter = objective.named_parameters()[-1]
    parameter.data.flat[0] = value
    with pytest.raises(NonFiniteError, match=f"^parameter {key} "):
        step(objective, optimizer, batch, accumulate=2)
    parameter.data.flat[0] = before[key].flat[0]
    for key, array in snapshot(objective).items():
        assert np.array_equal(array, before[key]), key


@every_objective
def test_what_is_drawn_depends_on_seed_and_step_alone(name):
    objective, data = tiny(name)
    first, again, other, later = (
        loader(objective, data, seed).batch(step) for seed, step in ((3, 1), (3, 1), (4, 1), (3, 2))
    )
    assert first.keys() == again.keys()
    for key, array in first.items():
        assert array.tobytes() == np.asarray(again[key]).tobytes(), key
    for batch in (other, later):
        assert any(not np.array_equal(batch[key], array) for key, array in first.items())
    lengths = {key: len(array) for key, array in first.items() if array.ndim}
    assert set(lengths.values()) == {BATCH}, "the examples come first"


@every_objective
def test_averages_are_of_what_learns(name):
    objective, _ = tiny(name)
    _, ema = parts_of(objective)
    assert ema.names == [key for key, _ in objective.named_parameters()]
    state = set(objective.state_dict()) - set(ema.names)
    assert all(not tensor.requires_grad for key, tensor in objective.named_tensors() if key in state)


@every_objective
def test_an_evaluation_is_the_same_whenever_it_is_made_and_changes_nothing(name):
    objective, data = tiny(name, "float64")
    recipe = Recipe(model=ViTConfig(image_size=data.image_size, patch_size=data.image_size, channels=data.channels))
    before = snapshot(objective)
    with Workers(1) as one, Workers(3) as three:
        found = [evaluate(objective, data, recipe, workers, 5) for workers in (one, one, three)]
    assert found[0] == found[1]
    assert found[0] == pytest.approx(found[2], rel=1e-12)
    assert found[0]["images"] == len(data)
    assert objective.training
    for key, array in snapshot(objective).items():
        assert array.tobytes() == before[key].tobytes(), key


@every_objective
def test_it_has_an_encoder_and_tells_what_an_example_costs(name):
    objective, data = tiny(name)
    assert objective.tokens > 0
    assert {id(tensor) for _, tensor in objective.encoder.named_tensors()} <= {
        id(tensor) for _, tensor in objective.named_tensors()
    }
    with contextlib.ExitStack() if objective.has_features else pytest.raises((NotImplementedError, KeyError)):
        features = objective.eval().features(Augment(data.image_size)(data.fetch(range(3))[0]))
        assert features.shape[0] == 3
        assert features.ndim == 2
