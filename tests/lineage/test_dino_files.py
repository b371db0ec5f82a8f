"""Published weights of DINO: checkpoints of a run and the backbones that were given out."""

import numpy as np
import pytest
from dino_by_hand import SIZES, arrays

from minivit import models
from minivit.errors import CheckpointError
from minivit.lineage.dino import DINO, DINOConfig
from minivit.lineage.recorded.dino import data, load, views
from minivit.models import ViT, ViTConfig
from minivit.models.archive import read_arrays, write_npz, write_safetensors

WEIGHTS = arrays(SIZES, np.random.default_rng(0))


def objective(**fields):
    shape = ViTConfig(image_size=12, patch_size=4, width=12, depth=2, heads=2, mlp_width=10, num_classes=0, gelu="erf")
    own = {"outputs": 7, "hidden": 9, "bottleneck": 5, "local_size": 8, **fields}
    return DINO(DINOConfig(**own), ViT(shape, 1, "float64"), 1, 1, "float64")


def checkpoint():
    """The arrays of a training run as its process held them: a student that is wrapped twice."""
    named = {name.replace("student.", "student.module."): x for name, x in WEIGHTS.items()}
    return {**named, "dino_loss.center": np.arange(7.0)[None]}


def published(network):
    return views(data(network), network)


@pytest.mark.parametrize(
    "write", [write_npz, lambda path, x: write_safetensors(path, x, {})], ids=["npz", "safetensors"]
)
def test_a_checkpoint_of_a_run(tmp_path, write):
    own = objective()
    write(tmp_path / "checkpoint", checkpoint())
    load(read_arrays(tmp_path / "checkpoint")[0], own)
    for who in ("student", "teacher"):
        loaded = published(getattr(own, who))
        assert {f"{who}.{name}" for name in loaded} == {name for name in WEIGHTS if name.startswith(who)}
        assert all(np.array_equal(x, WEIGHTS[f"{who}.{name}"]) for name, x in loaded.items())
    assert np.array_equal(own.centre.data, np.arange(7.0))


def test_a_backbone_goes_to_both_and_leaves_the_heads():
    own = objective()
    before = {name: x.copy() for name, x in published(own.student).items()}
    backbone = {
        name.removeprefix("teacher.backbone."): x for name, x in WEIGHTS.items() if name.startswith("teacher.backbone")
    }
    load(backbone, own)
    for network in (own.student, own.teacher):
        for name, x in published(network).items():
            expected = before[name] if name.startswith("head") else WEIGHTS[f"teacher.{name}"]
            assert np.array_equal(x, expected), name


def test_a_backbone_is_a_vit_like_any_other(tmp_path):
    backbone = {
        name.removeprefix("teacher.backbone."): x for name, x in WEIGHTS.items() if name.startswith("teacher.backbone")
    }
    write_safetensors(tmp_path / "dino.safetensors", backbone, {})
    model = models.load_pretrained(tmp_path / "dino.safetensors", heads=2)
    own = objective()
    load(backbone, own)
    images = np.random.default_rng(1).normal(size=(2, 12, 12, 3))
    assert np.allclose(model(images).data, own.features(images).data, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"teacher.head.mlp.2.bias": None}, "missing: teacher.head.mlp.2.bias"),
        (
            {"student.module.backbone.cls_token": np.zeros((1, 1, 5))},
            r"wrong shape: student.backbone.cls_token \(1, 1, 5\)",
        ),
        ({"student.module.head.mlp.1.weight": np.zeros(9)}, "unexpected: student.head.mlp.1.weight"),
        ({"dino_loss.center": np.zeros((1, 3))}, "its centre has 3 outputs, expected 7"),
    ],
)
def test_what_does_not_fit_is_said_and_changes_nothing(change, said):
    own = objective()
    before = {name: x.copy() for name, x in published(own.teacher).items()}
    given = {name: x for name, x in {**checkpoint(), **change}.items() if x is not None}
    with pytest.raises(CheckpointError, match=said):
        load(given, own, "the file")
    assert all(np.array_equal(x, before[name]) for name, x in published(own.teacher).items())
