"""Frozen parts: what learns, what the tape records, what is dropped out."""

import dataclasses

import numpy as np
import pytest

from minivit.backend.workers import Workers
from minivit.models import ViT, ViTConfig, freeze
from minivit.optim import SGD
from minivit.tensor import Tensor, watch
from minivit.update.supervised import step

CONFIG = ViTConfig(image_size=8, patch_size=4, width=8, depth=3, heads=2, mlp_width=12, num_classes=5, channels=1)
NOISY = dataclasses.replace(CONFIG, dropout=0.4, attention_dropout=0.4, drop_path=0.4)
EMBEDDINGS = {"class_token", "position_embedding", "patch_embed"}


def learning(model):
    """The parts that have parameters which learn."""
    parts = (name.split(".") for name, _ in model.named_parameters())
    return {".".join(part[:2]) if part[0] == "blocks" else part[0] for part in parts}


def recorded(model, rng=None):
    """The ops on the tape of one forward pass, and all ops that ran."""
    ran = []

    def look(op, inputs, output):
        ran.append(op)

    with watch(look):
        node = model(np.ones((2, 8, 8, 1), np.float32), rng=rng).node
    found, waiting = {}, [node]
    while waiting:
        node = waiting.pop()
        if node is not None and not isinstance(node, Tensor) and id(node) not in found:
            found[id(node)] = node
            waiting += node.inputs
    return [node.op for node in found.values()], ran


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (None, {*EMBEDDINGS, "blocks.0", "blocks.1", "blocks.2", "norm", "head"}),
        (1, {"blocks.1", "blocks.2", "norm", "head"}),
        (3, {"norm", "head"}),
        ("backbone", {"head"}),
    ],
)
def test_what_learns(how, expected):
    model = ViT(CONFIG)
    names = list(model.state_dict())
    freeze(model, how)
    assert learning(model) == expected
    assert list(model.state_dict()) == names  # a checkpoint holds what is frozen too


def test_a_layer_before_the_head_learns_with_it():
    model = ViT(dataclasses.replace(CONFIG, representation_size=6))
    freeze(model, "backbone")
    assert learning(model) == {"pre_logits", "head"}


@pytest.mark.parametrize("config", [CONFIG, dataclasses.replace(CONFIG, classifier="gap", position="learned2d")])
def test_nothing_below_what_learns_is_recorded(config):
    model = ViT(config).train()
    freeze(model, "backbone")
    tape, ran = recorded(model)
    assert tape == ["linear"]
    assert len(ran) > 10
    model = ViT(config).train()
    freeze(model, 2)
    whole, some = recorded(ViT(config).train())[0].count("attention"), recorded(model)[0].count("attention")
    assert (whole, some) == (3, 1)


def test_a_model_that_is_computed_again_records_nothing_either():
    model = ViT(CONFIG).train()
    model.recompute_blocks = True
    freeze(model, 2)
    assert recorded(model)[0].count("recomputed") == 1
    freeze(model, "backbone")
    assert recorded(model)[0] == ["linear"]


def test_frozen_parts_drop_nothing_out():
    model = ViT(NOISY).train()
    model.head.weight.data[...] = np.random.default_rng(0).standard_normal(model.head.weight.shape)
    freeze(model, "backbone")
    image = np.ones((2, 8, 8, 1), np.float32)
    for mode in (True, False, True):
        first, second = (model.train(mode)(image, rng=np.random.default_rng(seed)).data for seed in (1, 2))
        assert np.array_equal(first, second)
    assert model.training  # the model is; what is frozen in it is not
    model = ViT(NOISY)
    freeze(model, 1)
    model.train()
    assert not model.dropout.training
    assert not model.blocks[0].attention.training
    assert model.blocks[1].attention.training


def test_a_step_changes_what_learns_and_nothing_else():
    model = ViT(NOISY).train()
    rng = np.random.default_rng(3)
    model.head.weight.data[...] = rng.standard_normal(model.head.weight.shape)  # a zero head lets no gradient through
    freeze(model, 2)
    before = {name: array.copy() for name, array in model.state_dict().items()}
    with Workers(2) as workers:
        images = rng.standard_normal((8, 8, 8, 1)).astype("float32")
        step(model, SGD(model.named_parameters(), 0.1), images, rng.integers(0, 5, 8), workers=workers)
    changed = {name for name, array in model.state_dict().items() if not np.array_equal(array, before[name])}
    names = {name for name, _ in model.named_parameters()}
    assert changed <= names
    assert {name for name in names if name.endswith("weight")} <= changed
