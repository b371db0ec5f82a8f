"""Recipes: the presets, config.json, and values that make no sense."""

import dataclasses
import json
import typing

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivit.data import ArrayDataset, Dataset
from minivit.errors import ConfigError
from minivit.models import ResNetConfig, ViTConfig
from minivit.models.families import build
from minivit.runs import presets, recipes
from minivit.runs.recipes import Recipe


def fake_data(preset):
    """A data set such as the preset is for: the shapes of its images and its number of classes."""
    if preset == "digits":
        return ArrayDataset(np.zeros((4, 8, 8, 1), np.uint8), np.zeros(4), [str(i) for i in range(10)], "digits")
    if preset.startswith("cifar10"):
        return ArrayDataset(np.zeros((4, 32, 32, 3), np.uint8), np.zeros(4), [str(i) for i in range(10)], "cifar10")
    return Dataset(np.zeros(4), ["cat", "dog", "eel"], "folder:pets")  # images of mixed sizes


@pytest.mark.parametrize("name", presets.PRESETS)
def test_every_preset_is_a_recipe_whose_model_takes_its_data(name):
    choices = dict(presets.preset(name))
    choices.setdefault("data", "folder:pets")
    choices.setdefault("model", {})  # of a fine-tuned model it comes with the weights
    data = fake_data(name)
    recipe = recipes.complete(choices, data)
    model = recipe.model
    assert (model.channels, model.num_classes) == (data.channels, len(data.classes))
    assert model.image_size == (data.image_size or (224, 224))
    assert build(model, seed=None).num_parameters() > 10_000
    assert recipe.augment.image_size == model.image_size
    given = {key: value for key, value in choices.items() if key not in ("model", "data")}
    assert {key: getattr(recipe, key) for key in given} == given
    assert {key: getattr(model, key) for key in choices["model"] if "size" not in key} == {
        key: value for key, value in choices["model"].items() if "size" not in key
    }


@pytest.mark.parametrize("name", presets.PRESETS)
def test_config_json_gives_the_recipe_back(name, tmp_path):
    recipe = recipes.complete({"data": "folder:pets", **presets.preset(name), "data_root": "/data"}, fake_data(name))
    path = tmp_path / "config.json"
    path.write_text(recipes.to_json(recipe), encoding="utf-8")
    assert recipes.read_config(path) == recipe
    assert json.loads(path.read_text(encoding="utf-8")).keys() == {field.name for field in dataclasses.fields(Recipe)}


numbers = st.floats(1e-300, 0.999, exclude_max=True)


@given(
    lr=numbers,
    dropout=numbers,
    mean=st.one_of(numbers, st.tuples(numbers, numbers, numbers)),
    crop=st.one_of(st.none(), numbers.map(lambda low: (low, 1.0))),
    randaugment=st.one_of(st.none(), st.tuples(st.integers(0, 9), numbers)),
    size=st.one_of(st.integers(1, 50).map(lambda n: 16 * n), st.tuples(st.just(32), st.just(48))),
    ema=st.one_of(st.none(), numbers),
    seed=st.integers(0, 2**70),
)
def test_any_recipe_survives_json(lr, dropout, mean, crop, randaugment, size, ema, seed):
    """Floats to the last bit, tuples as tuples."""
    model = ViTConfig(image_size=size, dropout=dropout)
    recipe = Recipe(
        lr=lr, mean=mean, resized_crop=crop, randaugment=randaugment, ema=ema, seed=seed, model=model, data="folder:x"
    )
    again = recipes.from_mapping(json.loads(recipes.to_json(recipe)), "test")
    assert again == recipe
    assert hash(again) == hash(recipe)  # so there is no list in it


@pytest.mark.parametrize(
    "model",
    [
        ResNetConfig(units=(1, 2), width=32, root="3x3"),
        ViTConfig.variant("R26+S/32", image_size=(64, 96)),
        ViTConfig.variant("R+Ti/16"),
    ],
)
def test_resnets_and_hybrids_survive_json(model):
    recipe = Recipe(model=model)
    again = recipes.from_mapping(json.loads(recipes.to_json(recipe)), "test")
    assert again == recipe
    assert hash(again) == hash(recipe)


def test_fields_of_the_other_family_are_named():
    with pytest.raises(ConfigError, match='unknown field "heads"'):
        recipes.from_mapping({"model": {"units": [1], "heads": 3}}, "test")
    with pytest.raises(ConfigError, match='units is "R50"'):
        recipes.from_mapping({"model": {"units": "R50"}}, "test")


def test_the_recipe_arrives_in_the_augmentation():
    recipe = Recipe(
        model=ViTConfig(image_size=(16, 32)),
        flip=True,
        crop_padding=3,
        randaugment=(1, 4),
        erasing=0.5,
        mean=0.1,
        std=0.2,
    )
    found = recipe.augment
    assert (found.image_size, found.flip, found.crop_padding, found.randaugment) == ((16, 32), True, 3, (1, 4))
    assert (found.erasing, found.mean, found.std, found.resized_crop) == (0.5, 0.1, 0.2, None)
    assert Recipe(resized_crop=(0.3, 0.9)).augment.resized_crop == (0.3, 0.9)


def test_the_nearest_preset_is_suggested():
    for wrong, right in (
        ("digit", "digits"),
        ("cifar-10", "cifar10"),
        ("cifar10-10", "cifar10-10min"),
        ("folder", "imagefolder"),
    ):
        with pytest.raises(ConfigError, match=f'unknown preset "{wrong}"; did you mean "{right}"'):
            presets.preset(wrong)
    with pytest.raises(ConfigError, match="choose one of digits, cifar10-10min, cifar10, cifar10-resnet, imagefolder"):
        presets.preset("???")


