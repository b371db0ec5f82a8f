"""The training of DINOv2 (Oquab et al. 2023, arXiv 2304.07193): DINO, iBOT and KoLeo. The encoder is in `dinov2`.

New against DINO: the student sees its large crops with patches hidden, and answers for them as the teacher does, who
sees them whole (iBOT, Zhou et al. 2021, arXiv 2111.07832); class tokens of a batch are pushed apart (KoLeo). With q the
teacher's and p the student's answers, M_i the hidden patches of large crop i, x the student's class tokens of one view
divided by their lengths,

    L = L_DINO + 0.1 L_KoLeo + L_iBOT,
    L_iBOT = -(1 / 2B) sum over large crops i of mean over n in M_i of sum_k q_in,k log p_in,k,   0 where M_i is empty,
    L_KoLeo = -sum over the two views of mean_b log |x_b - x_b'|,   b' the nearest other image of the batch.

q is centred, as in DINO, or balanced by Sinkhorn's iteration over a batch of R answers, in which every output is to win
equally often: Q = exp(t / T), then three times: Q_rk / sum_r Q_rk / K, Q_rk / sum_k Q_rk / R; q = R Q.

Source: facebookresearch/dinov2: train/ssl_meta_arch.py, loss/, data/masking.py. One head may answer for both, as in its
default configuration, or each has its own, as in the published runs. Against it: the largest t is subtracted from all,
which changes nothing but spares overflow; crops are resized bilinearly; gradients are clipped by one norm for all,
there by one for the encoder and one for each head.

B batch, V small crops, N patches, M the most that are hidden in a crop, D width, K outputs.
"""

import copy
import dataclasses
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from minivit import functional as F
from minivit.backend import Array, xp_of
from minivit.data import ArrayDataset, Augment, Dataset
from minivit.errors import ConfigError
from minivit.files.checks import one_of
from minivit.lineage.dinov2 import DINOv2Config, DINOv2Network
from minivit.lineage.dinov2_parts import hidden, koleo, sinkhorn
from minivit.lineage.masked_tokens import blocks
from minivit.lineage.self_distillation import Head, check_crops, check_fields, multi_crop, numbers
from minivit.models.config import Size
from minivit.nn import Module
from minivit.nn import initialisers as init
from minivit.nn.layers import Rng
from minivit.optim.rates import is_matrix
from minivit.tensor import Tensor, no_grad
from minivit.update.batch import Batch, size
from minivit.update.objective import Objective, Outputs

