"""The families of models: by the name in their fields, by the names of their variants, and with one more."""

import dataclasses
import json

import numpy as np
import pytest

from minivit import listing
from minivit.errors import ConfigError
from minivit.models import ResNet, ResNetConfig, ViT, ViTConfig, families
from minivit.models.config import Size
from minivit.models.families import FAMILIES, Family, build, config_class, config_of, mapping, named_fields
from minivit.nn import Linear, Module
from minivit.runs import recipes
from minivit.tensor import Tensor

KNOWN = ", ".join(FAMILIES)  # those of the lineage too
SMALL = {"image_size": 8, "width": 32, "num_classes": 3, "channels": 1}


@dataclasses.dataclass(frozen=True)
class PixelsConfig:
    """Of a family that is not the library's."""

    units: int = 4  # the name of a field of ResNetConfig
    image_size: Size = Size(8)
    channels: int = 1
    num_classes: int = 3
    width: int = 1
    num_tokens: int = 1
    description: str = "Pixels: one matrix"


class Pixels(Module):
    def __init__(self, config, seed=0, dtype="float32"):
        self.config = config
        rng = None if seed is None else np.random.default_rng(seed)
        self.head = Linear(config.image_size[0] * config.image_size[1], config.num_classes, rng, dtype)

    def forward(self, images, tap=None, rng=None):
        return self.head(Tensor(self.like(images).reshape(len(images), -1)))


@pytest.fixture
def pixels(monkeypatch):
    """While this is used, there is one family more."""
    variants = {"P2": {"units": 2}, "P9": {"units": 9}}
    monkeypatch.setitem(FAMILIES, "pixels", Family(PixelsConfig, Pixels, r"P\d", variants.__getitem__))


def test_names_lead_to_the_family():
    for name, kind in (("R50x1", ResNetConfig), ("R50+B/16", ViTConfig), ("B/16", ViTConfig), ("R+Ti/16", ViTConfig)):
        assert config_class(named_fields(name)) is kind
        assert config_of(named_fields(name), "test") == kind.variant(name)
        assert build(kind.variant(name), seed=None).config == kind.variant(name)


VIT = {"patch_size": 4, "depth": 2, "heads": 2}


@pytest.mark.parametrize(
    ("fields", "config"),
    [
        ({"name": "vit", **VIT}, ViTConfig(**VIT, **SMALL)),
        (VIT, ViTConfig(**VIT, **SMALL)),
        ({"name": "resnet", "units": [1, 2]}, ResNetConfig((1, 2), **SMALL)),
        ({"units": [1, 2]}, ResNetConfig((1, 2), **SMALL)),  # of a file of version 0.1
    ],
)
def test_fields_with_and_without_a_name(fields, config):
    assert config_of({**SMALL, **fields}, "test") == config
    again = json.loads(json.dumps(mapping(config)))
    assert next(iter(again)) == "name"
    assert config_of(again, "test") == config
    assert isinstance(build(config, seed=None), ViT if again["name"] == "vit" else ResNet)


KNOWN = ", ".join(families.FAMILIES)  # vit, resnet, and those of the lineage


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "resnett"}, f'test: unknown model "resnett", expected one of {KNOWN}; did you mean "resnet"?'),
        ({"name": [7]}, f"test: unknown model [7], expected one of {KNOWN}"),
        ({"name": None}, f"test: unknown model null, expected one of {KNOWN}"),
        ({"name": "vit", "units": [1]}, 'test: unknown field "units"'),
        ({"name": "resnet", "units": [1], "root": 7}, "test: root is 7, expected str"),
        ({"image_size": "big"}, 'test: image_size is "big", expected int | tuple[int, int]'),
    ],
)
def test_what_is_no_model_is_named_in_one_line(fields, message):
    for read in (config_of, lambda fields, source: recipes.from_mapping({"model": fields}, source)):
        with pytest.raises(ConfigError) as caught:
            read(fields, "test")
        assert str(caught.value) == message


def test_a_recipe_holds_the_name_of_its_model():
    for config in (ViTConfig(), ResNetConfig((1,))):
        recipe = recipes.Recipe(model=config)
        values = json.loads(recipes.to_json(recipe))
        assert values["model"]["name"] == families.name_of(config)
        assert recipes.from_mapping(values, "test") == recipe


def test_one_family_more_is_one_entry_more(pixels, capsys):
    assert config_of(named_fields("P9"), "test") == PixelsConfig(units=9)
    assert config_class({"units": (1,)}) is ResNetConfig  # without a name
    recipe = recipes.Recipe(model=PixelsConfig(units=2))
    assert recipes.from_mapping(json.loads(recipes.to_json(recipe)), "test") == recipe
    model = build(recipe.model, dtype="float64")
    assert model(np.ones((2, 8, 8, 1))).shape == (2, 3)
    assert listing.models(["P2", "--image-size", "8", "--classes", "3"]) == 0
    assert "P2                       195        -        -   one matrix" in capsys.readouterr().out
