"""DINO: self-distillation without labels (Caron et al. 2021, "Emerging Properties in Self-Supervised Vision
Transformers", arXiv 2104.14294).

New against ViT: no labels and no pixels to predict. A student sees several crops of an image, a teacher the two large
ones. The student's answer to each crop has to match the teacher's to another. With c the centre, T the temperatures,

    q_i = softmax((teacher(x_i) - c) / T_t),   p_j = softmax(student(x_j) / T_s),
    L = -mean over the pairs i != j of sum_k q_ik log p_jk,   i of the global crops, j of all.

The teacher never learns: after each update it moves towards the student, teacher <- m teacher + (1 - m) student, and
the centre towards the teacher's mean output. Centring alone would make q uniform. Sharpening (T_t < T_s) alone would
make one output win always. Together they prevent both.

Source: facebookresearch/dino: main_dino.py, vision_transformer.py, utils.py. Positions of local crops are resized
bicubically with the published scale, (cells + 0.1) / grid. The teacher is what the paper evaluates, so it is the
`encoder`. In the first epoch the last layer does not learn; that time is given as a share of the steps, as is the time
over which T_t rises. Against the published code: the encoder begins as every ViT here (there all kernels are
N(0, 0.02)), T_t rises with every step, not every epoch, and crops are resized bilinearly, not bicubically. The rest of
crops, flips and colours is as published. In evaluation every batch is cropped by the same draws.

B batch, V crops of one size, D width of the encoder, K outputs, C channels.
"""

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from minivit import functional as F
from minivit.backend import Array
from minivit.data import ArrayDataset, Augment, Dataset
from minivit.errors import ConfigError
from minivit.lineage.self_distillation import Head, check_crops, check_fields, multi_crop, numbers
from minivit.models import ViT, ViTConfig
from minivit.models.config import Size
from minivit.models.positions import resized
from minivit.nn import Module
from minivit.nn.layers import Rng
from minivit.optim.rates import is_matrix
from minivit.tensor import Tensor, no_grad
from minivit.update.batch import Batch
from minivit.update.objective import Objective, Outputs

