"""Fields of records are of their annotated types, wherever their values come from."""

import json

import numpy as np
import pytest

from minivit.data import Augment
from minivit.errors import ConfigError
from minivit.models import ResNetConfig, ViTConfig
from minivit.runs import recipes
from minivit.runs.recipes import Recipe

SHAPE = {"image_size": 16, "patch_size": 8, "width": 24, "depth": 1, "heads": 2, "num_classes": 3}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("qkv_bias", "false"), ("qkv_bias", None), ("fc_norm", 1), ("class_token", "yes"), ("distillation_token", "no"),
        ("width", 24.0), ("depth", 1.5), ("heads", "2"), ("num_classes", True), ("channels", None), ("dropout", "0.1"),
        ("norm_eps", "1e-6"), ("layer_scale", "a"), ("layer_scale", True), ("register_tokens", 1.5), ("stem", 5),
        ("stem", "123"), ("stem", (1.5,)), ("stem_width", "64"), ("head_bias", "x"),
        ("head_bias", float("nan")), ("head_bias", float("inf")), ("representation_size", 2.5),
    ],
)  # fmt: skip
def test_a_shape_of_another_type_is_refused_by_its_name(field, value):
    with pytest.raises(ConfigError, match=rf"^{field} is .*, expected"):
        ViTConfig(**{**SHAPE, field: value})


@pytest.mark.parametrize("units", [5, "222", (1.5, 1)])
def test_so_are_units_of_a_resnet(units):
    with pytest.raises(ConfigError, match=r"^units is .*, expected"):
        ResNetConfig(units)


@pytest.mark.parametrize(
    ("field", "value"),
    [("flip", "no"), ("mean", "0.5"), ("mean", None), ("resized_crop", 0.5), ("resized_crop", (0.5,)),
     ("randaugment", 2), ("randaugment", (2, "x")), ("erasing", "x"), ("image_size", 16)],
)  # fmt: skip
def test_so_are_random_changes(field, value):
    with pytest.raises(ConfigError, match=rf"^{field} is .*, expected"):
        Augment(**{"image_size": (16, 16), field: value})


def test_generators_and_arrays_become_tuples():
    augment = Augment(
        image_size=(n for n in (16, 16)),
        resized_crop=iter((0.5, 1.0)),
        randaugment=[2, 9],
        mean=(0.5 for _ in range(3)),
        std=np.full(3, 0.25),
    )
    assert (augment.image_size, augment.resized_crop, augment.randaugment) == ((16, 16), (0.5, 1.0), (2, 9))
    assert (augment.mean, augment.std) == ((0.5,) * 3, (0.25,) * 3)
    assert ViTConfig(image_size=64, patch_size=1, stem=(n for n in (1, 2))).stem == (1, 2)
    assert ResNetConfig(n for n in (1, 2)).units == (1, 2)


def test_numpys_scalars_become_pythons():
    config = ViTConfig(**SHAPE | {"width": np.int64(24), "norm_eps": np.float64(1e-6), "qkv_bias": np.bool_(True)})
    assert [type(x) for x in (config.width, config.norm_eps, config.qkv_bias)] == [int, float, bool]
    recipe = Recipe(model=config, lr=np.float32(0.5), batch_size=np.int64(4))
    values = json.loads(recipes.to_json(recipe))
    assert (values["lr"], values["batch_size"]) == (0.5, 4)
