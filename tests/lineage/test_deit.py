"""DeiT: recorded outputs of published code, a second implementation, the teacher, and what is learned."""

import json
from pathlib import Path

import numpy as np
import pytest
from lineage.deit_by_hand import SIZES, VARIANTS, ByHand, arrays, in_hub_names

from minivit import functional as F
from minivit.errors import ConfigError
from minivit.lineage import deit, verify
from minivit.lineage.deit import DeiT, DeiTConfig
from minivit.lineage.recorded import deit as recorded
from minivit.models import ViT, ViTConfig
from minivit.models.archive import write_npz, write_safetensors
from minivit.nn import Linear, Module
from minivit.optim import AdamW
from minivit.tensor import Tensor, grad
from minivit.update.objective import Classification

CASE = Path(__file__).resolve().parents[1] / "data" / "lineage" / "deit"
OTHERS = {
    "one channel, another temperature": {"num_channels": 1, "num_labels": 3, "tau": 1.5, "alpha_soft": 0.4},
    "not square": {"image_size": [12, 6], "patch_size": [3, 2], "num_channels": 2, "num_attention_heads": 4},
    "deeper, no biases, another epsilon": {"num_hidden_layers": 3, "qkv_bias": False, "layer_norm_eps": 1e-3},
}
MIXING = {"mixup": 0.0, "cutmix": 0.0}


def shape(**fields):
    small = {"image_size": 8, "patch_size": 4, "width": 8, "depth": 2, "heads": 2, "mlp_width": 16, "num_classes": 3}
    return ViTConfig(**{**small, "channels": 1, "distillation_token": True, **fields})


class Brightest(Module):
    """A teacher with a mind of its own: logits by the brightness of the columns, and some noise while it learns."""

    def __init__(self):
        self.linear = Linear(8, 3, np.random.default_rng(3), "float64")
        self.linear.weight.data *= 5
        self.calls = []

    def forward(self, images):
        self.calls.append(np.array(images))
        z = self.linear(Tensor(np.asarray(images).mean(axis=(1, 3))))
        return z + np.random.default_rng(0).normal(size=z.shape) if self.training else z


def small(teacher=None, seed=0, model=None, **fields):
    plain = fields.get("distillation") == "none"
    student = ViT(shape(**{"distillation_token": not plain, **(model or {})}), seed, "float64")
    for name in ("head", "distillation_head")[: 2 - plain]:
        kernel = getattr(student, name).weight.data
        kernel[...] = np.random.default_rng(len(name)).normal(size=kernel.shape)
    teacher = None if plain else teacher or Brightest()
    return DeiT(DeiTConfig(**{**MIXING, **fields}), student, teacher)


def batch_of(count=6, seed=0):
    rng = np.random.default_rng(seed)
    return {"images": rng.normal(size=(count, 8, 8, 1)), "labels": rng.integers(0, 3, count)}


def write_case(folder, config, weights, found):
    """A recording in the form of the published ones."""
    write_safetensors(folder / "deit_own.safetensors", weights, {})
    write_npz(folder / "deit_own.io.npz", found)
    meta = {"config": config, "image_layout": "NCHW"}
    (folder / "deit_own.json").write_text(json.dumps(meta), encoding="utf-8")
    return verify.open_case(folder)


def wrong_arrays(case):
    return [result.name for result in verify.compare(case) if not result.fine]


def test_the_recording_of_the_published_code():
    case = verify.open_case(CASE)
    assert wrong_arrays(case) == []
    assert len(case.arrays) - len(case.given) == 53


real_heads = DeiT.heads


def heads_swapped(self, images, rng=None, tap=None):
    return real_heads(self, images, rng, tap)[::-1]


def one_token_for_both(self, images, rng=None, tap=None):
    x = self.model.encode(self.model.embed(images), rng, tap)
    return self.model.head(x[:, 0]), self.model.distillation_head(x[:, 0])


def other_direction(logits, says, tau):
    log_p, log_q = F.log_softmax(says * (1 / tau)), F.log_softmax(logits * (1 / tau))
    return (F.exp(log_q) * (log_q - log_p)).sum(axis=-1).mean() * (tau * tau)


def without_tau_squared(logits, says, tau):
    log_p, log_q = F.log_softmax(says * (1 / tau)), F.log_softmax(logits * (1 / tau))
    return (F.exp(log_p) * (log_p - log_q)).sum(axis=-1).mean()


def only_the_student_cooled(logits, says, tau):
    log_p, log_q = F.log_softmax(says), F.log_softmax(logits * (1 / tau))
    return (F.exp(log_p) * (log_p - log_q)).sum(axis=-1).mean() * (tau * tau)


