"""Runs whose checkpoints are of the first format, which knew models alone: tests/data/first_format is one of them.

It was stopped at step 5 of 6, on 40 digits. How it goes on was recorded with the code that wrote it.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest

from minivit.data import load
from minivit.runs import folder as run_folder
from minivit.runs.trainer import Trainer

STORED = Path(__file__).resolve().parents[1] / "data" / "first_format"


@pytest.fixture
def run(tmp_path):
    return Path(shutil.copytree(STORED, tmp_path / "run"))


def head(path):
    """The sum of the head's weights, and of their sizes."""
    model, _, classes = run_folder.load_trained(path)
    assert classes == list("0123456789")
    assert not model.training
    weights = model.head.weight.data
    return float(weights.sum()), float(abs(weights).sum())


def test_it_is_loaded(run):
    assert head(run) == pytest.approx((-0.02419227361679077, 0.1980903148651123), rel=1e-5)
    best = run_folder.read_checkpoint(run / "best.npz")
    assert best[0].keys() == {"objective", "ema"}
    assert best[1]["step"] == 4
    assert head(run / "best.npz")[1] < head(run)[1]


def test_it_goes_on_as_it_would_have(run):
    trainer = Trainer(
        run_folder.read_recipe(run), load("digits").limit(40), load("digits", split="test").limit(15), run
    )
    trainer.restore()
    assert [progress.step for progress in trainer.run()] == [6]
    assert head(run) == pytest.approx((-0.02459835633635521, 0.19945161044597626), rel=1e-4)
    last = trainer.metrics[-1]
    assert (last["train_loss"], last["test_loss"]) == pytest.approx((2.312219977378845, 2.3054463863372803), rel=1e-5)
    assert "train_accuracy" not in last  # of its first step nobody has kept it
    states, _ = run_folder.read_checkpoint(run / "checkpoint.npz")
    assert states.keys() == {"objective", "optimizer", "ema"}
    assert np.array_equal(states["objective"]["model.head.bias"], trainer.model.head.bias.data)
