"""DeiT: a ViT that learns from labels and from a teacher (Touvron et al. 2020, "Training data-efficient image
transformers & distillation through attention", arXiv 2012.12877).

New against ViT: a second learned token, [distillation], goes through the blocks beside [class] and has a head of its
own. Its logits z_d learn the answer of a trained network, the teacher, to the same image. Those of the [class] token,
z_c, learn the label y. With z_t the teacher's logits, s the softmax, a the teacher's weight, T the temperature,

    hard:  L = (1 - a) CE(s(z_c), y) + a CE(s(z_d), argmax z_t)
    soft:  L = (1 - a) CE(s(z_c), y) + a T^2 KL(s(z_t / T) || s(z_d / T)).

Images are mixed (mixup, CutMix) and changed at random before the teacher sees them. The labels y are mixed with them
and smoothed. The teacher's answer is neither.

Source: facebookresearch/deit, losses.py and models.py. Where paper and code differ: the code also divides KL by the
number of classes, here with `by_class`; it classifies by the mean of both heads' logits, as here, and the paper by the
sum of their softmaxes. Against the code: heads begin at zero, image i is mixed with image i - 1 (`minivit.data.mixing`)
and not with the one at the other end of the batch, and no image is repeated within a batch.

Without a teacher, by the loss "sigmoid", this is how DeiT III trains (Touvron et al. 2022, arXiv 2204.07118): a binary
cross-entropy for every class of every image, the mean over all B K of them. A class that was mixed in counts as 1.

B batch, N patches, D width, K classes.
"""

import dataclasses
import math
from typing import Any, ClassVar, Self

import numpy as np

from minivit import functional as F
from minivit.backend import Array
from minivit.data import ArrayDataset, Dataset
from minivit.data.mixing import one_hot
from minivit.errors import ConfigError
from minivit.files.checks import one_of
from minivit.models import ViT, ViTConfig
from minivit.nn import Module
from minivit.nn.layers import Rng, Tap
from minivit.tensor import Tensor, no_grad
from minivit.update.batch import Batch
from minivit.update.objective import Classification, Outputs

PARITY = "both heads and gradients of the published code, hard, soft and sigmoid losses"
PRESETS: dict[str, dict[str, Any]] = {
    "cifar10-deit": {  # with --teacher RUN, such as one of cifar10-resnet, which prepares images alike
        "data": "cifar10",
        "objective": {"name": "deit", "mixup": 0.0, "cutmix": 0.0},  # which need longer runs
        "model": {"patch_size": 4, "width": 96, "depth": 4, "heads": 3, "mlp_width": 192},
        "batch_size": 128,
        "epochs": 3,
        "lr": 1e-3,
        "beta2": 0.99,
        "flip": True,
        "eval_every": 585,
        "mean": (0.49, 0.48, 0.45),
        "std": 0.25,
    },
}


