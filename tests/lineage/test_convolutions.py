"""What holds for every convolutional network of the lineage: names and training."""

import importlib
import json

import numpy as np
import pytest
from convolutions_by_hand import as_kernels
from lineage.test_contract import loader

from minivit import lineage
from minivit.data import ArrayDataset
from minivit.errors import CheckpointError, ConfigError
from minivit.lineage import published_layers
from minivit.models import families
from minivit.models.archive import write_safetensors
from minivit.models.families import build, config_of, mapping, named_fields
from minivit.optim import AdamW
from minivit.runs.recipes import Recipe
from minivit.tensor import grad
from minivit.update.step import step

SHAPE = {"image_size": (8, 16), "channels": 1, "num_classes": 3}
SMALL = {
    "convnext": {"depths": (1, 1), "dims": (4, 8), "strides": (1, 2), "patch_size": 2, "drop_path": 0.1,
                 "layer_scale": 0.5},
    "convnextv2": {"name": "convnext", "depths": (1, 1), "dims": (4, 8), "strides": (1, 2), "patch_size": 2,
                   "grn": True, "layer_scale": None},
    "efficientnet": {"expansions": (1, 2), "widths": (8, 8), "repeats": (1, 2), "strides": (1, 2), "kernels": (3, 5),
                     "stem": 8, "features": 8, "dropout": 0.1, "drop_path": 0.1},
    "coatnet": {"depths": (1, 1), "widths": (8, 8), "kinds": ("C", "T"), "stem": (4, 6), "head_width": 4, "hidden": 8,
                "drop_path": 0.1},
    "botnet": {"depths": (1, 1), "base": 8, "root": "7x7"},
}  # fmt: skip


def config(name):
    return config_of({"name": name, **SHAPE, **SMALL[name]}, "test")


def objective_of(name, classes=3):
    """As a run builds it, on pictures that it can learn from."""
    shape = config(name)
    objective = lineage.build(Recipe(model=shape), lineage.Given(shape, ["a", "b", "c"], 10)).train()
    labels = np.arange(12) % 3
    images = np.random.default_rng(0).integers(0, 100, (12, 8, 16, 1)) + 70 * labels[:, None, None, None]
    return objective, ArrayDataset(images.astype(np.uint8), labels, ["a", "b", "c"], "noise")


@pytest.mark.parametrize("name", SMALL)
def test_a_configuration_survives_json(name):
    shape = config(name)
    fields = json.loads(json.dumps(mapping(shape)))
    assert config_of(fields, "test") == shape
    assert type(build(shape, seed=None).config) is type(shape)
    with pytest.raises(ConfigError, match='unknown field "depht"'):
        config_of({**fields, "depht": 1}, "test")


def test_names_lead_to_families_and_unknown_ones_are_named():
    for name in ("convnext-t", "convnextv2-atto", "efficientnet-b0", "coatnet-0", "botnet-50"):
        assert families.name_of(config_of(named_fields(name), name)) == name.partition("-")[0].removesuffix("v2")
    with pytest.raises(ConfigError, match='unknown model "convnext-y"; did you mean'):
        named_fields("convnext-y")
    for name in ("convnext-small32", "convnextv2-small32", "efficientnet-small32", "coatnet-small32", "botnet-small32"):
        shape = config_of({**named_fields(name), "image_size": 32, "num_classes": 10}, name)
        assert 50_000 < build(shape, seed=None).num_parameters() < 1_000_000


@pytest.mark.parametrize("name", ["convnext", "efficientnet", "coatnet"])
def test_damaged_files_and_strange_facts_beside_them_are_named_in_one_line(tmp_path, name):
    recorded = importlib.import_module(f"minivit.lineage.recorded.{name}")
    network = build(config(name), 0)
    arrays = published_layers.views(network, names=recorded.TO_TIMM)
    arrays = arrays if name == "convnext" else as_kernels(arrays, "head.fc", "pre_logits", "table", "classifier")
    path, facts = tmp_path / "model.safetensors", {"image_size": (8, 16)}
    facts |= {"strides": (1, 2)} if name == "efficientnet" else {"head_width": 4} if name == "coatnet" else {}
    for size in ("big", [3, 8], {}, [3, 0, 8]):
        (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": {"input_size": size}}), encoding="utf-8")
        write_safetensors(path, arrays, {})
        recorded.open_pretrained(path, **facts)
        assert published_layers.beside(path)[1] == (224, 224)
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": [], "hidden_act": []}), encoding="utf-8")
    for key in arrays:
        write_safetensors(path, {**arrays, key: np.zeros((0, 0, 0, 0))}, {})
        with pytest.raises((CheckpointError, ConfigError)):
            recorded.open_pretrained(path, **facts)


@pytest.mark.parametrize("objective", ["dino", "mae", "clip", "deit"])
def test_objectives_that_need_a_vit_say_so(objective):
    shape = config_of({**mapping(config("convnext")), "num_classes": 0}, "test")
    recipe = Recipe(model=shape, objective={"name": objective})
    with pytest.raises(ConfigError, match=r"needs a ViT|name one with --teacher"):
        lineage.build(recipe, lineage.Given(shape, [], 10))


@pytest.mark.parametrize("name", SMALL)
def test_it_learns(name):
    objective, data = objective_of(name)
    optimizer, losses = AdamW(objective.named_parameters(), lr=5e-3), []
    before = {key: x.copy() for key, x in objective.state_dict().items() if "running" in key}
    for i in range(25):
        losses.append(step(objective, optimizer, loader(objective, data).batch(i), None, None, 1, seed=(3, i, 2)).loss)
    assert losses[0] == pytest.approx(np.log(3), rel=1e-5)  # the head begins at zero
    assert np.mean(losses[-3:]) < 0.8 * losses[0]
    assert all(not np.array_equal(objective.state_dict()[key], x) for key, x in before.items())


@pytest.mark.parametrize("name", SMALL)
def test_every_parameter_learns_and_features_come_without_a_head(name):
    network = build(config(name), 0, "float64")
    head = next(tensor for key, tensor in reversed(network.named_parameters()) if tensor.shape[-1] == 3)
    for _, tensor in network.named_parameters():
        if not tensor.data.any():
            tensor.data[...] = np.random.default_rng(1).normal(size=tensor.shape)
    images = np.random.default_rng(0).normal(size=(4, 8, 16, 1))
    loss = (network(images, rng=np.random.default_rng(0)) * np.arange(3.0)).sum()
    gradients = grad(loss, network.parameters())
    silent = [key for (key, _), g in zip(network.named_parameters(), gradients, strict=True) if not g.any()]
    assert head.requires_grad
    assert silent == []
    without = build(config_of({**mapping(config(name)), "num_classes": 0}, "test")).eval()
    assert without(images).shape == (4, getattr(without.config, "hidden", None) or without.config.width)
