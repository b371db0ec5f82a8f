"""samples.png: pictures that an objective makes, drawn into the run folder at every evaluation; and `begin`."""

import dataclasses

import numpy as np
import pytest

from minivit.data import load
from minivit.lineage.dit import Denoising
from minivit.runs import folder as run_folder
from minivit.runs import saving
from minivit.runs.presets import preset
from minivit.runs.recipes import Recipe, complete
from minivit.runs.trainer import Trainer

SMALL = {"steps": 4, "eval_every": 2, "batch_size": 16, "ema": 0.5, "workers": 1}


def recipe_of(data, **objective) -> Recipe:
    choices = preset("digits-dit") | SMALL
    choices["model"] = {"patch_size": 4, "width": 8, "depth": 1, "heads": 1, "mlp_width": 8}
    recipe = complete(choices, data)
    return dataclasses.replace(recipe, objective={"name": "dit", "learned_variance": False, "walk": 2, **objective})


@pytest.fixture(scope="module")
def data():
    return load("digits", split="train").limit(40, 0), load("digits", split="test").limit(20, 0)


def trained(folder, data, stop=None):
    """The bytes of samples.png after each evaluation of a run that may be stopped and resumed, and its last state."""
    recipe, drawn = recipe_of(data[0]), []
    run_folder.create(folder, recipe)
    for end in [stop] * (stop is not None) + [None]:
        trainer = Trainer(recipe, *data, folder)
        trainer.restore()
        for progress in trainer.run():
            if progress.metrics:
                drawn.append((folder / "samples.png").read_bytes())
            if progress.step == end:
                trainer.stop()
    return drawn, {name: np.asarray(x).tobytes() for name, x in trainer.flat_state().items()}


def test_samples_are_drawn_at_every_evaluation_the_same_after_a_stop(tmp_path, data):
    whole, resumed = trained(tmp_path / "whole", data), trained(tmp_path / "resumed", data, 3)
    assert len(whole[0]) == 2
    assert whole[0][0] != whole[0][1], "the network has learned"
    assert whole[0][0].startswith(b"\x89PNG")
    assert resumed == whole
    assert not [*(tmp_path / "whole").glob("*partial*")]


def test_drawing_changes_nothing_and_uses_the_averages(tmp_path, data, monkeypatch):
    seen = []

    def pictures(self, rng):
        seen.append((self.training, self.network.embed.weight.data.copy(), rng.random()))
        return {"grey": np.zeros((1, 2, 2, 1))}

    def image_rows(rows, title, path):
        assert np.array_equal(rows["grey"], np.full((1, 2, 2, 1), 0.5)), "normalised pictures have mean 0"
        path.write_bytes(b"drawn")

    monkeypatch.setattr(Denoising, "pictures", pictures)
    monkeypatch.setattr(saving, "image_rows", image_rows)
    _, state = trained(tmp_path / "grey", data)
    monkeypatch.setattr(Denoising, "pictures", lambda self, rng: {})
    recipe = recipe_of(data[0])
    run_folder.create(tmp_path / "none", recipe)
    trainer = Trainer(recipe, *data, tmp_path / "none")
    [*trainer.run()]
    assert {name: np.asarray(x).tobytes() for name, x in trainer.flat_state().items()} == state
    assert not (tmp_path / "none" / "samples.png").exists()
    training, weight, number = seen[-1]
    assert not training
    assert trainer.ema is not None
    assert np.array_equal(weight, trainer.ema.averages[trainer.ema.names.index("network.embed.weight")])
    assert number == seen[0][2], "from the seed alone"


def test_an_objective_looks_at_the_training_data_before_the_first_step(data, monkeypatch):
    seen = []
    monkeypatch.setattr(Denoising, "begin", lambda self, *given: seen.append(given))
    recipe = dataclasses.replace(recipe_of(data[0]), seed=3)
    Trainer(recipe, *data, None)
    ((known, transform, seed),) = seen
    assert (known, seed) == (data[0], 3)
    assert transform == recipe.augment.evaluation()
