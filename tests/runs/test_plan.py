"""From options to a run: what goes before what, and what is refused before anything is made."""

import dataclasses
import json

import numpy as np
import pytest
from painting import PRESETS, painting  # noqa: F401

from minivit.data import ArrayDataset
from minivit.errors import ConfigError, DataError
from minivit.runs import folder as run_folder
from minivit.runs.answers import Task
from minivit.runs.plan import check_teacher, merged, plan
from minivit.runs.recipes import Recipe

pytestmark = pytest.mark.usefixtures("painting")


class Pictures(ArrayDataset):
    """Images and texts."""

    COLUMNS = ("images", "captions")


def planned(kind=ArrayDataset, **given):
    """The plan of options on images that are all alike."""
    images = kind(np.zeros((20, 8, 8, 3), np.uint8), np.zeros(20), ["ant", "bee"], "photos")
    return plan(given, lambda *_: images)


def test_an_objective_is_named_and_its_fields_are_set_by_their_types():
    settings = [("share", "0.25"), ("sizes", "3,4"), ("share", "0.75")]
    recipe = planned(objective="paint", set=settings, patch_size=4).recipe
    assert recipe.objective == {"name": "paint", "share": 0.75, "sizes": (3, 4), "teacher": None}
    assert merged({"objective": "paint", "teacher": "5"})[0]["objective"] == {
        **PRESETS["digits-paint"]["objective"],
        "teacher": "5",
    }
    assert recipe.model.num_classes == 0
    assert planned(objective="paint", data="clips").recipe.mixup == 0.0  # though the preset that fits clips mixes


def test_without_one_it_is_classification():
    for given in ({}, {"objective": "classification"}, {"preset": "digits-paint", "objective": "classification"}):
        recipe = planned(**given, patch_size=4).recipe
        assert (recipe.objective, recipe.model.num_classes) == (None, 2)
    assert planned().recipe.mixup == 0.4


def test_a_preset_of_the_family_is_found_and_its_objective_can_be_changed():
    found = planned(preset="digits-paint")
    assert (found.name, found.recipe.objective["share"], found.recipe.steps) == ("digits-paint", 0.25, 4)
    recipe = planned(preset="digits-paint", objective="paint", set=[("sizes", "7")]).recipe
    assert (recipe.objective["share"], recipe.objective["sizes"]) == (0.25, (7,))
    assert PRESETS["digits-paint"]["objective"] == {"name": "paint", "share": 0.25}  # as it was


def test_without_a_preset_one_of_the_objective_is_taken_if_it_is_for_the_data():
    assert planned(objective="paint").name == "digits-paint"
    assert planned(objective="paint", data="digits").recipe.model.width == 8
    other = planned(objective="paint", data="cifar10")
    assert (other.name, other.recipe.model.width, other.recipe.steps) == ("cifar10-paint", 96, None)
    assert other.recipe.model.classifier == "token"  # the preset of classification reads the mean
    assert planned(data="cifar10").recipe.model.classifier == "gap"


