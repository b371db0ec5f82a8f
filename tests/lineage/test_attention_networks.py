"""Networks with attention in place of convolutions as families of models: by name, from JSON, trained."""

import json

import numpy as np
import pytest

from minivit import lineage
from minivit.data import ArrayDataset
from minivit.errors import ConfigError
from minivit.models import families
from minivit.models.families import ModelConfig
from minivit.optim import AdamW
from minivit.runs import recipes
from minivit.runs.recipes import Recipe
from minivit.update.step import step

NAMES = {"sasa": "sasa-small32", "cordonnier": "attention-cnn-small", "axial": "axial-small32",
         "visual_transformer": "vt-small32"}  # fmt: skip
SMALL = {
    "sasa": {"units": (1, 1), "width": 8, "heads": 2, "window": 3, "root": "3x3", "border": "masked"},
    "cordonnier": {"patch": 2, "width": 12, "depth": 1, "heads": 4, "mlp_width": 16},
    "axial": {"units": (1, 1), "width": 4, "heads": 2, "root": "3x3"},
    "visual_transformer": {"units": (1, 1), "modules": 2, "tokens": 3, "token_width": 12, "attention_width": 8,
                           "width": 4, "root": "3x3"},
}  # fmt: skip


def config(family, **changes):
    fields = {"name": family, **SMALL[family], "image_size": 8, "channels": 2, "num_classes": 3, **changes}
    return families.config_of(fields, "test")


@pytest.mark.parametrize(("family", "name"), NAMES.items())
def test_a_name_stands_for_fields_which_survive_json(family, name):
    found = families.config_of(families.named_fields(name), name)
    assert isinstance(found, ModelConfig)
    assert families.name_of(found) == family
    assert families.config_of(json.loads(json.dumps(families.mapping(found))), "test") == found
    recipe = Recipe(model=found)
    assert recipes.from_mapping(json.loads(recipes.to_json(recipe)), "test") == recipe
    assert (found.num_tokens, found.width) > (0, 0)
    assert str(found.width) in found.description or "modules" in found.description or family == "visual_transformer"


@pytest.mark.parametrize("name", ["sasa-r27", "attention-cnn-large", "axial-50", "vt-r18"])
def test_an_unknown_name_is_refused_with_the_known_ones(name):
    with pytest.raises(ConfigError, match=f'unknown model "{name}".*known: '):
        families.named_fields(name)


@pytest.mark.parametrize("family", SMALL)
def test_features_are_what_a_model_without_a_head_returns(family):
    images = np.random.default_rng(0).normal(size=(3, 8, 8, 2)).astype("float32")
    with_head, without = (families.build(config(family, num_classes=classes)).eval() for classes in (3, 0))
    tap = {}
    logits = with_head(images, tap=tap)
    assert (logits.shape, np.ptp(logits.data), logits.data.dtype) == ((3, 3), 0, np.float32)  # the head begins at zero
    assert np.array_equal(tap["features"].data, without(images).data)
    assert with_head.num_parameters() == families.build(with_head.config, None).num_parameters()


def test_a_stage_of_convolutions_takes_a_map_of_odd_sides():
    shape, tap = config("visual_transformer", image_size=(7, 9)), {}
    families.build(shape).eval()(np.zeros((1, 7, 9, 2), np.float32), tap=tap)
    assert tap["unit1"].shape[1:3] == shape.map_size(1) == (4, 5)
    assert shape.num_tokens == 20
    with pytest.raises(ConfigError, match="expected multiples of 2"):
        config("axial", image_size=(7, 9))


@pytest.mark.parametrize("family", SMALL)
def test_it_learns_by_the_objective_of_a_run(family):
    """Where the brighter half of an image is."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 32)
    images = rng.normal(0, 0.3, size=(32, 8, 8, 2)).astype("float32")
    images[labels == 0, :4] += 1
    images[labels == 1, 4:] += 1
    data = ArrayDataset(np.zeros((2, 8, 8, 2), np.uint8), [0, 1], ["above", "below"], "halves")
    recipe = Recipe(model=config(family, num_classes=2))
    objective = lineage.build(recipe, lineage.Given(recipe.model, data.classes, 24))
    optimizer = AdamW(objective.named_parameters(), lr=1e-2)
    losses = [step(objective, optimizer, {"images": images, "labels": labels}, accumulate=2).loss for _ in range(24)]
    assert losses[0] == pytest.approx(np.log(2), abs=1e-5)
    assert losses[-1] < 0.35
    assert all(np.isfinite(x).all() for x in objective.state_dict().values())