BLOCKS = 4, 0.3  # patches of the smallest, height by width of the widest; BEiT's generator


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Fields of DINOConfig's names mean what they mean there.

    separate_heads: whether patches have a head of their own, with patch_outputs and patch_bottleneck. targets:
    "centring" or "sinkhorn". hidden_crops: share of the large crops in which patches are hidden, hidden_share: of their
    patches, from and to. patch_rate: factor on the learning rate of the patch embedding; layer_decay: on those of
    every layer from the last to the first.
    """

    outputs: int = 65_536
    layers: int = 3
    hidden: int = 2048
    bottleneck: int = 256
    norm_last_layer: bool = False
    separate_heads: bool = False
    patch_outputs: int = 65_536
    patch_bottleneck: int = 256
    targets: str = "centring"
    sinkhorn_steps: int = 3
    koleo_weight: float = 0.1
    patch_weight: float = 1.0
    hidden_crops: float = 0.5
    hidden_share: tuple[float, float] = (0.1, 0.5)
    local_crops: int = 8
    local_size: Size = Size(98)
    global_scale: tuple[float, float] = (0.32, 1.0)
    local_scale: tuple[float, float] = (0.05, 0.32)
    colours: bool = True
    student_temperature: float = 0.1
    teacher_temperature: float = 0.07
    first_temperature: float = 0.04
    temperature_warmup: float = 0.3
    momentum: float = 0.994
    last_momentum: float = 1.0
    centre_momentum: float = 0.9
    freeze_last: float = 0.01
    patch_rate: float = 0.2
    layer_decay: float = 1.0

    def __post_init__(self) -> None:
        one_of(self, targets=("centring", "sinkhorn"))
        check_fields(
            self,
            positive="patch_outputs patch_bottleneck sinkhorn_steps",
            none="koleo_weight patch_weight",
            above="patch_rate layer_decay",
            shares="hidden_crops",
            ranges="hidden_share",
        )


class Answering(Module):
    """An encoder with one head or two: the form of teacher and student."""

    def __init__(self, encoder: DINOv2Network, config: TrainingConfig, rng: init.Rng, dtype: str):
        self.encoder = encoder
        self.head = Head(config, encoder.config.width, rng, dtype)
        if config.separate_heads:
            own = dataclasses.replace(config, outputs=config.patch_outputs, bottleneck=config.patch_bottleneck)
            self.patch_head = Head(own, encoder.config.width, rng, dtype)

    def tokens(self, crops: Tensor, mask: Array | None = None, rng: Rng = None) -> Tensor:
        """(B, V, height, width, C), mask (B, V, N) -> all tokens (B, V, ..., D)."""
        batch, views = crops.shape[:2]
        flat = None if mask is None else mask.reshape(batch * views, -1)
        x = self.encoder.tokens(crops.reshape(batch * views, *crops.shape[2:]), flat, rng=rng)
        return x.reshape(batch, views, *x.shape[1:])

    def of_patches(self, tokens: Tensor, places: Array) -> Tensor:
        """The answers for some patches: all tokens (B, V, ..., D), places (B, V, M) -> (B, V, M, K)."""
        batch, views, most = places.shape
        patches = self.encoder.patches(tokens.reshape(batch * views, *tokens.shape[2:]))
        chosen = F.select(patches, places.reshape(batch * views, most))
        answers = getattr(self, "patch_head", self.head)(chosen)
        return answers.reshape(batch, views, most, answers.shape[-1])


class DINOv2(Objective):
    """The student answers for crops, and for patches that are hidden from it, as the teacher does.

    batch: global_crops (B, 2, height, width, C), local_crops (B, V, h, w, C) if there are any; mask (B, 2, N), 1 where
    a patch is hidden; places (B, 2, M) of hidden patches, then of others, whose patch_weights (B, 2, M) are 0; numbers
    of the step: teacher_momentum, teacher_temperature.
    """

    Config: ClassVar[type] = TrainingConfig
    columns = ("images",)
    compares = True
    unheeded = ("crop_padding", "resized_crop", "randaugment", "erasing")  # it makes its crops itself

    def __init__(
        self, config: TrainingConfig, encoder: Any, total_steps: int, seed: int | None = 0, dtype: str = "float32"
    ):
        if not isinstance(encoder, DINOv2Network):
            raise ConfigError(f"DINOv2 needs its own encoder, --model dinov2-mini, not a {type(encoder).__name__}")
        shape = encoder.config
        if shape.num_classes or not shape.mask_token:
            raise ConfigError("DINOv2 needs an encoder with a mask token and without a head: num_classes 0")
        check_crops(config, shape.patch_size)
        self.config, self.total_steps = config, total_steps
        rng = None if seed is None else np.random.default_rng((seed, 1))
        self.student = Answering(encoder, config, rng, dtype)
        self.teacher = copy.deepcopy(self.student).freeze()
        self.centre = Tensor(np.zeros(config.outputs, dtype))
        self.patch_centre = Tensor(np.zeros(config.patch_outputs if config.separate_heads else config.outputs, dtype))

    @classmethod
    def build(cls, config: TrainingConfig, given: Any) -> Self:
        """The objective of a run.   given: a `lineage.Given`."""
        return cls(config, given.encoder(), given.total_steps, given.seed, given.dtype)

    @property
    def encoder(self) -> DINOv2Network:
        return self.teacher.encoder

    @property
    def learner(self) -> DINOv2Network:
        return self.student.encoder

    @property
    def tokens(self) -> int:
        shape, local = self.encoder.config, self.config.local_size
        patches = local[0] * local[1] // (shape.patch_size[0] * shape.patch_size[1])
        return 2 * shape.num_tokens + self.config.local_crops * (patches + 1 + shape.register_tokens)

    def optimizer_options(self, total_steps: int) -> dict[str, Any]:
        """All but vectors decay; early layers learn more slowly, and the last layer starts to learn later."""
        begin, last = self.config.freeze_last * total_steps, self.encoder.config.depth + 1
        rates: dict[str, Any] = {}
        for name, _ in self.named_parameters():
            block = re.match(r"student\.encoder\.blocks\.(\d+)", name)
            first = name.startswith("student.encoder") and not name.startswith("student.encoder.norm")
            layer = int(block[1]) + 1 if block else 0 if first else last
            rates[name] = self.config.layer_decay ** (last - layer)
            if "patch_embed" in name:
                rates[name] *= self.config.patch_rate
            if name.endswith(("head.directions", "head.lengths")):
                rates[name] = lambda step: float(step >= begin)
        return {"decay": is_matrix, "rates": rates}

    def prepare(self, columns: Mapping[str, Any], augment: Augment, rng: np.random.Generator | None) -> Batch:
        if dataclasses.replace(augment, flip=False).is_random:
            raise ConfigError("DINOv2 makes its own crops: flip is the only augmentation that it takes")
        return multi_crop(columns["images"], augment, self.config, np.random.default_rng(0) if rng is None else rng)

    def draw(self, batch: Batch, step: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        config, grid, crops = self.config, self.encoder.config.grid, 2 * size(batch)
        patches, chosen = grid[0] * grid[1], rng.permutation(crops)[: int(crops * config.hidden_crops)]
        mask, shares = np.zeros((crops, patches), bool), np.linspace(*config.hidden_share, len(chosen) + 1)
        for i, crop in enumerate(chosen):
            count = int(patches * rng.uniform(shares[i], shares[i + 1]))
            mask[crop] = blocks(grid, count, *BLOCKS, rng, patches / 2).ravel()
        most = int(patches * config.hidden_share[1])
        return {**hidden(mask.reshape(-1, 2, patches), most), **numbers(config, step, self.total_steps)}

    def forward(self, batch: Batch, rng: Rng = None) -> Outputs:
        """The student's answers for all crops (B, 2 + V, K), its class tokens of the large ones (B, 2, D), its answers
        for hidden patches (B, 2, M, K); the teacher's answers for the large crops (B, 2, K), and for those patches."""
        crops, places = self.tensor(batch["global_crops"]), batch["places"]
        seen = self.student.tokens(crops, batch["mask"], rng)
        firsts = [seen[:, :, 0]]
        if "local_crops" in batch:
            firsts.append(self.student.tokens(self.tensor(batch["local_crops"]), None, rng)[:, :, 0])
        with no_grad():
            whole = self.teacher.tokens(crops.detach())
            taught = self.teacher.head(whole[:, :, 0]), self.teacher.of_patches(whole, places)
        said = self.student.head(F.concat(*firsts, axis=1) if len(firsts) > 1 else firsts[0])
        return said, firsts[0], self.student.of_patches(seen, places), *taught

    def answers(self, taught: Tensor, centre: Tensor, batch: Batch, weights: Array | None = None) -> Tensor:
        """q (..., K), which has no gradient, of the teacher's (..., K).   weights (...): 0 for what does not count."""
        with no_grad():
            temperature = self.tensor(batch["teacher_temperature"])
            if self.config.targets == "centring":
                return F.softmax((taught - centre) / temperature)
            rows = (taught / temperature).reshape(-1, taught.shape[-1])
            counts = None if weights is None else Tensor((weights.reshape(-1, 1) > 0).astype(rows.dtype))
            return sinkhorn(rows, self.config.sinkhorn_steps, counts).reshape(taught.shape)

    def parts(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """The terms of the loss: DINO's between large crops and of small ones, KoLeo's and iBOT's."""
        said, features, said_patches, taught, taught_patches = outputs
        log_p, count = F.log_softmax(said / self.config.student_temperature), len(said.data)
        q, pairs = self.answers(taught, self.centre, batch), 2 + 2 * (said.shape[1] - 2)
        other = log_p[:, :2].sum(axis=1, keepdims=True) - log_p[:, :2]  # of the other large crop
        weights = self.tensor(batch["patch_weights"])
        log_of_patches = F.log_softmax(said_patches / self.config.student_temperature)
        q_of_patches = self.answers(taught_patches, self.patch_centre, batch, batch["patch_weights"])
        return {
            "global": -(q * other).sum() / (count * pairs),
            "local": -(q * log_p[:, 2:].sum(axis=1, keepdims=True)).sum() / (count * pairs),
            "koleo": koleo(features[:, 0]) + koleo(features[:, 1]),
            "patches": -(weights * (q_of_patches * log_of_patches).sum(axis=-1)).sum() / (2 * count),
        }

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        parts = self.parts(outputs, batch)
        rest = self.config.koleo_weight * parts["koleo"] + self.config.patch_weight * parts["patches"]
        return parts["global"] + parts["local"] + rest

    def sums(self, outputs: Outputs, batch: Batch) -> dict[str, Array]:
        """The entropy of the teacher's answers for crops; and, for the centres, its outputs."""
        *_, taught, taught_patches = outputs
        q = self.answers(taught, self.centre, batch)
        entropy = -(q * F.log(F.maximum(q, 1e-30))).sum(axis=-1).mean(axis=1)
        found = {"entropy": entropy.data.sum()}
        if self.config.targets == "centring":
            counted = (batch["patch_weights"] > 0).astype(taught.dtype)
            of_patches = (taught_patches.data * counted[..., None]).sum(axis=(0, 1, 2))
            found |= {"output": taught.data.mean(axis=1).sum(axis=0), "patch_output": of_patches}
            found["hidden"] = counted.sum()
        return found

    def after_update(self, means: Mapping[str, Array], batch: Batch) -> None:
        kept = self.config.centre_momentum
        if self.config.targets == "centring":
            self.centre.data[...] = kept * self.centre.data + (1 - kept) * means["output"]
            count, centre = means["hidden"], self.patch_centre.data
            new = means["patch_output"] / xp_of(centre).maximum(count, 1e-12)
            centre[...] = xp_of(centre).where(count > 0, kept * centre + (1 - kept) * new, centre)
        m = self.like(batch["teacher_momentum"])
        for (_, old), (_, new) in zip(self.teacher.named_tensors(), self.student.named_tensors(), strict=True):
            old.data *= m
            old.data += (1 - m) * new.data


def tiny(dtype: str = "float32") -> tuple[DINOv2, Dataset]:
    """The objective in small and 16 images, for tests."""
    shape = DINOv2Config(
        image_size=8, patch_size=2, width=8, depth=2, heads=2, mlp_width=16, num_classes=0, channels=1, dropout=0.1,
        drop_path=0.1, layer_scale=0.5, register_tokens=1, resize="antialias",
    )  # fmt: skip
    config = TrainingConfig(
        outputs=24, hidden=16, bottleneck=8, separate_heads=True, patch_outputs=10, patch_bottleneck=8, local_crops=2,
        local_size=4, freeze_last=0.2,
    )  # fmt: skip
    images = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 1), np.uint8)
    return DINOv2(config, DINOv2Network(shape, 0, dtype), 6, 0, dtype), ArrayDataset(images, [0] * 16, ["any"], "noise")