def test_every_data_set_has_a_preset():
    names = {name: presets.preset_for(name) for name in ("digits", "cifar10", "cifar100", "folder:x")}
    assert names == {
        "digits": "digits",
        "cifar10": "cifar10-10min",
        "cifar100": "cifar10-10min",
        "folder:x": "imagefolder",
    }


def test_what_is_given_goes_before_what_the_data_have():
    recipe = recipes.complete({"model": {"image_size": 16, "patch_size": 4}}, fake_data("digits"))
    assert (recipe.model.image_size, recipe.model.channels) == ((16, 16), 1)


def wrong_values():
    """For every field of Recipe and ViTConfig a value of a type that it does not have."""
    for kind, at in ((Recipe, ()), (ViTConfig, ("model",))):
        for name, hint in typing.get_type_hints(kind).items():
            if name != "model":
                text = str(hint)
                value = 1.5 if "str" in text else {"a": 1} if "bool" in text else "text"
                yield (*at, name), value
                if "float" in text or "int" in text:
                    yield (*at, name), True


@pytest.mark.parametrize(("path", "value"), list(wrong_values()), ids=str)
def test_a_field_of_the_wrong_type_is_named(path, value):
    values = json.loads(recipes.to_json(Recipe()))
    (values["model"] if len(path) == 2 else values)[path[-1]] = value
    with pytest.raises(ConfigError, match=rf"^file.json: {path[-1]} is .+, expected \S+"):
        recipes.from_mapping(values, "file.json")


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": 0},
        {"accumulate": 0},
        {"workers": 0},
        {"eval_every": 0},
        {"checkpoint_every": 0},
        {"limit": 0},
        {"steps": 0},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"lr": float("inf")},
        {"lr": 10**400},
        {"steps": 10**400},
        {"epochs": 1e308},
        {"clip_norm": 10**400},
        {"crop_padding": 10**400},
        {"freeze": 10**9},
        {"epochs": -1},
        {"clip_norm": -1.0},
        {"weight_decay": -0.1},
        {"mixup": float("inf")},
        {"cutmix": -0.1},
        {"seed": -1},
        {"warmup": 1.0},
        {"label_smoothing": 1.0},
        {"momentum": 1.0},
        {"beta2": 1.0},
        {"ema": 1.0},
        {"ema": float("nan")},
        {"std": 0},
        {"std": (0.5, 0.5, 0.0)},
        {"mean": (0.5, 0.5)},
        {"erasing": 1.1},
        {"crop_padding": -1},
        {"resized_crop": (0.5, 0.4)},
        {"randaugment": (-1, 9)},
        {"optimizer": "adam"},
        {"schedule": ""},
        {"loss": "mse"},
        {"precision": "float16"},
        {"backend": "jax"},
        {"bad_images": "keep"},
        {"loss": "sigmoid", "label_smoothing": 0.1},
        {"precision": "tf32"},
    ],
    ids=str,
)
def test_values_that_make_no_sense(wrong):
    with pytest.raises(ConfigError) as caught:
        Recipe(**wrong)
    assert list(wrong)[-1].replace("_", " ") in str(caught.value).replace("_", " ")


def test_a_config_as_other_programs_write_it(tmp_path):
    """With a byte order mark and Windows' line ends."""
    text = recipes.to_json(Recipe(lr=0.25))
    (tmp_path / "config.json").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert recipes.read_config(tmp_path / "config.json") == Recipe(lr=0.25)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"lr": 0.1, "lr": 0.2}', '"lr" occurs twice'),
        (b'{"model": {"depth": 1, "depth": 2}}', '"depth" occurs twice'),
        (b'{"lr": NaN}', "NaN"),
        (b'{"mean": [0.5, 1e999]}', "1e999 is too large"),
        (b'{"lr": 0.1}{"lr": 0.2}', "Extra data"),
        ('{"lr": 0.1}'.encode("utf-16"), "UTF-16"),
        (b"[" * 100_000, "nested too deeply"),
        (b" " * (recipes.MAX_CONFIG + 1), "more than 1,048,576 bytes"),
        (b"[]", "expected a JSON object"),
        (b'{"model": null}', "model is null, expected a JSON object"),
        (b'{"model": []}', r"model is \[\], expected a JSON object"),
        (b'{"mean": [0.5, "0.5", 0.5]}', r'mean is \[0.5, "0.5", 0.5\], expected'),
        (b'{"resized_crop": [[0.1, 1]]}', "resized_crop is"),
        (b'{"mean": {"0": 0.5}}', "mean is"),
        (b'{"randaugment": [2, true]}', "randaugment is"),
    ],
    ids=lambda value: value[:20],
)
def test_a_config_that_may_be_read_in_two_ways_is_refused(tmp_path, content, reason):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=reason) as caught:
        recipes.read_config(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_values_at_the_edge_are_allowed():
    Recipe(clip_norm=0, warmup=0, ema=0, beta2=0, momentum=0, mixup=0, seed=0, weight_decay=0, batch_size=1, limit=1)
    Recipe(clip_norm=None, ema=None, mixup=1e9, weight_decay=2, steps=1, epochs=1e-9, std=(1e-3, 1, 2), mean=(-1, 0, 1))


def test_a_preset_is_the_callers_to_change():
    taken = presets.preset("digits")
    taken["model"]["width"] = taken["lr"] = 7
    assert presets.preset("digits")["lr"] != 7
    assert presets.preset("digits")["model"]["width"] != 7