PARITY = "features, logits, centre, loss, gradients and teacher of a reference written from the published code"
PRESETS: dict[str, dict[str, Any]] = {
    "cifar10-dino": {
        "data": "cifar10",
        "objective": {
            "name": "dino", "outputs": 1024, "hidden": 256, "bottleneck": 64, "local_crops": 4, "local_size": 16,
            "global_scale": (0.5, 1.0), "local_scale": (0.2, 0.5), "momentum": 0.99, "freeze_last": 0.05,
        },
        "model": {"patch_size": 4, "width": 64, "depth": 4, "heads": 4, "mlp_width": 128, "gelu": "erf"},
        "batch_size": 128, "epochs": 1, "lr": 1e-3, "warmup": 0.1, "weight_decay": 0.04, "final_weight_decay": 0.4,
        "clip_norm": 3.0, "flip": True, "eval_every": 390, "mean": (0.49, 0.48, 0.45), "std": 0.25,
    },
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class DINOConfig:
    """The defaults are the paper's for ViT-S/16 in 100 epochs.

    outputs K; layers, hidden, bottleneck: of the head's MLP, the last its output. norm_last_layer: whether the last
    layer's weights keep the length 1. local_crops: beside the two global ones. ..._scale: share of the image's area.
    colours: whether crops change their colours. teacher_temperature: rises from first_temperature over the share
    temperature_warmup of the steps. momentum: of the teacher, rises to last_momentum. freeze_last: share of the steps
    in which the last layer does not learn.
    """

    outputs: int = 65_536
    layers: int = 3
    hidden: int = 2048
    bottleneck: int = 256
    norm_last_layer: bool = True
    local_crops: int = 8
    local_size: Size = Size(96)
    global_scale: tuple[float, float] = (0.4, 1.0)
    local_scale: tuple[float, float] = (0.05, 0.4)
    colours: bool = True
    student_temperature: float = 0.1
    teacher_temperature: float = 0.04
    first_temperature: float = 0.04
    temperature_warmup: float = 0.0
    momentum: float = 0.996
    last_momentum: float = 1.0
    centre_momentum: float = 0.9
    freeze_last: float = 0.01

    def __post_init__(self) -> None:
        check_fields(self)


def positions(encoder: ViT, grid: tuple[int, int]) -> Tensor:
    """The position table of the encoder for a grid of patches (rows, columns): (1, 1 + N, D)."""
    old = encoder.config.grid
    scale = (grid[0] + 0.1) / old[0], (grid[1] + 0.1) / old[1]
    return resized(encoder.position_embedding, old, grid, "bicubic", 1, scale)


class Network(Module):
    """An encoder with a head: the form of teacher and student."""

    def __init__(self, encoder: ViT, head: Head):
        self.encoder, self.head = encoder, head

    def features(self, crops: Tensor, rng: Rng = None) -> Tensor:
        """The [class] tokens of crops of any one size: (B, V, height, width, C) -> (B, V, D)."""
        batch, views, height, width, _ = crops.shape
        encoder: Any = self.encoder
        patch = encoder.config.patch_size
        x = encoder.patch_embed(crops.reshape(batch * views, *crops.shape[2:]))
        first = F.broadcast_to(encoder.class_token, (batch * views, 1, x.shape[-1]))
        x = F.concat(first, x, axis=1) + positions(encoder, (height // patch[0], width // patch[1]))
        return encoder.encode(encoder.dropout(x, rng), rng, read=1).reshape(batch, views, -1)


class DINO(Objective):
    """The student's answer to each crop has to match the teacher's answer to another.

    batch: global_crops (B, 2, height, width, C), local_crops (B, V, h, w, C) if there are any; numbers of the step:
    teacher_momentum, teacher_temperature.
    """

    Config: ClassVar[type] = DINOConfig
    columns = ("images",)
    clips_each = True
    unheeded = ("crop_padding", "resized_crop", "randaugment", "erasing")  # it makes its crops itself

    def __init__(
        self, config: DINOConfig, encoder: ViT, total_steps: int, seed: int | None = 0, dtype: str = "float32"
    ):
        if not isinstance(encoder, ViT):
            raise ConfigError(f"DINO needs a ViT, but the model is a {type(encoder).__name__}")
        shape = encoder.config
        plain = isinstance(encoder, ViT) and shape.position == "learned" and not shape.no_embed_class and not shape.stem
        if not plain or list(shape.prefix_tokens) != ["class_token"] or shape.num_classes or shape.fc_norm:
            raise ConfigError("DINO needs a ViT with a [class] token and one position table, no stem and no head")
        check_crops(config, shape.patch_size)
        self.config, self.total_steps = config, total_steps
        rng = None if seed is None else np.random.default_rng((seed, 1))
        self.student = Network(encoder, Head(config, shape.width, rng, dtype, shape.gelu))
        self.teacher = copy.deepcopy(self.student).freeze()
        self.centre = Tensor(np.zeros(config.outputs, dtype))

    @classmethod
    def build(cls, config: DINOConfig, given: Any) -> Self:
        """The objective of a run.   given: a `lineage.Given`."""
        return cls(config, given.encoder(), given.total_steps, given.seed, given.dtype)

    @property
    def encoder(self) -> ViT:
        return self.teacher.encoder

    @property
    def learner(self) -> ViT:
        return self.student.encoder

    @property
    def tokens(self) -> int:
        shape, local = self.encoder.config, self.config.local_size
        patches = local[0] * local[1] // (shape.patch_size[0] * shape.patch_size[1])
        return 2 * shape.num_tokens + self.config.local_crops * (patches + 1)

    def optimizer_options(self, total_steps: int) -> dict[str, Any]:
        """All but vectors decay, and the last layer starts to learn later."""
        begin = self.config.freeze_last * total_steps
        last = [
            name for name, _ in self.named_parameters() if name in ("student.head.directions", "student.head.lengths")
        ]
        return {"decay": is_matrix, "rates": dict.fromkeys(last, lambda step: float(step >= begin))}

    def prepare(self, columns: Mapping[str, Any], augment: Augment, rng: np.random.Generator | None) -> Batch:
        if dataclasses.replace(augment, flip=False).is_random:
            raise ConfigError("DINO makes its own crops: flip is the only augmentation that it takes")
        rng = np.random.default_rng(0) if rng is None else rng
        return multi_crop(columns["images"], augment, self.config, rng)

    def draw(self, batch: Batch, step: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return numbers(self.config, step, self.total_steps)

    def forward(self, batch: Batch, rng: Rng = None) -> Outputs:
        """The student's outputs for all crops (B, 2 + V, K), and the teacher's for the global ones (B, 2, K)."""
        crops = [self.tensor(batch[name]) for name in ("global_crops", "local_crops") if name in batch]
        seen = F.concat(*(self.student.features(x, rng) for x in crops), axis=1)
        with no_grad():
            taught = self.teacher.head(self.teacher.features(crops[0]))
        return self.student.head(seen), taught

    def log_targets(self, taught: Tensor, batch: Batch) -> Tensor:
        """log q (B, 2, K), which has no gradient."""
        with no_grad():
            return F.log_softmax((taught - self.centre) / self.tensor(batch["teacher_temperature"]))

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        said, taught = outputs
        log_p = F.log_softmax(said / self.config.student_temperature)
        teachers = taught.shape[1]
        others = log_p.sum(axis=1, keepdims=True) - log_p[:, :teachers]  # of all crops but the teacher's own
        pairs = teachers * (log_p.shape[1] - 1)
        return -(F.exp(self.log_targets(taught, batch)).detach() * others).sum() / (log_p.shape[0] * pairs)

    def sums(self, outputs: Outputs, batch: Batch) -> dict[str, Array]:
        """The teacher's output, which moves the centre, and the entropy of its q.

        The entropy is 0 if one output always wins, log K if all are equally likely. The loss is this entropy plus the
        mean divergence KL(q, p).
        """
        _, taught = outputs
        log_q = self.log_targets(taught, batch)
        entropy = -(F.exp(log_q) * log_q).sum(axis=-1).mean(axis=1)
        return {"output": taught.data.mean(axis=1).sum(axis=0), "entropy": entropy.data.sum()}

    def after_update(self, means: Mapping[str, Array], batch: Batch) -> None:
        kept = self.config.centre_momentum
        self.centre.data[...] = kept * self.centre.data + (1 - kept) * means["output"]
        m = self.like(batch["teacher_momentum"])
        for (_, old), (_, new) in zip(self.teacher.named_tensors(), self.student.named_tensors(), strict=True):
            old.data *= m
            old.data += (1 - m) * new.data


def tiny(dtype: str = "float32") -> tuple[DINO, Dataset]:
    """The objective in small and 16 images, for tests."""
    shape = ViTConfig(
        image_size=(8, 8), patch_size=(2, 2), width=8, depth=2, heads=2, mlp_width=16, num_classes=0, channels=1,
        dropout=0.1, drop_path=0.1,
    )  # fmt: skip
    config = DINOConfig(outputs=12, hidden=16, bottleneck=8, local_crops=2, local_size=4, freeze_last=0.2)
    images = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 1), np.uint8)
    return DINO(config, ViT(shape, 0, dtype), 6, 0, dtype), ArrayDataset(images, [0] * 16, ["any"], "noise")