def test_a_config_keeps_its_objective(tmp_path):
    run_folder.create(tmp_path / "run", planned(preset="digits-paint").recipe)
    config = str(tmp_path / "run" / "config.json")
    assert planned(config=config).recipe.objective["share"] == 0.25
    changed = planned(config=config, set=[("share", "0.5")]).recipe
    assert (changed.objective["share"], changed.objective["sizes"]) == (0.5, (1, 2))
    assert planned(config=config, objective="classification").recipe.model.num_classes == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"objective": "pant"}, 'there is no objective "pant"; did you mean "paint"?; known: classification, '),
        ({"preset": "digits-pain"}, 'unknown preset "digits-pain"; did you mean "digits-paint"?'),
        ({"set": [("share", "0.5")]}, "name it with --objective"),
        ({"teacher": "run"}, "name it with --objective"),
        ({"objective": "paint", "set": [("shar", "1")]}, 'no field "shar"; did you mean "share"?; it has share, sizes'),
        ({"objective": "paint", "set": [("share", "much")]}, '--set share: "much", expected float'),
        ({"objective": "paint", "set": [("share", "inf")]}, '--set share: "inf", expected float'),
        ({"objective": "paint", "set": [("share", "none")]}, '--set share: "none", expected float'),
        ({"objective": "paint", "set": [("sizes", "a,b")]}, '--set sizes: "a,b", expected a list of int'),
        ({"objective": "paint", "set": [("share", "5")]}, "share is 5, expected more than 0"),
        ({"objective": "paint", "mixup": 0.5}, "mixup belongs to classification, but the objective is paint"),
        ({"objective": "paint", "loss": "sigmoid"}, "loss belongs to classification"),
        ({"config": "a", "preset": "b"}, "give one of them"),
        ({"preset": "finetune"}, "needs --init-from FILE"),
        ({"preset": "imagefolder"}, "preset imagefolder needs --data folder:PATH"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_in_one_line(given, message):
    with pytest.raises(ConfigError) as caught:
        planned(**given)
    assert message in str(caught.value)


def test_what_an_objective_has_no_use_for_is_not_taken_of_a_preset_and_refused_if_given(monkeypatch):
    monkeypatch.setattr("painting.Paint.unheeded", ("resized_crop", "randaugment"))
    given = {"objective": "paint", "data": "folder:x", "patch_size": 4, "batch_size": 10}
    recipe = planned(**given).recipe
    assert (recipe.resized_crop, recipe.randaugment, recipe.flip) == (None, None, True)
    with pytest.raises(
        ConfigError, match=r"^randaugment does not apply to the objective paint, which augments images itself"
    ):
        planned(**given, randaugment=(1, 5))
    assert planned(**{**given, "objective": "classification"}).recipe.randaugment == (2, 10)


def test_with_another_objective_goes_what_the_former_one_needs_of_a_vit(tmp_path, monkeypatch):
    monkeypatch.setattr("painting.Paint.needs", lambda config: {"distillation_token": True}, raising=False)
    recipe = planned(objective="paint", patch_size=4).recipe
    assert recipe.model.distillation_token
    run_folder.create(tmp_path / "run", recipe)
    config = str(tmp_path / "run" / "config.json")
    assert not planned(config=config, objective="classification").recipe.model.distillation_token
    assert planned(config=config, objective="paint").recipe.model.distillation_token


def test_a_teacher_without_classes_is_refused():
    recipe = planned(patch_size=4, objective="paint").recipe
    recipe = dataclasses.replace(recipe, objective={"name": "paint", "teacher": "run"})
    data = ArrayDataset(np.zeros((2, 8, 8, 3), np.uint8), [0, 1], ["ant", "bee"], "photos")
    with pytest.raises(DataError, match=r"^the teacher run has no classes$"):
        check_teacher(Task.of(recipe), recipe, data)


def test_data_without_what_the_objective_reads_are_refused(monkeypatch):
    monkeypatch.setattr("painting.Paint.columns", ("images", "captions"))
    assert planned(Pictures, objective="paint", patch_size=4)
    with pytest.raises(DataError, match=r"^photos has no captions, which the objective paint needs$"):
        planned(objective="paint", patch_size=4)
    with pytest.raises(DataError, match=r"^photos has no labels, which the objective classification needs$"):
        planned(Pictures, patch_size=4)


def test_older_configs_are_read(tmp_path):
    """Of a run before there were objectives."""
    values = json.loads(json.dumps({"data": "digits", "mixup": 0.25, "loss": "sigmoid", "model": {"patch_size": 4}}))
    (tmp_path / "config.json").write_text(json.dumps(values), encoding="utf-8")
    choices, _ = merged({"config": str(tmp_path / "config.json")})
    assert (choices["mixup"], choices["loss"], choices["objective"]) == (0.25, "sigmoid", None)
    assert Recipe().objective is None
