"""CLIP: contrastive language-image pre-training (Radford et al. 2021, "Learning Transferable Visual Models From Natural
Language Supervision", arXiv 2103.00020).

New against ViT: no classes. Images and texts become vectors of length 1, i_1 ... i_B and t_1 ... t_B for the B pairs of
a batch. Each image has to find its text among those of all pairs, and each text its image:

    S_bc = e^s <i_b, t_c>,   L = (CE(S) + CE(S transposed)) / 2, where the right answer of row b is b,

with s learned; e^s is 1 / 0.07 at first and never above 100. Sentences about classes are then a classifier, also for
classes that were not in the training data.

Source: openai/CLIP, clip/model.py. The image tower is a ViT with a LayerNorm before the first block, no bias in the
patch projection and gelu as x sigmoid(1.702 x). Text tokens attend to themselves and to those before them. The row of
the first <end> stands for the text. Dense kernels of the text tower are normal at first, as published. Those of the
image tower begin as a ViT's do here; the published code leaves them at the defaults of PyTorch.

B batch, N tokens of an image, T of a text, D width of the image tower, W of the text tower, E of the shared space.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from minivit import functional as F
from minivit.backend import Array, xp_of
from minivit.backend.precision import precision
from minivit.data import Dataset, Scenes
from minivit.data.scenes_words import CAPTION, END, WORDS
from minivit.lineage import matching
from minivit.lineage.matching import Matching, check_fields, check_plain, zero_shot
from minivit.models import ViT, ViTConfig
from minivit.nn import CausalAttention, Linear
from minivit.nn import initialisers as init
from minivit.nn.layers import Rng, Tap
from minivit.nn.lengths import unit
from minivit.tensor import Tensor
from minivit.update.batch import Batch
from minivit.update.objective import Outputs

LARGEST_SCALE = 100
PARITY = "embeddings, similarities, loss and gradients of the published code, both layouts of its weights"
PRESETS: dict[str, dict[str, Any]] = {
    "captions-clip": {
        "data": "captions",
        "objective": {
            "name": "clip", "width": 64, "depth": 2, "heads": 2, "vocabulary": len(WORDS), "context": CAPTION,
            "end": END, "shared": 64,
        },
        "model": {"patch_size": 8, "width": 64, "depth": 3, "heads": 2, "mlp_width": 128},
        "batch_size": 128,
        "epochs": 15,
        "lr": 2e-3,
        "beta2": 0.98,
        "eval_every": 234,
    },
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class CLIPConfig:
    """width, depth, heads, mlp_width (0: 4 W): of the text tower; the image tower uses those of the model.

    vocabulary: number of token ids. context: tokens of the longest text. end: the id of <end>; None: the largest of
    each text. shared: E. scale: initial e^s; learn_scale: whether it changes. gelu ("quick", or "erf" as in LAION's
    models), norm_eps: of both towers, overriding the model's. The defaults are those of CLIP B/32.
    """

    width: int = 512
    depth: int = 12
    heads: int = 8
    mlp_width: int = 0
    vocabulary: int = 49408
    context: int = 77
    end: int | None = None
    shared: int = 512
    scale: float = 1 / 0.07
    learn_scale: bool = True
    gelu: str = "quick"
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        object.__setattr__(self, "mlp_width", self.mlp_width or 4 * self.width)
        check_fields(
            self,
            "CLIP",
            "width depth mlp_width vocabulary context shared",
            ("end", self.end is None or 0 <= self.end < self.vocabulary, f"0 to {self.vocabulary - 1}, or None"),
            ("scale", 0 < self.scale <= LARGEST_SCALE, f"a number above 0, at most {LARGEST_SCALE}"),
        )


class ImageTower(matching.Tower):
    """With the first values of the published code.   (B, height, width, C) -> (B, D)."""

    def __init__(self, model: ViTConfig, config: CLIPConfig, seed: int | None, dtype: str):
        shape = dataclasses.replace(model, num_classes=0, norm_eps=config.norm_eps)
        super().__init__(shape, config.gelu, seed, dtype)
        rng = None if seed is None else np.random.default_rng((seed, 1))
        self.class_token = init.parameter(init.normal(rng, (1, 1, model.width), model.width**-0.5), dtype)
        table = 1, self.config.num_tokens, model.width
        self.position_embedding = init.parameter(init.normal(rng, table, model.width**-0.5), dtype)

    def take(self, start: ViT) -> None:
        """Start from the weights of a ViT. The bias of its patch projection is added to the positions."""
        own = dict(self.named_tensors())
        for name, tensor in start.named_tensors():
            if name in own:
                own[name].data[...] = tensor.data
        self.position_embedding.data[:, 1:] += start.patch_embed.projection.bias.data


class TextTower(matching.TextTower):
    """With causal attention, and the first values of the published code."""

    def __init__(self, config: CLIPConfig, rng: init.Rng, dtype: str):
        super().__init__(config, CausalAttention, (0.02, 0.01), rng, None, dtype)
        width = config.width
        variances = {"qkv": 1 / width, "hidden": 1 / (2 * width), "out": 1 / (2 * width * config.depth)}
        for name, tensor in self.named_parameters() if rng else []:
            if name.endswith("weight"):
                tensor.data[...] = init.normal(rng, tensor.shape, variances[name.split(".")[-2]] ** 0.5)


class CLIP(Matching):
    """Matches images with their texts. A text ends with <end>; anything may stand behind it."""

    Config: ClassVar[type] = CLIPConfig
    image_tower: ImageTower

    def __init__(self, config: CLIPConfig, model: ViTConfig, seed: int | None = 0, dtype: str = "float32"):
        check_plain(model, "CLIP")
        rng = None if seed is None else np.random.default_rng((seed, 2))
        self.config = config
        self.image_tower = ImageTower(model, config, seed, dtype)
        self.image_projection = Linear(model.width, config.shared, rng, dtype, weight=by_width, bias=False)
        self.text_tower = TextTower(config, rng, dtype)
        self.text_projection = Linear(config.width, config.shared, rng, dtype, weight=by_width, bias=False)
        self.log_scale = init.parameter(init.constant(math.log(config.scale), (1,)), dtype)
        self.log_scale.requires_grad = config.learn_scale

    def image(self, images: Array | Tensor, rng: Rng = None, tap: Tap = None) -> Tensor:
        """(B, height, width, C) -> (B, E), of length 1."""
        return unit(self.image_projection(self.image_tower(images, tap, rng)))

    def text(self, ids: Array, rng: Rng = None, tap: Tap = None) -> Tensor:
        """(B, T) -> (B, E), of length 1. Tokens behind the first <end> are ignored."""
        encoded = self.text_tower(ids, rng, tap)
        end = (ids if self.config.end is None else ids == self.config.end).argmax(axis=1)
        return unit(self.text_projection(F.select(encoded, end[:, None])[:, 0]))

    def similarity(self, outputs: Outputs) -> Tensor:
        """S (B, B): a row for each image, a column for each text. In full precision: e^s makes errors large."""
        images, texts = outputs
        with precision("float32"):
            return F.exp(self.log_scale) * (images @ texts.T)

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        similar = self.similarity(outputs)
        own = xp_of(similar.data).arange(len(similar))
        return (F.cross_entropy(similar, own) + F.cross_entropy(similar.T, own)) * 0.5

    def after_update(self, means: Mapping[str, Array], batch: Batch) -> None:
        scale = self.log_scale.data
        xp_of(scale).minimum(scale, math.log(LARGEST_SCALE), out=scale)


def by_width(rng: init.Rng, fan_in: int, fan_out: int) -> np.ndarray:
    """(fan_in, fan_out): normal with standard deviation fan_in^(-1/2)."""
    return init.normal(rng, (fan_in, fan_out), fan_in**-0.5)


HOW = {"zero-shot": zero_shot}


def tiny(dtype: str = "float32") -> tuple[CLIP, Dataset]:
    """The objective in small and 16 pairs, for tests."""
    shape = ViTConfig(
        image_size=16, patch_size=8, width=8, depth=2, heads=2, mlp_width=16, num_classes=0, dropout=0.1, drop_path=0.1
    )
    config = CLIPConfig(8, 1, 2, 16, len(WORDS), CAPTION, END, shared=6)
    return CLIP(config, shape, 0, dtype), Scenes(16, 0, 16)
