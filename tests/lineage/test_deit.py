"""DeiT: the teacher, both heads, what is asked of them and what they learn."""

import numpy as np
import pytest
import standin_cupy

from minivit.backend import get_namespace
from minivit.errors import ConfigError
from minivit.lineage.deit import DeiT, DeiTConfig
from minivit.models import ResNet, ResNetConfig, ViT, ViTConfig
from minivit.nn import Linear, Module
from minivit.optim import SGD, AdamW
from minivit.tensor import Tensor, grad
from minivit.update.device import DeviceStep
from minivit.update.objective import Classification
from minivit.update.step import step

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
    resnet = ResNet(ResNetConfig(units=(1,), image_size=8, width=8, groups=4, channels=1, num_classes=3), None)
    for student in (ViT(shape(distillation_token=False), None), resnet):
        with pytest.raises(ConfigError, match="distillation_token=True"):
            DeiT(DeiTConfig(), student, ViT(shape(), None))


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


def with_teacher(kind, distillation):
    """A student and a teacher of some kind, with something to say."""
    network = ViT(shape(distillation_token=False), 1)
    if kind == "resnet":
        network = ResNet(ResNetConfig((1,), 8, width=8, groups=4, channels=1, num_classes=3, root="3x3"), 1)
    objective = DeiT(DeiTConfig(distillation=distillation), ViT(shape(drop_path=0.1), 0), network)
    for i, head in enumerate((network.head, objective.model.head, objective.model.distillation_head)):
        head.weight.data[...] = np.random.default_rng(i).normal(size=head.weight.shape)
    return objective.train()


@pytest.mark.parametrize("distillation", ["hard", "soft"])
@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_a_recorded_step_does_what_step_does(kind, distillation):
    """As for all objectives, with the answers and the networks that their test has not."""
    host, images = with_teacher(kind, distillation), lambda x, rng: x.astype("float32")
    batches = [host.prepare(batch_of(6, i), images, np.random.default_rng(i)) for i in range(4)]
    optimizer = SGD(host.named_parameters(), 0.1)
    expected = [step(host, optimizer, batch, 1.0, seed=(0, i)).loss for i, batch in enumerate(batches)]
    with standin_cupy.installed() as cupy:
        get_namespace("cupy")
        there = with_teacher(kind, distillation).to("cupy")
        work = DeviceStep(there, SGD(there.named_parameters(), 0.1), 1.0)
        found = []
        with work.active():
            for i, batch in enumerate(batches):
                work.update({name: cupy.asarray(x) for name, x in batch.items()}, seed=(0, i))
                found.append(work.read()[0].loss)
        assert work.recorded
    assert found == pytest.approx(expected, rel=1e-4)