def without_the_teachers_entropy(logits, says, tau):
    p, log_q = F.softmax(says * (1 / tau)), F.log_softmax(logits * (1 / tau))
    return -(p * log_q).sum(axis=-1).mean() * (tau * tau)


def sum_of_heads(outputs):
    return outputs[0] + outputs[1]


def one_head(outputs):
    return outputs[0]


def sum_of_softmaxes(outputs):
    return F.softmax(outputs[0]) + F.softmax(outputs[1])


def shares_exchanged(self, outputs, batch):
    a = self.config.alpha
    return self.of_labels(outputs[0], batch["labels"]) * a + self.of_teacher(*outputs[1:]) * (1 - a)


def labels_of_both(self, outputs, batch):
    logits, a = deit.answer(outputs), self.config.alpha
    return self.of_labels(logits, batch["labels"]) * (1 - a) + self.of_teacher(*outputs[1:]) * a


def summed_over_classes(logits, labels):
    return F.sigmoid_cross_entropy(logits, labels)


WRONG = [
    (DeiT, "heads", heads_swapped, "cls_logits"),
    (DeiT, "heads", one_token_for_both, "distillation_logits"),
    (recorded, "divergence", other_direction, "kd_soft_paper"),
    (deit, "divergence", other_direction, "soft_code/loss"),
    (deit, "divergence", without_tau_squared, "soft_paper/loss"),
    (deit, "divergence", only_the_student_cooled, "soft_paper/loss"),
    (deit, "divergence", without_the_teachers_entropy, "soft_paper/loss"),
    (recorded, "answer", sum_of_heads, "logits"),
    (recorded, "answer", one_head, "logits"),
    (recorded, "answer", sum_of_softmaxes, "logits"),
    (DeiT, "loss", shares_exchanged, "soft_code/loss"),
    (DeiT, "loss", labels_of_both, "hard/grad/distillation_classifier.weight"),
    (recorded, "binary_cross_entropy", summed_over_classes, "bce_soft_targets"),
]


@pytest.mark.parametrize(("place", "name", "mistake", "seen"), WRONG, ids=lambda x: getattr(x, "__name__", str(x)))
def test_mistakes_are_seen(monkeypatch, place, name, mistake, seen):
    monkeypatch.setattr(place, name, mistake)
    assert seen in wrong_arrays(verify.open_case(CASE))


def given_to(config, rng, count=3):
    """Inputs of a recording."""
    logits = rng.normal(size=(count, config["num_labels"]))
    return {
        "image": rng.normal(size=(count, config["num_channels"], *config["image_size"])),
        "teacher_logits": 2 * logits,
        "labels": rng.integers(0, config["num_labels"], count),
        "soft_targets": rng.dirichlet(np.ones(config["num_labels"]), count),
    }


