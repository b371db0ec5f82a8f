"""Objectives by name: their fields in a recipe, and the objective that a recipe stands for."""

import dataclasses
import json

import numpy as np
import pytest
from painting import Paint, painting  # noqa: F401

from minivit import lineage
from minivit.errors import ConfigError
from minivit.models import ViT, ViTConfig
from minivit.runs import recipes
from minivit.runs.recipes import Recipe
from minivit.update.objective import Classification

pytestmark = pytest.mark.usefixtures("painting")
SHAPE = {"image_size": 8, "patch_size": 4, "width": 8, "depth": 1, "heads": 2, "mlp_width": 16, "channels": 1}


def test_an_objective_is_completed_and_survives_json():
    recipe = Recipe(objective={"name": "paint", "share": np.float64(0.25), "sizes": [3]})
    assert recipe.objective == {"name": "paint", "share": 0.25, "sizes": (3,), "teacher": None}
    assert type(recipe.objective["share"]) is float
    again = recipes.from_mapping(json.loads(recipes.to_json(recipe)), "test")
    assert (again, hash(again)) == (recipe, hash(recipe))
    assert again != Recipe(objective={"name": "paint"})
    assert dataclasses.replace(recipe, lr=0.5).objective == recipe.objective


def test_classification_is_the_objective_without_a_name():
    assert Recipe().objective is None
    assert Recipe(objective={"name": "classification"}) == Recipe()
    older = json.loads(recipes.to_json(Recipe(mixup=0.2, loss="sigmoid")))
    del older["objective"]
    assert recipes.from_mapping(older, "test") == Recipe(mixup=0.2, loss="sigmoid")


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ({"name": "pant"}, 'objective "pant"; did you mean "paint"?; known: classification, .*paint'),
        ({"name": "paint", "shar": 0.5}, 'unknown field "shar"; did you mean "share"?'),
        ({"name": "paint", "share": "much"}, 'share is "much", expected float'),
        ({"name": "paint", "share": True}, "share is true, expected float"),
        ({"name": "paint", "share": np.zeros}, "share is .*, expected float"),
        ({"name": "paint", "share": 2.0}, "share is 2.0, expected more than 0 and less than 1"),
        ({"share": 0.5}, "it needs a name"),
        ({"name": 5}, "it needs a name"),
        ({"name": "classification", "mixup": 0.5}, "the fields of classification belong to the recipe itself"),
        ("paint", "expected"),
        (5, "expected"),
    ],
    ids=str,
)
def test_what_is_no_objective_is_refused_in_one_line(objective, message):
    for make in (lambda: Recipe(objective=objective), lambda: recipes.from_mapping({"objective": objective}, "a.json")):
        with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
            make()


@pytest.mark.parametrize("wrong", [{"mixup": 0.1}, {"cutmix": 1.0}, {"loss": "sigmoid"}, {"label_smoothing": 0.1}])
def test_what_belongs_to_classification_is_refused_elsewhere(wrong):
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))} belongs to classification, but the objective is paint"):
        Recipe(objective={"name": "paint"}, **wrong)


def test_a_recipe_stands_for_an_objective():
    recipe = Recipe(model=ViTConfig(**SHAPE, num_classes=0), objective={"name": "paint", "share": 0.25})
    built = lineage.build(recipe, lineage.Given(recipe.model, [], 10, seed=3, dtype="float64"))
    assert isinstance(built, Paint)
    assert built.config == Paint.Config(share=0.25)
    wanted = ViT(recipe.model, 3, "float64").state_dict()
    assert all(np.array_equal(x, wanted[name]) for name, x in built.encoder.state_dict().items())
    start = ViT(recipe.model, 4)
    assert lineage.build(recipe, lineage.Given(recipe.model, [], 10, start=start)).encoder is start


def test_without_an_objective_it_is_a_classifier():
    recipe = Recipe(model=ViTConfig(**SHAPE, num_classes=3), label_smoothing=0.1)
    built = lineage.build(recipe, lineage.Given(recipe.model, ["a", "b", "c"], 10))
    assert isinstance(built, Classification)
    assert (built.kind, built.label_smoothing, built.encoder.config) == ("softmax", 0.1, recipe.model)


@pytest.mark.parametrize(("objective", "classes"), [(None, 10), ({"name": "paint"}, 0)])
def test_only_what_reads_labels_gets_a_head(objective, classes):
    from minivit.data import load

    recipe = recipes.complete({"objective": objective, "model": {"patch_size": 4}}, load("digits"))
    assert recipe.model.num_classes == classes
    assert lineage.columns(objective) == (("images",) if objective else ("images", "labels"))
