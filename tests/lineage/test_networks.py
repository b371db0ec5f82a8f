"""Networks of the lineage as models of a run: found by name, built, saved, and imported only when needed."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest

from minivit import lineage
from minivit.data import load
from minivit.errors import ConfigError
from minivit.models import families
from minivit.models.families import ModelConfig
from minivit.runs import folder as run_folders
from minivit.runs.answers import load_pretrained
from minivit.runs.recipes import complete
from minivit.runs.trainer import Trainer

SMALL = {"width": 16, "depth": 1, "heads": 2, "mlp_width": 16, "image_size": 8, "channels": 1, "num_classes": 3}


@pytest.mark.parametrize("name", lineage.NETWORKS)
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


@pytest.mark.parametrize("name", lineage.NETWORKS)
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


@pytest.mark.parametrize("name", lineage.NETWORKS)
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