@dataclasses.dataclass(frozen=True)
class DeiTConfig:
    """teacher: a run, or published weights. distillation: "hard", "soft", or "none" for DeiT III.

    alpha: a, the teacher's weight; tau: T, of soft distillation, for which the paper has alpha 0.1; by_class: see
    above. loss: of the labels, "softmax" or "sigmoid". label_smoothing, mixup, cutmix: as for classification. The
    defaults are the paper's.
    """

    teacher: str | None = None
    distillation: str = "hard"
    alpha: float = 0.5
    tau: float = 3.0
    by_class: bool = False
    loss: str = "softmax"
    label_smoothing: float = 0.1
    mixup: float = 0.8
    cutmix: float = 1.0

    def __post_init__(self) -> None:
        one_of(self, distillation=("hard", "soft", "none"), loss=("softmax", "sigmoid"))
        for name in ("alpha", "label_smoothing"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected a share, 0 to 1")
        if not 0 < self.tau < math.inf:
            raise ConfigError(f"tau is {self.tau}, expected a temperature above 0")
        if self.loss == "sigmoid" and self.label_smoothing:
            raise ConfigError("label smoothing belongs to the softmax loss: with loss=sigmoid set label_smoothing=0")


class DeiT(Classification):
    """One head learns the labels, the other the answers of the teacher.

    batch: images (B, height, width, C), labels (B,) or, mixed, (B, K). Outputs: logits (B, K) of both heads and of the
    teacher; without a teacher those of the student alone. The teacher is frozen for good, and is state of a run.
    """

    Config: ClassVar[type] = DeiTConfig

    def __init__(self, config: DeiTConfig, student: ViT, teacher: Module | None = None):
        super().__init__(student, config.loss, config.label_smoothing, config.mixup, config.cutmix)
        self.config, shape, taught = config, student.config, config.distillation != "none"
        if taught and teacher is None:
            raise ConfigError("DeiT learns from a teacher: name one with --teacher RUN, or set distillation=none")
        if not taught and teacher is not None:
            raise ConfigError("a teacher is named, but distillation is none: set it to hard or soft")
        if not shape.num_classes or getattr(shape, "distillation_token", False) != taught:
            wanted = f"a head and distillation_token={taught}"
            raise ConfigError(f"DeiT with distillation={config.distillation} needs a ViT with {wanted}")
        for name in ("num_classes", "image_size", "channels"):
            own = getattr(shape, name)
            if (theirs := getattr(getattr(teacher, "config", None), name, own)) != own:
                raise ConfigError(f"{name} is {theirs} of the teacher and {own} of the student, expected the same")
        self.teacher = teacher and teacher.freeze()

    @staticmethod
    def needs(config: DeiTConfig) -> dict[str, Any]:
        """Required fields of ViTConfig: the second token, if there is a teacher."""
        return {"distillation_token": config.distillation != "none"}

    @classmethod
    def build(cls, config: DeiTConfig, given: Any) -> Self:
        """The objective of a run.   given: a `lineage.Given`."""
        return cls(config, given.encoder(), given.teacher)

    def forward(self, batch: Batch, rng: Rng = None) -> Outputs:
        if self.teacher is None:
            return (self.model(batch["images"], rng=rng),)
        with no_grad():
            says = self.teacher(batch["images"])
        return (*self.heads(batch["images"], rng), Tensor(self.model.like(says.data)))

    def heads(self, images: Tensor | Array, rng: Rng = None, tap: Tap = None) -> tuple[Tensor, Tensor]:
        """Logits (B, K) of the [class] and of the [distillation] token.   tap: as of `ViT.encode`."""
        model: ViT = self.model  # type: ignore[assignment]
        read = 2 if tap is None else None
        x = model.encode(model.dropout(model.embed(model.tensor(images)), rng), rng, tap, read)
        return model.head(x[:, 0]), model.distillation_head(x[:, 1])

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        """In evaluation mode the cross-entropy of what the student answers, as in the published code."""
        if not self.training:
            return F.cross_entropy(answer(outputs), batch["labels"])
        of_labels = self.of_labels(outputs[0], batch["labels"])
        if self.teacher is None:
            return of_labels
        return of_labels * (1 - self.config.alpha) + self.of_teacher(*outputs[1:]) * self.config.alpha

    def of_labels(self, logits: Tensor, labels: Array) -> Tensor:
        """The loss of the [class] token on the labels."""
        if self.config.loss == "sigmoid":
            return binary_cross_entropy(logits, one_hot(labels, logits.shape[-1]) if labels.ndim == 1 else labels > 0)
        return F.cross_entropy(logits, labels, self.config.label_smoothing)

    def of_teacher(self, logits: Tensor, says: Tensor) -> Tensor:
        """What the teacher says to the [distillation] token."""
        if self.config.distillation == "hard":
            return F.cross_entropy(logits, says.data.argmax(axis=-1))
        return divergence(logits, says, self.config.tau) * (1 / logits.shape[-1] if self.config.by_class else 1.0)

    def sums(self, outputs: Outputs, batch: Batch) -> dict[str, Array]:
        """Right answers, also of the teacher; and how often each head agrees with the teacher."""
        found = super().sums((answer(outputs),), batch)
        if self.teacher is not None:
            of_class, of_distillation, says = (output.data.argmax(axis=-1) for output in outputs)
            found["teacher_accuracy"] = super().sums(outputs[2:], batch)["accuracy"]
            found["class_agrees"] = (of_class == says).sum()
            found["distillation_agrees"] = (of_distillation == says).sum()
        return found


def answer(outputs: Outputs) -> Tensor:
    """The student's answer: the mean of its heads' logits."""
    return outputs[0] if len(outputs) == 1 else (outputs[0] + outputs[1]) * 0.5


def divergence(logits: Tensor, says: Tensor, tau: float) -> Tensor:
    """T^2 KL(s(z_t / T) || s(z_d / T)), the mean over images. T^2 keeps the gradient's size whatever T."""
    log_p, log_q = F.log_softmax(says * (1 / tau)), F.log_softmax(logits * (1 / tau))
    return (F.exp(log_p) * (log_p - log_q)).sum(axis=-1).mean() * (tau * tau)


def binary_cross_entropy(logits: Tensor, labels: Array) -> Tensor:
    """The mean of B K yes-or-no questions."""
    return F.sigmoid_cross_entropy(logits, labels) * (1 / logits.shape[-1])


def tiny(dtype: str = "float32") -> tuple[DeiT, Dataset]:
    """The objective in small and 16 images, for tests."""
    shape = ViTConfig(image_size=8, patch_size=4, width=8, depth=2, heads=2, mlp_width=16, num_classes=3)
    noisy = dataclasses.replace(shape, dropout=0.1, drop_path=0.1, distillation_token=True)
    rng, teacher, student = np.random.default_rng(0), ViT(shape, 1, dtype), ViT(noisy, 0, dtype)
    for head in (teacher.head, student.head, student.distillation_head):  # with something to say
        head.weight.data[...] = rng.normal(0, 0.3, (8, 3))
    images, labels = rng.integers(0, 256, (16, 8, 8, 3), np.uint8), np.arange(16) % 3
    return DeiT(DeiTConfig(distillation="soft"), student, teacher), ArrayDataset(
        images, labels, ["a", "b", "c"], "noise"
    )
