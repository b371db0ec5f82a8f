"""Published weights of DeiT: their names, their sizes."""

import re

import numpy as np
import pytest
from deit_by_hand import SIZES, arrays, in_hub_names

from minivit.errors import CheckpointError
from minivit.lineage.recorded import deit as recorded
from minivit.models import ViT, ViTConfig, load_pretrained
from minivit.models.archive import write_safetensors


def dialects(weights):
    """Names as Hugging Face's files have them, as its version 5 holds them, as a training run of the official code."""
    held = {r"^deit\.encoder\.layer": "deit.layers", r"attention\.output\.dense": "attention.o_proj"}
    held |= {rf"attention\.attention\.{name}": f"attention.{name[0]}_proj" for name in ("query", "key", "value")}
    held |= {r"\.intermediate\.dense": ".mlp.fc1", r"(\d)\.output\.dense": r"\1.mlp.fc2"}
    in_memory = {}
    for name, x in in_hub_names(weights).items():
        for old, new in held.items():
            name = re.sub(old, new, name)
        in_memory[name] = x
    wrapped = {f"model.{name}": x for name, x in weights.items()}
    return {"official": weights, "hub": in_hub_names(weights), "held": in_memory, "wrapped": wrapped}


@pytest.mark.parametrize("dialect", ["official", "hub", "held", "wrapped"])
def test_a_distilled_student_is_read_under_all_its_names(tmp_path, dialect):
    weights = arrays(SIZES, np.random.default_rng(0))
    path = tmp_path / "weights.safetensors"
    write_safetensors(path, dialects(weights)[dialect], {})
    model = recorded.open_student(path, heads=2, dtype="float64")
    assert (model.config.distillation_token, model.config.grid, model.config.num_classes) == (True, (3, 3), 5)
    state = model.state_dict()
    assert np.array_equal(state["distillation_head.weight"].T, weights["head_dist.weight"])
    assert np.array_equal(state["blocks.1.attention.qkv.weight"].T, weights["blocks.1.attn.qkv.weight"])
    assert np.array_equal(state["distillation_token"], weights["dist_token"])


def test_a_file_of_deit_iii_is_read(tmp_path):
    """Factors on both branches of a block, and no position of the [class] token."""
    rng = np.random.default_rng(0)
    weights = {name: x for name, x in arrays(SIZES, rng).items() if "dist" not in name}
    weights["pos_embed"] = rng.normal(size=(1, 9, 16))
    weights |= {f"blocks.{i}.gamma_{j}": rng.normal(size=16) for i in (0, 1) for j in (1, 2)}
    path = tmp_path / "deit_3.safetensors"
    write_safetensors(path, weights, {})
    with pytest.raises(CheckpointError, match="DeiT III"):
        load_pretrained(path)
    with pytest.raises(CheckpointError, match="heads"):
        recorded.open_student(path)
    model = recorded.open_student(path, "float64", heads=2)
    assert (model.config.no_embed_class, model.config.distillation_token) == (True, False)
    assert model.config.layer_scale is not None
    assert np.array_equal(model.state_dict()["blocks.1.scale2.gamma"], weights["blocks.1.gamma_2"])


NEW = {"no_embed_class": True, "layer_scale": 1e-4}


@pytest.mark.parametrize(
    ("name", "fields", "count"),
    [
        ("Ti/16", {}, 5_717_416),
        ("S/16", {}, 22_050_664),
        ("B/16", {}, 86_567_656),
        ("Ti/16", {"distillation_token": True}, 5_910_800),
        ("S/16", {"distillation_token": True}, 22_436_432),
        ("B/16", {"distillation_token": True}, 87_338_192),
        ("S/16", NEW, 22_059_496),
        ("B/16", NEW, 86_585_320),
        ("L/16", NEW, 304_374_760),
        ("H/14", NEW, 632_126_440),
    ],
)
def test_the_published_models_have_as_many_parameters(name, fields, count):
    assert ViT(ViTConfig.variant(name, image_size=224, num_classes=1000, **fields), None).num_parameters() == count
