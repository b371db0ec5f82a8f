"""DINO: held to recorded outputs of published code, and to a slow second implementation."""

import math
from pathlib import Path

import numpy as np
import pytest
from dino_by_hand import SIZES, ByHand, arrays, pair
from recordings import write_case, wrong_arrays

from minivit import functional as F
from minivit.lineage import dino, self_distillation, verify
from minivit.lineage.dino import DINO, DINOConfig, Head, Network
from minivit.lineage.recorded import dino as recorded
from minivit.models import ViT, ViTConfig
from minivit.tensor import Tensor

CASE = Path(__file__).resolve().parents[1] / "data" / "lineage" / "dino"
OTHERS = {
    "one channel, more small crops": {"channels": 1, "local_crops": 4, "depth": 1, "heads": 3, "ema": 0.5},
    "not square": {"image_global": [12, 6], "image_local": [6, 4], "patch": [3, 2], "norm_eps": 1e-3},
    "no small crops": {"local_crops": 0, "head": {"layers": 2, "hidden": 6, "bottleneck": 4, "out": 11}},
    "a head of one layer": {"local_crops": 1, "head": {"layers": 1, "hidden": 6, "bottleneck": 4, "out": 5}},
    "lengths of one, large crops": {
        "image_local": [16, 8], "teacher_temp": 0.07, "student_temp": 0.2, "center_momentum": 0.5,
        "head": {"layers": 3, "hidden": 6, "bottleneck": 4, "out": 6, "norm_last_layer": True},
    },
    "three global crops": {"global_crops": 3, "local_crops": 1},
}  # fmt: skip


def test_the_recording_of_the_published_code():
    case = verify.open_case(CASE)
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) == 36


def all_pairs(self, outputs, batch):
    """The same crop's own answer too."""
    said, taught = outputs
    log_p = F.log_softmax(said / self.config.student_temperature).mean(axis=1, keepdims=True)
    return -(F.exp(self.log_targets(taught, batch)).detach() * log_p).sum() / (said.shape[0] * taught.shape[1])


def learning_targets(self, taught, batch):
    """A gradient that reaches the images through the teacher."""
    return F.log_softmax((taught - self.centre) / Tensor(batch["teacher_temperature"]))


def forward_with_gradients(self, batch, rng=None):
    crops = [batch[name] for name in ("global_crops", "local_crops")]
    said = [self.student.head(self.student.features(x)) for x in crops]
    return F.concat(*said, axis=1), self.teacher.head(self.teacher.features(crops[0]))


def loss_with_gradients(self, outputs, batch):
    said, taught = outputs
    log_p = F.log_softmax(said / self.config.student_temperature)
    others = log_p.sum(axis=1, keepdims=True) - log_p[:, :2]
    q = F.exp(learning_targets(self, taught, batch))
    return -(q * others).sum() / (said.shape[0] * 2 * (said.shape[1] - 1))


def centre_first(self, taught, batch):
    centre = 0.9 * self.centre.data + 0.1 * taught.data.mean(axis=(0, 1))
    return F.log_softmax((taught - centre).detach() / Tensor(batch["teacher_temperature"]))


def encoder_only(self, means, batch):
    head = {name: tensor.data.copy() for name, tensor in self.teacher.head.named_tensors()}
    real_update(self, means, batch)
    self.teacher.head.load_state_dict(head)


def centre_of_the_first_view(self, means, batch):
    taught = self.teacher.head(self.teacher.features(batch["global_crops"]))
    real_update(self, {"output": taught.data[:, 0].mean(axis=0)}, batch)


def size_based(encoder, grid):
    table, old = encoder.position_embedding, encoder.config.grid
    if grid == old:
        return table
    patches = F.resize(table[:, 1:].reshape(1, *old, -1), grid, "bicubic")
    return F.concat(table[:, :1], patches.reshape(1, grid[0] * grid[1], -1), axis=1)


real_update = DINO.after_update
WRONG = [
    (DINO, {"loss": all_pairs}, "loss"),
    (DINO, {"forward": forward_with_gradients, "loss": loss_with_gradients}, "grad_input/crop0"),
    (DINO, {"log_targets": centre_first}, "loss"),
    (DINO, {"after_update": encoder_only}, "ema/head.last_layer.weight_g"),
    (DINO, {"after_update": centre_of_the_first_view}, "new_center"),
    (dino, {"positions": size_based}, "student_out"),
    (self_distillation, {"unit": lambda x, axis=-1, least=0.0: x}, "student_out"),
]


@pytest.mark.parametrize(("place", "mistakes", "seen"), WRONG)
def test_mistakes_are_seen(monkeypatch, place, mistakes, seen):
    for name, mistake in mistakes.items():
        monkeypatch.setattr(place, name, mistake)
    assert seen in wrong_arrays(verify.open_case(CASE))


@pytest.mark.parametrize("changes", OTHERS.values(), ids=OTHERS)
def test_other_configurations_agree_with_the_slow_implementation(tmp_path, changes):
    config, rng = {**SIZES, **changes}, np.random.default_rng(1)
    weights = arrays(config, rng)
    sizes = [config["image_global"]] * config["global_crops"] + [config["image_local"]] * config["local_crops"]
    crops = [rng.normal(size=(2, config["channels"], *pair(size))) for size in sizes]
    center = rng.normal(size=(1, config["head"]["out"]))
    given = {**{f"crop{i}": crop for i, crop in enumerate(crops)}, "center": center}
    found = ByHand(config, weights, crops, center).found
    eased = {
        name.replace("teacher.", "ema/"): config["ema"] * x
        + (1 - config["ema"]) * weights[name.replace("teacher", "student")]
        for name, x in weights.items()
        if name.startswith("teacher.")
    }
    case = write_case(tmp_path, "dino", config, weights, {**given, **found, **eased})
    assert wrong_arrays(case) == []
    slopes_agree(config, weights, crops, center, recorded.recompute(case), rng)


def slopes_agree(config, weights, crops, center, found, rng):
    """Gradients against the change of the slow loss along a random direction, of some arrays and of two crops."""
    step = 1e-6
    some = ["backbone.pos_embed", "backbone.cls_token", "head.last_layer.weight_v", "backbone.blocks.0.attn.qkv.weight"]
    for name in some:
        way = rng.normal(size=weights[f"student.{name}"].shape)
        sides = [
            ByHand(
                config, {**weights, f"student.{name}": weights[f"student.{name}"] + side * way}, crops, center
            ).found["loss"]
            for side in (step, -step)
        ]
        assert math.isclose((sides[0] - sides[1]) / (2 * step), (found[f"grad/{name}"] * way).sum(), rel_tol=1e-5)
    frozen = config["head"].get("norm_last_layer", False)
    assert ("grad/head.last_layer.weight_g" not in found) == frozen


@pytest.mark.parametrize(
    ("name", "backbone", "head"),
    [
        ("S/16", 21_665_664, 22_352_128),
        ("S/8", 21_670_272, 22_352_128),
        ("B/16", 85_798_656, 23_138_560),
        ("B/8", 85_807_872, 23_138_560),
    ],
)
def test_counts_of_the_published_models(name, backbone, head):
    shape = ViTConfig.variant(name, num_classes=0)
    network = Network(ViT(shape, None), Head(DINOConfig(), shape.width, None))
    assert network.encoder.num_parameters() == backbone
    assert sum(tensor.size for _, tensor in network.head.named_tensors()) == head
    assert network.head.num_parameters() == head - 65_536  # lengths that stay 1