@pytest.mark.parametrize("changes", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("names", ["official", "hub"])
def test_other_configurations_agree_with_the_slow_implementation(tmp_path, changes, names):
    config, rng = {**SIZES, **changes}, np.random.default_rng(1)
    weights, given = arrays(config, rng), given_to(config, rng)
    slow = ByHand(config, weights, **given)
    parts = ("cls_logits", "distillation_logits", "logits", "ce", "kd_hard", "kd_soft_code", "kd_soft_paper")
    parts += ("ce_soft_targets", "bce_soft_targets")
    found = {name: np.asarray(getattr(slow, name)) for name in parts}
    found |= {f"{variant}/loss": np.asarray(slow.loss(variant)) for variant in VARIANTS}
    case = write_case(tmp_path, config, in_hub_names(weights) if names == "hub" else weights, {**given, **found})
    assert wrong_arrays(case) == []


@pytest.mark.parametrize("names", ["official", "hub"])
@pytest.mark.parametrize("variant", ["hard_mixup", "soft_code"])
def test_gradients_agree_with_differences_of_the_slow_implementation(tmp_path, variant, names):
    config, rng, e = {**SIZES, **OTHERS["not square"]}, np.random.default_rng(2), 1e-5
    weights, given = arrays(config, rng), given_to(config, rng, 2)
    named = in_hub_names if names == "hub" else dict
    asked = {f"{variant}/grad/{name}": np.zeros(0) for name in named(weights)}
    case = write_case(tmp_path, config, named(weights), {**given, **asked})
    found = recorded.recompute(case)
    directions = {name: rng.normal(size=x.shape) for name, x in weights.items()}
    moved = [{n: x + s * directions[n] for n, x in weights.items()} for s in (e, -e)]
    difference = np.subtract(*(ByHand(config, w, **given).loss(variant) for w in moved)) / (2 * e)
    along = sum((found[f"{variant}/grad/{name}"] * x).sum() for name, x in named(directions).items())
    assert along == pytest.approx(difference, rel=1e-6)
    norm = np.sqrt(sum(np.square(found[name]).sum() for name in asked))
    assert found[f"{variant}/grad_norm"] == pytest.approx(norm, rel=1e-12)
    way = rng.normal(size=given["image"].shape)
    images = [{**given, "image": given["image"] + s * way} for s in (e, -e)]
    difference = np.subtract(*(ByHand(config, weights, **of).loss(variant) for of in images)) / (2 * e)
    assert (found[f"{variant}/grad_input/image"] * way).sum() == pytest.approx(difference, rel=1e-6)


def test_gradients_are_found_under_the_names_of_every_dialect(tmp_path):
    weights, given = arrays(SIZES, np.random.default_rng(0)), given_to(SIZES, np.random.default_rng(1))
    asked = {
        "blocks.1.attn.qkv.weight": (48, 16),
        "deit.encoder.layer.1.attention.attention.query.weight": (16, 16),
        "deit.layers.1.attention.q_proj.weight": (16, 16),
        "deit.layers.0.mlp.fc1.bias": (20,),
        "dist_token": (1, 1, 16),
        "cls_classifier.bias": (5,),
        "classifier.bias": (5,),
    }
    case = write_case(tmp_path, SIZES, weights, {**given, **{f"hard/grad/{name}": np.zeros(0) for name in asked}})
    found = recorded.recompute(case)
    assert {name: found[f"hard/grad/{name}"].shape for name in asked} == asked
    packed = found["hard/grad/blocks.1.attn.qkv.weight"]
    assert np.array_equal(packed[:16], found["hard/grad/deit.layers.1.attention.q_proj.weight"])


@pytest.mark.parametrize("distillation", ["hard", "soft"])
def test_the_teacher_sees_the_same_images_and_is_never_changed(distillation):
    teacher = Brightest()
    objective = small(teacher, distillation=distillation).train()
    before = teacher.linear.weight.data.copy()
    optimizer, batch = AdamW(objective.named_parameters(), lr=1e-2), batch_of()
    assert not any("teacher" in name for name, _ in objective.named_parameters())
    for _ in range(3):
        outputs = objective(batch, np.random.default_rng(0))
        optimizer.step(grad(objective.loss(outputs, batch), optimizer.parameters))
    assert not outputs[2].requires_grad
    assert all(np.array_equal(images, batch["images"]) for images in teacher.calls)
    assert np.array_equal(teacher.linear.weight.data, before)
    assert not teacher.training
    assert np.array_equal(objective(batch)[2].data, teacher(batch["images"]).data)
    assert np.array_equal(objective.state_dict()["teacher.linear.weight"], before)


def test_training_images_are_mixed_before_anybody_sees_them_and_labels_with_them():
    objective = small(mixup=0.8, cutmix=1.0)
    batch = batch_of()
    made = objective.prepare(batch, lambda images, rng: images, np.random.default_rng(0))
    alone = Classification(objective.model, mixup=0.8, cutmix=1.0)
    same = alone.prepare(batch, lambda images, rng: images, np.random.default_rng(0))
    assert all(np.array_equal(made[name], same[name]) for name in ("images", "labels"))
    assert made["labels"].shape == (6, 3)
    assert not np.array_equal(made["images"], batch["images"])
    assert np.array_equal(objective(made)[2].data, objective.teacher(made["images"]).data)
    still = objective.prepare(batch, lambda images, rng: images, None)  # as in evaluation
    assert np.array_equal(still["images"], batch["images"])


def test_labels_are_smoothed_and_what_the_teacher_says_is_not():
    batch = batch_of()
    losses = {s: small(label_smoothing=s) for s in (0.0, 0.3)}
    z_c, z_d, said = (x.data for x in losses[0.0](batch))
    log_p, log_q = (z - np.log(np.exp(z).sum(axis=1, keepdims=True)) for z in (z_c, z_d))
    of_teacher = -log_q[np.arange(6), said.argmax(axis=1)].mean()
    for s, objective in losses.items():
        target = (1 - s) * np.eye(3)[batch["labels"]] + s / 3
        expected = 0.5 * -(target * log_p).sum(axis=1).mean() + 0.5 * of_teacher
        assert objective.loss(objective(batch), batch).item() == pytest.approx(expected, rel=1e-12)


def test_an_evaluation_asks_for_the_mean_of_both_heads():
    objective, batch = small().eval(), batch_of()
    outputs = objective(batch)
    z = (outputs[0].data + outputs[1].data) / 2
    assert np.allclose(z, objective.model(batch["images"]).data)
    expected = -(z - np.log(np.exp(z).sum(axis=1, keepdims=True)))[np.arange(6), batch["labels"]].mean()
    assert objective.loss(outputs, batch).item() == pytest.approx(expected, rel=1e-12)
    sums = objective.sums(outputs, batch)
    said = outputs[2].data.argmax(axis=1)
    assert sums["accuracy"] == (z.argmax(axis=1) == batch["labels"]).sum()
    assert sums["teacher_accuracy"] == (said == batch["labels"]).sum()
    assert sums["class_agrees"] == (outputs[0].data.argmax(axis=1) == said).sum()
    assert sums["distillation_agrees"] == (outputs[1].data.argmax(axis=1) == said).sum()
    assert sums["class_agrees"] != sums["distillation_agrees"]


@pytest.mark.parametrize("mixed", [True, False])
def test_deit_iii_asks_of_every_class_whether_it_is_in_the_image(mixed):
    objective = small(distillation="none", loss="sigmoid", label_smoothing=0.0, mixup=0.8)
    batch = batch_of()
    if mixed:
        batch = objective.prepare(batch, lambda images, rng: images, np.random.default_rng(0))
    (logits,) = outputs = objective(batch)
    there = batch["labels"] > 0 if mixed else np.eye(3)[batch["labels"]] > 0
    assert set(there.sum(axis=1)) == ({1, 2} if mixed else {1})
    p = 1 / (1 + np.exp(-logits.data))
    expected = -np.log(np.where(there, p, 1 - p)).mean()
    assert objective.loss(outputs, batch).item() == pytest.approx(expected, rel=1e-12)
    assert objective.sums(outputs, batch).keys() == {"accuracy"}


@pytest.mark.parametrize("distillation", ["hard", "soft"])
def test_the_distillation_head_learns_what_the_teacher_says_and_the_other_what_the_labels_say(distillation):
    """Labels tell which half of the image is brighter, the teacher something else."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(48, 8, 8, 1)) + rng.normal(size=(48, 1, 8, 1))
    labels = (images[:, :4].mean(axis=(1, 2, 3)) > images[:, 4:].mean(axis=(1, 2, 3))).astype(int)
    batch, objective = {"images": images, "labels": labels}, small(distillation=distillation, tau=1.0)
    optimizer = AdamW(objective.named_parameters(), lr=1e-2)
    first = objective.sums(objective(batch), batch)
    for _ in range(60):
        optimizer.step(grad(objective.loss(objective(batch), batch), optimizer.parameters))
    outputs = objective(batch)
    last = objective.sums(outputs, batch)
    assert last["distillation_agrees"] > 44 > first["distillation_agrees"]
    assert (outputs[0].data.argmax(axis=1) == labels).sum() > 44
    assert last["teacher_accuracy"] < 30


@pytest.mark.parametrize(
    ("objective", "model", "message"),
    [
        ({"distillation": "hard"}, {}, "--teacher"),
        ({"distillation": "none"}, {}, "distillation_token=False"),
        ({"distillation": "none"}, {"distillation_token": False, "num_classes": 0}, "head"),
    ],
)
def test_a_student_that_does_not_fit_is_refused(objective, model, message):
    with pytest.raises(ConfigError, match=message):
        DeiT(DeiTConfig(**objective), ViT(shape(**model), None))


@pytest.mark.parametrize(
    ("fields", "theirs", "message"),
    [
        ({"distillation": "none"}, {}, "a teacher is named"),
        ({}, {"num_classes": 4}, "num_classes is 4 of the teacher and 3 of the student"),
        ({}, {"image_size": 12}, "image_size"),
        ({}, {"channels": 3}, "channels"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(fields, theirs, message):
    with pytest.raises(ConfigError, match=message):
        DeiT(DeiTConfig(**fields), ViT(shape(), None), ViT(shape(distillation_token=False, **theirs), None))


def test_a_student_without_a_token_for_the_teacher_is_refused():
    with pytest.raises(ConfigError, match="distillation_token=True"):
        DeiT(DeiTConfig(), ViT(shape(distillation_token=False), None), ViT(shape(), None))


@pytest.mark.parametrize(
    "wrong",
    [
        {"distillation": "gentle"}, {"loss": "hinge"}, {"alpha": 1.5}, {"tau": 0.0}, {"tau": float("inf")},
        {"label_smoothing": -0.1}, {"loss": "sigmoid"},
    ],
)  # fmt: skip
def test_wrong_fields_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        DeiTConfig(**wrong)
