"""SigLIP: a sigmoid for every pair of image and text (Zhai et al. 2023, "Sigmoid Loss for Language Image Pre-Training",
arXiv 2303.15343).

New against CLIP: every pair of an image and a text of the batch is a question of its own, with the answer yes for a
pair that belongs together. With i_1 ... i_B and t_1 ... t_B the images and texts as vectors of length 1,

    S_bc = e^s <i_b, t_c> + a,   L = -1/B sum_bc log sigmoid(m_bc S_bc),   m_bc = 1 if b = c, else -1,

with s and a learned. No row is normalised over the others, so the loss needs no view of the whole batch. The sum over
B x B pairs is divided by B. At first e^s is 10 and a is -10: almost all answers are no, as they should be.

Source: google-research/big_vision, trainers/proj/image_text/siglip.py, models/proj/image_text/two_towers.py; Hugging
Face, SiglipModel. The image tower is a ViT without [class] token; attention pooling gives the vector of the image,
without a projection. In the text tower every token attends to every token, padding too. The row of the last token,
which is padding in a short text, stands for the text. GELU has the tanh form. The published code adds 1e-8 to lengths
before it divides by them; Hugging Face and this file do not.

B batch, N patches of an image, T tokens of a text, D width of the image tower and of the shared space, W of the text
tower.
"""

import dataclasses
import math
from typing import Any, ClassVar

import numpy as np

from minivit import functional as F
from minivit.backend import Array, xp_of
from minivit.backend.precision import precision
from minivit.data import Dataset, Scenes
from minivit.data.scenes_words import CAPTION, WORDS
from minivit.lineage.matching import Matching, TextTower, check_fields, check_plain, zero_shot
from minivit.models import ViT, ViTConfig
from minivit.nn import Linear, MultiHeadAttention
from minivit.nn import initialisers as init
from minivit.nn.attention_pool import AttentionPool
from minivit.nn.layers import Rng, Tap
from minivit.nn.lengths import unit
from minivit.tensor import Tensor
from minivit.update.batch import Batch
from minivit.update.objective import Outputs

PARITY = "embeddings, similarities, loss and gradients of Hugging Face's SiglipModel"
PRESETS: dict[str, dict[str, Any]] = {
    "captions-siglip": {
        "data": "captions",
        "objective": {
            "name": "siglip", "width": 64, "depth": 2, "heads": 2, "vocabulary": len(WORDS), "context": CAPTION,
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
class SigLIPConfig:
    """width, depth, heads, mlp_width (0: 4 W): of the text tower; the image tower uses those of the model.

    vocabulary: number of token ids. context: tokens of the longest text. scale, bias: initial e^s and a. gelu,
    norm_eps: of both towers, overriding the model's. The defaults are those of SigLIP B/16.
    """

    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_width: int = 0
    vocabulary: int = 32000
    context: int = 64
    scale: float = 10.0
    bias: float = -10.0
    gelu: str = "tanh"
    norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        object.__setattr__(self, "mlp_width", self.mlp_width or 4 * self.width)
        check_fields(
            self,
            "SigLIP",
            "width depth mlp_width vocabulary context",
            ("scale", 0 < self.scale < math.inf, "a number above 0"),
            ("bias", math.isfinite(self.bias), "a finite number"),
        )


class ImageTower(ViT):
    """A ViT without [class] token; a learned query reads its patches.   (B, height, width, C) -> (B, D)."""

    def __init__(self, model: ViTConfig, config: SigLIPConfig, seed: int | None, dtype: str):
        own: dict[str, Any] = {"num_classes": 0, "classifier": "gap", "norm_eps": config.norm_eps, "gelu": config.gelu}
        super().__init__(dataclasses.replace(model, **own), seed, dtype)
        rng, width = None if seed is None else np.random.default_rng((seed, 1)), model.width
        table = init.normal(rng, (1, self.config.num_tokens, width), width**-0.5)
        self.position_embedding = init.parameter(table, dtype)
        self.pool = AttentionPool(width, model.heads, model.mlp_width, rng, dtype, config.gelu, config.norm_eps)

    def classify(self, encoded: Tensor, tap: Tap = None) -> Tensor:
        features = self.pool(encoded)[:, 0]
        if tap is not None:
            tap.update(encoded=encoded, features=features)
        return features

    def take(self, start: ViT) -> None:
        """Start from the weights of a ViT, without those of its [class] token."""
        own = dict(self.named_tensors())
        for name, tensor in start.named_tensors():
            if name in own:
                own[name].data[...] = tensor.data[:, -self.config.num_tokens :] if "position" in name else tensor.data


class SigLIP(Matching):
    """Matches images with their texts, which are padded to one length."""

    Config: ClassVar[type] = SigLIPConfig
    image_tower: ImageTower

    def __init__(self, config: SigLIPConfig, model: ViTConfig, seed: int | None = 0, dtype: str = "float32"):
        check_plain(model, "SigLIP", "classifier")
        rng = None if seed is None else np.random.default_rng((seed, 2))
        self.config = config
        self.image_tower = ImageTower(model, config, seed, dtype)
        self.text_tower = TextTower(config, MultiHeadAttention, (config.width**-0.5,) * 2, rng, rng, dtype)
        self.text_head = Linear(config.width, model.width, rng, dtype, weight=init.lecun_normal)
        self.log_scale = init.parameter(init.constant(math.log(config.scale), (1,)), dtype)
        self.bias = init.parameter(init.constant(config.bias, (1,)), dtype)

    @staticmethod
    def needs(config: SigLIPConfig) -> dict[str, Any]:
        """Fields of ViTConfig: no [class] token, learned positions."""
        return {"classifier": "gap", "position": "learned"}

    def image(self, images: Array | Tensor, rng: Rng = None, tap: Tap = None) -> Tensor:
        """(B, height, width, C) -> (B, D), of length 1."""
        return unit(self.image_tower(images, tap, rng))

    def text(self, ids: Array, rng: Rng = None, tap: Tap = None) -> Tensor:
        """(B, T) -> (B, D), of length 1. The last token, <end> or padding, stands for the text."""
        return unit(self.text_head(self.text_tower(ids, rng, tap)[:, -1]))

    def similarity(self, outputs: Outputs) -> Tensor:
        """S (B, B): a row for each image, a column for each text. In full precision: e^s makes errors large."""
        images, texts = outputs
        with precision("float32"):
            return F.exp(self.log_scale) * (images @ texts.T) + self.bias

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        similar = self.similarity(outputs)
        return F.sigmoid_cross_entropy(similar, xp_of(similar.data).eye(len(similar), dtype=similar.dtype))


HOW = {"zero-shot": zero_shot}


def tiny(dtype: str = "float32") -> tuple[SigLIP, Dataset]:
    """The objective in small and 16 pairs, for tests."""
    shape = ViTConfig(
        image_size=16, patch_size=8, width=8, depth=2, heads=2, mlp_width=16, num_classes=0, dropout=0.1, drop_path=0.1
    )
    return SigLIP(SigLIPConfig(8, 1, 2, 16, len(WORDS), CAPTION), shape, 0, dtype), Scenes(16, 0, 16)
