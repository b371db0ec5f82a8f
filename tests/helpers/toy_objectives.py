"""Three small objectives, one for each thing that the contract allows: weights, a loss that compares, a state."""

import copy
import math

import numpy as np

from minivit import functional as F
from minivit.backend import xp_of
from minivit.data import ArrayDataset
from minivit.models import ViT, ViTConfig
from minivit.nn import Linear, Module
from minivit.nn import initialisers as init
from minivit.tensor import Tensor, no_grad
from minivit.update.batch import size
from minivit.update.objective import Classification, Objective

CONFIG = ViTConfig(
    image_size=8, patch_size=4, width=8, depth=2, heads=2, mlp_width=12, num_classes=6, channels=1, dropout=0.2,
    attention_dropout=0.1, drop_path=0.3,
)  # fmt: skip


def images(count=14):
    rng = np.random.default_rng(0)
    return ArrayDataset(rng.integers(0, 256, (count, 8, 8, 1), np.uint8), np.arange(count) % 6, list("abcdef"), "noise")


def network(dtype, seed=1):
    """A ViT with random weights everywhere, its head included."""
    model = ViT(CONFIG, seed=seed, dtype=dtype)
    rng = np.random.default_rng(seed)
    for p in model.parameters():
        p.data += 0.2 * rng.standard_normal(p.shape).astype(dtype)
    return model


class Classifying:
    """The module of classification, as a file of the lineage is one."""

    @staticmethod
    def tiny(dtype="float32"):
        return Classification(network(dtype), label_smoothing=0.1, mixup=0.4, cutmix=0.4), images()


class Painting(Objective):
    """The mean grey of some quarters of an image, of another number in each.   batch: images, weights (B, 4)."""

    columns = ("images",)

    def __init__(self, dtype):
        self.network = network(dtype)
        self.paint = Linear(6, 4, np.random.default_rng(3), dtype)

    @staticmethod
    def tiny(dtype="float32"):
        return Painting(dtype), images()

    def draw(self, batch, step, rng):
        asked = rng.random((size(batch), 4)) < 0.5
        return {"weights": (asked * (len(asked) / max(1, asked.sum()))).astype(np.float32)}

    def forward(self, batch, rng=None):
        return (self.paint(self.network(batch["images"], rng=rng)),)

    def loss(self, outputs, batch):
        (painted,) = outputs
        grey = batch["images"].reshape(-1, 2, 4, 2, 4).mean(axis=(2, 4)).reshape(-1, 4).astype(painted.dtype)
        error = painted - Tensor(grey)
        return (error * error * Tensor(batch["weights"].astype(painted.dtype))).sum() * (1 / len(grey))

    def sums(self, outputs, batch):
        return {"painted": outputs[0].data.mean(axis=1).sum(), "greys": outputs[0].data.sum(axis=0)}

    @property
    def encoder(self):
        return self.network


class Finding(Objective):
    """Each image finds its noisy copy among those of the batch, with a learned temperature.   batch: images, noise."""

    compares = True

    def __init__(self, dtype):
        self.network, self.other = network(dtype), network(dtype, 2)
        self.log_scale = init.parameter(init.constant(1.5, (1,)), dtype)

    @staticmethod
    def tiny(dtype="float32"):
        return Finding(dtype), images()

    def draw(self, batch, step, rng):
        return {"noise": rng.standard_normal((size(batch), 8, 8, 1)).astype(np.float32)}

    def forward(self, batch, rng=None):
        return self.network(batch["images"], rng=rng), self.other(batch["images"] + 0.1 * batch["noise"], rng=rng)

    def similarity(self, outputs):
        one, two = (x / F.sqrt((x * x).sum(axis=-1, keepdims=True)) for x in outputs)
        return F.exp(self.log_scale) * (one @ two.T)

    def loss(self, outputs, batch):
        similar = self.similarity(outputs)
        return F.cross_entropy(similar, xp_of(similar.data).arange(len(similar)))

    def sums(self, outputs, batch):
        similar = self.similarity(outputs).data
        return {"accuracy": (similar.argmax(axis=1) == xp_of(similar).arange(len(similar))).sum()}

    def after_update(self, means, batch):
        scale = self.log_scale.data
        xp_of(scale).minimum(scale, math.log(100), out=scale)

    @property
    def encoder(self):
        return self.network


class Following(Objective):
    """A student follows its teacher, which follows the student: a centre, and two numbers of the step.

    batch: images, noise (2, of each image), momentum, temperature.
    """

    clips_each = True

    def __init__(self, dtype, total_steps=6):
        self.student = network(dtype)
        self.teacher = copy.deepcopy(self.student).freeze()
        self.centre = Tensor(np.zeros(6, dtype))
        self.total_steps = total_steps

    @staticmethod
    def tiny(dtype="float32"):
        return Following(dtype), images()

    def draw(self, batch, step, rng):
        done = step / self.total_steps
        noise = rng.standard_normal((size(batch), 2, 8, 8, 1)).astype(np.float32)
        numbers = {"momentum": 0.9 + 0.1 * done, "temperature": 0.04 + 0.03 * done}
        return {"noise": noise, **{name: np.asarray(x, np.float32) for name, x in numbers.items()}}

    def forward(self, batch, rng=None):
        views = [batch["images"] + 0.2 * batch["noise"][:, i] for i in range(2)]
        with no_grad():
            taught = [self.teacher(view) for view in views]
        return *(self.student(view, rng=rng) for view in views), *taught

    def loss(self, outputs, batch):
        one, two, *taught = outputs
        temperature = batch["temperature"].astype(one.dtype)
        targets = [F.softmax((x - self.centre) / Tensor(temperature)) for x in taught]
        first, second = (
            F.cross_entropy(said / 0.1, target.data) for said, target in zip((two, one), targets, strict=True)
        )
        return (first + second) * 0.5

    def sums(self, outputs, batch):
        return {"taught": (outputs[2].data + outputs[3].data).sum(axis=0) / 2}

    def after_update(self, means, batch):
        self.centre.data[...] = 0.9 * self.centre.data + 0.1 * means["taught"]
        learned = zip(self.teacher.named_tensors(), self.student.named_tensors(), strict=True)
        for (_, old), (_, new) in learned:
            old.data[...] = batch["momentum"] * old.data + (1 - batch["momentum"]) * new.data

    @property
    def encoder(self):
        return self.teacher


TOYS: dict[str, type | Module] = {
    "classification": Classifying, "weights": Painting, "compares": Finding, "state": Following,
}  # fmt: skip
