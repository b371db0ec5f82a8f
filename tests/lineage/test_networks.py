"""Networks of the lineage as models of a run: found by name, built, saved, and imported only when needed."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from devices import placed, to_device, to_host

from minivit import functional as F
from minivit.data import load
from minivit.errors import ConfigError
from minivit.lineage.exchanged import from_vit
from minivit.models import ViT, ViTConfig, families
from minivit.models.families import ModelConfig
from minivit.runs import folder as run_folders
from minivit.runs.answers import load_pretrained
from minivit.runs.recipes import complete
from minivit.runs.trainer import Trainer
from minivit.tensor import grad

OWN = ("transformer2017", "flash", "linformer", "performer", "mup")  # called NAME-Ti/4, with the sizes of that ViT
SMALL = {"width": 16, "depth": 1, "heads": 2, "mlp_width": 16, "image_size": 8, "channels": 1, "num_classes": 3}


@pytest.mark.parametrize("name", OWN)
def test_a_network_is_a_model_by_name(name):
    config = families.config_of({**families.named_fields(f"{name}-Ti/4"), **SMALL}, "test")
    assert isinstance(config, ModelConfig)
    assert config.num_tokens in (4, 5)
    assert families.name_of(config) == name
    again = families.config_of(json.loads(json.dumps(families.mapping(config))), "test")
    assert again == config
    model = families.build(config, 0)
    other = families.build(config, 1)
    other.load_state_dict(model.state_dict())
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 1))
    tap = {}
    features = model.eval()(images, tap)
    assert np.array_equal(features.data, other.eval()(images, {}).data)
    assert {"embedded", "encoded", "features"} <= tap.keys()
    assert features.shape == (2, 3)
    assert families.build(config, None).num_parameters() == model.num_parameters()


@pytest.mark.parametrize("name", OWN)
def test_without_classes_it_gives_features(name):
    config = families.config_of({**families.named_fields(f"{name}-Ti/4"), **SMALL, "num_classes": 0}, "test")
    assert families.build(config, 0).eval()(np.zeros((2, 8, 8, 1))).shape == (2, 16)


def test_an_unknown_size_is_named():
    with pytest.raises(ConfigError, match='unknown variant "Xx/4"'):
        families.named_fields("performer-Xx/4")


def test_the_files_of_networks_are_imported_when_they_are_needed():
    code = (
        "import sys, minivit.lineage\n"
        "from minivit.models import families, ViTConfig\n"
        "families.name_of(ViTConfig()), families.named_fields('B/16')\n"
        "print([name for name in minivit.lineage.NETWORKS if f'minivit.lineage.{name}' in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, encoding="utf-8")
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", OWN)
def test_a_run_trains_it(name, tmp_path):
    data = load("digits")
    sizes = {key: SMALL[key] for key in ("width", "depth", "heads", "mlp_width")}
    recipe = complete(
        {"model": {**families.named_fields(f"{name}-Ti/4"), **sizes}, "steps": 8, "backend": "numpy"}, data
    )
    run = tmp_path / "run"
    run_folders.create(run, recipe)
    assert all(math.isfinite(progress.loss) for progress in Trainer(recipe, data, data, run).run())
    model = load_pretrained(run)
    assert families.name_of(model.config) == name
    assert model(np.zeros((2, 8, 8, 1))).shape == (2, 10)


@pytest.mark.parametrize(("name", "fields"), [("flash", {}), ("performer", {"features": 6000}), ("linformer", {})])
def test_a_trained_vit_gets_another_attention(name, fields):
    sizes = {key: x for key, x in SMALL.items() if key != "num_classes"}
    trained, rng = ViT(ViTConfig(patch_size=4, num_classes=3, **sizes), 0, "float64"), np.random.default_rng(0)
    for tensor in trained.parameters():
        tensor.data += 0.1 * rng.normal(size=tensor.shape)
    model = from_vit(trained, families.FAMILIES[name], **fields)
    if name == "linformer":  # as many mixtures as tokens, each of one token
        model = from_vit(trained, families.FAMILIES[name], projected=5, sharing="key-value")
        model.blocks[0].attention.key_mix.data[...] = np.eye(5)
    images = rng.normal(size=(4, 8, 8, 1))
    wanted, found = trained(images).data, model(images).data
    assert np.abs(found - wanted).mean() < (0.04 if name == "performer" else 1e-13)
    assert np.array_equal(model.blocks[0].mlp.out.weight.data, trained.blocks[0].mlp.out.weight.data)
    assert not np.shares_memory(model.blocks[0].mlp.out.weight.data, trained.blocks[0].mlp.out.weight.data)


@pytest.mark.parametrize("name", OWN)
def test_on_a_gpu_it_computes_the_same(name, device):
    config = families.config_of({**families.named_fields(f"{name}-Ti/4"), **SMALL}, "test")
    rng = np.random.default_rng(0)
    images, labels, head = rng.normal(size=(2, 8, 8, 1)), np.array([2, 0]), rng.normal(size=(16, 3))
    found = []
    for place in (lambda x: x, placed):
        model = families.build(config, 0).eval()
        model.head.weight.data[...] = head
        loss = F.cross_entropy(place(model)(images), to_device(labels) if place is placed else labels)
        found.append([loss.data, *grad(loss, model.parameters())])
    for mine, theirs in zip(*found, strict=True):
        assert np.abs(mine - to_host(theirs)).max() <= 1e-5 * max(1, np.abs(mine).max())
