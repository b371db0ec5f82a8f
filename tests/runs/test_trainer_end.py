"""How long a run trains: the best evaluation kept, an early end, a finished run that goes on."""

import dataclasses

import numpy as np
import pytest

from minivit.backend.workers import Workers
from minivit.data import load
from minivit.errors import CheckpointError
from minivit.models import ViTConfig
from minivit.models.archive import read_npz
from minivit.optim import warmup_cosine
from minivit.runs import folder as run_folder
from minivit.runs import improvement
from minivit.runs.evaluation import evaluate
from minivit.runs.recipes import Recipe
from minivit.runs.tally import Tally
from minivit.runs.trainer import Trainer

RECIPE = Recipe(
    model=ViTConfig(
        image_size=8,
        patch_size=4,
        width=8,
        depth=1,
        heads=2,
        mlp_width=8,
        num_classes=10,
        channels=1,
        dropout=0.1,
    ),
    batch_size=10,
    steps=10,
    eval_every=2,
    checkpoint_every=3,
    ema=0.5,
    lr=0.01,
    workers=1,
    val_seed=7,  # without a share it means nothing
)
TRAIN, TEST = load("digits").limit(40), load("digits", split="test").limit(30)


def begin(recipe, folder):
    run_folder.create(folder, recipe)
    return Trainer(recipe, TRAIN, TEST, folder)


def go_on(recipe, folder):
    trainer = Trainer(recipe, TRAIN, TEST, folder)
    trainer.restore()
    return trainer


def made_up(monkeypatch, accuracies):
    """Evaluations after 2, 4, ... steps find these accuracies."""
    found = dict(zip(range(2, 99, 2), accuracies, strict=False))

    def evaluated(trainer, rate):
        line = {"step": trainer.step, "test_loss": 1.0, "test_accuracy": found[trainer.step]}
        trainer.metrics.append(line)
        trainer.tally = Tally()
        return line

    monkeypatch.setattr(Trainer, "_evaluate", evaluated)
    monkeypatch.setattr(Trainer, "draw", lambda trainer: None)


def same(a, b):
    """Whether two files of weights hold the same, but for rates of images."""
    first, second = read_npz(a), read_npz(b)
    del first["meta"], second["meta"]
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


def test_best_holds_what_the_best_evaluation_saw(tmp_path):
    trainer = begin(RECIPE, tmp_path / "run")
    list(trainer.run())
    best = improvement.best(trainer.metrics)
    model, recipe, classes = run_folder.load_trained(tmp_path / "run" / "best.npz")
    with Workers(1) as workers:
        found = evaluate(model, TEST, recipe, workers)
    assert (found["accuracy"], found["loss"]) == pytest.approx((best["test_accuracy"], best["test_loss"]))
    assert classes == TRAIN.classes
    states, meta = run_folder.read_checkpoint(tmp_path / "run" / "best.npz")
    assert (meta["step"], states.keys()) == (best["step"], {"objective", "ema"})


@pytest.mark.parametrize("stop", [1, 4, 5, 8])
def test_a_stopped_run_keeps_the_same_best(stop, tmp_path):
    whole = begin(RECIPE, tmp_path / "whole")
    list(whole.run())
    first = begin(RECIPE, tmp_path / "run")
    for progress in first.run():
        first.stop_requested = progress.step == stop
    list(go_on(RECIPE, tmp_path / "run").run())
    for name in (run_folder.LAST, run_folder.BEST):
        assert same(tmp_path / "whole" / name, tmp_path / "run" / name)


@pytest.mark.parametrize(("patience", "last"), [(1, 6), (2, 8), (5, 14), (None, 16)])
def test_patience_ends_a_run(patience, last, tmp_path, monkeypatch):
    made_up(monkeypatch, [0.1, 0.3, 0.2, 0.3, 0.2, 0.1, 0.1, 0.1])
    trainer = begin(dataclasses.replace(RECIPE, steps=16, patience=patience), tmp_path / "run")
    assert [progress.step for progress in trainer.run()] == list(range(1, last + 1))
    assert (trainer.complete, trainer.stopped_early) == (True, patience is not None)
    assert run_folder.read_checkpoint(tmp_path / "run" / run_folder.LAST)[1]["step"] == last


def test_an_early_end_is_the_end_and_more_patience_goes_on(tmp_path, monkeypatch):
    made_up(monkeypatch, [0.3, 0.2, 0.2, 0.2, 0.1])
    recipe = dataclasses.replace(RECIPE, patience=1)
    list(begin(recipe, tmp_path / "run").run())
    again = go_on(recipe, tmp_path / "run")
    assert (again.step, list(again.run())) == (4, [])
    patient = dataclasses.replace(recipe, patience=3)
    again = go_on(patient, tmp_path / "run")
    assert run_folder.read_recipe(tmp_path / "run").patience == 3
    assert [progress.step for progress in again.run()] == [5, 6, 7, 8]
    whole = begin(patient, tmp_path / "whole")
    list(whole.run())
    assert same(tmp_path / "whole" / run_folder.LAST, tmp_path / "run" / run_folder.LAST)


def test_a_finished_run_goes_on_by_a_schedule_of_the_new_length(tmp_path):
    list(begin(RECIPE, tmp_path / "run").run())
    longer = dataclasses.replace(RECIPE, steps=14)
    trainer = go_on(longer, tmp_path / "run")
    assert (trainer.step, trainer.complete) == (10, False)
    assert [progress.step for progress in trainer.run()] == [11, 12, 13, 14]
    expected = warmup_cosine(RECIPE.lr, 14, round(RECIPE.warmup * 14))
    assert [line["lr"] for line in trainer.metrics[-2:]] == [expected(11), expected(13)]
    assert [line["step"] for line in trainer.metrics] == [2, 4, 6, 8, 10, 12, 14]
    assert run_folder.read_recipe(tmp_path / "run") == longer
    assert go_on(longer, tmp_path / "run").complete  # what resumes it later knows the new length


def test_with_a_constant_rate_a_longer_run_is_as_if_it_had_been_so_from_the_start(tmp_path):
    constant = dataclasses.replace(RECIPE, schedule="constant")
    list(begin(constant, tmp_path / "run").run())
    longer = dataclasses.replace(constant, steps=14)
    list(go_on(longer, tmp_path / "run").run())
    list(begin(longer, tmp_path / "whole").run())
    assert same(tmp_path / "whole" / run_folder.LAST, tmp_path / "run" / run_folder.LAST)


def test_a_run_cannot_become_shorter_than_it_is(tmp_path):
    list(begin(RECIPE, tmp_path / "run").run())
    with pytest.raises(CheckpointError, match="has done 10 steps, more than 9"):
        go_on(dataclasses.replace(RECIPE, steps=9), tmp_path / "run")
    assert run_folder.read_recipe(tmp_path / "run") == RECIPE


@pytest.mark.parametrize("name", ["", "checkpoint.npz", "best.npz"])
def test_a_run_is_named_by_its_folder_or_its_files(name, tmp_path):
    list(begin(RECIPE, tmp_path / "run").run())
    assert run_folder.run_of(tmp_path / "run" / name) == tmp_path / "run"
    assert run_folder.load_trained(tmp_path / "run" / name)[1] == RECIPE
    (tmp_path / "best.npz").write_bytes(b"")
    assert run_folder.run_of(tmp_path / "best.npz") is None
