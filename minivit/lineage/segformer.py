"""SegFormer (Xie et al. 2021, "SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers",
arXiv 2105.15203): a class for every pixel, from a hierarchy without positions.

New against ViT: four stages on maps of 1/4 to 1/32 of the image's sides. Each begins with a convolution whose windows
overlap. Keys and values come from a map that a convolution has shrunk R times on each side, so that attention over N
places costs N^2 / R^2. There are no positions: a depthwise 3x3 convolution inside the MLP sees its zero border instead,

    y = x + MSA(q = LN(x), k = v = LN(Conv_R(LN(x)))),   z = y + W_2 GELU(DWConv_3x3(W_1 LN(y))).

The head brings the maps of all stages to E channels and to the size of the first, and mixes them pixel by pixel:

    z = W_K ReLU(BN([U_4, U_3, U_2, U_1] W_f)),   U_i = resize(x_i W_i).

Source: NVlabs/SegFormer (mix_transformer.py, here `minivit.lineage.mit`; segformer_head.py). The maps are joined from
the last stage to the first. LayerNorms have epsilon 1e-6 in blocks and at the end of a stage, 1e-5 after the
convolutions; transformers has 1e-5 everywhere, and ignores its own `layer_norm_eps`. The convolution that shrinks has
no border: a remainder is left out. Against the published code: the head learns at the rate of the rest, not ten times
it.

B batch, h x w map, C channels of a stage, R reduction, E channels of the head, K classes.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from minivit import functional as F
from minivit.backend import Array
from minivit.data import Dataset
from minivit.data.scenes import load_scenes
from minivit.errors import ConfigError
from minivit.files.checks import at_least, rates
from minivit.lineage.dense import HOW, DenseObjective, labelled
from minivit.lineage.mit import VARIANTS, MiT, MiTConfig, draw_kernels
from minivit.nn import BatchNorm, Linear, Module
from minivit.nn import initialisers as init
from minivit.nn.batch_norm import batch_statistics, statistics_rows, update_running
from minivit.nn.layers import Rng, required
from minivit.ops.dropping import keep_mask
from minivit.tensor import Tensor, no_grad
from minivit.update.batch import Batch
from minivit.update.objective import Outputs

__all__ = ["HOW", "PRESETS", "SegFormer", "SegFormerConfig"]

PARITY = "logits, maps, loss and gradients, also with batch norm in training, odd sizes and the epsilon of transformers"
PRESETS: dict[str, dict[str, Any]] = {
    "scenes-segformer": {
        "data": "scenes",
        "objective": {"name": "segformer", "width": 64, "dropout": 0.0},
        "model": {"name": "segformer", **VARIANTS["mit-mini"]},
        "batch_size": 32,
        "steps": 1500,
        "lr": 2e-3,
        "flip": True,
        "eval_every": 500,
    },
}


@dataclasses.dataclass(frozen=True)
class SegFormerConfig:
    """classes: K. width: E, 256 in B0 and B1, 768 in larger ones. dropout: of whole channels before the last matrix."""

    classes: int = 6
    width: int = 256
    dropout: float = 0.1

    def __post_init__(self) -> None:
        labelled(self.classes)
        at_least(self, 1, "width")
        rates(self, "dropout")


class MixHead(Module):
    """The maps of all stages -> (B, h, w, E) -> logits (B, h, w, K) of the first map's size."""

    def __init__(self, config: SegFormerConfig, widths: tuple[int, ...], rng: init.Rng, dtype: str):
        self.project = [Linear(width, config.width, None, dtype) for width in widths]
        self.fuse = Linear(len(widths) * config.width, config.width, None, dtype, bias=False)
        self.norm = BatchNorm(config.width, dtype)
        self.classifier = Linear(config.width, config.classes, None, dtype)
        draw_kernels(self, rng)

    def fused(self, maps: list[Tensor]) -> Tensor:
        """What is to be normalised."""
        size = maps[0].shape[1], maps[0].shape[2]
        equal = [F.resize(own(x), size, "bilinear") for own, x in zip(self.project, maps, strict=True)]
        return self.fuse(F.concat(*equal[::-1], axis=3))

    def forward(self, fused: Tensor, keep: Tensor | None = None) -> Tensor:
        """keep: factors of dropout, (B, 1, 1, E)."""
        hidden = F.relu(self.norm(fused))
        return self.classifier(hidden if keep is None else hidden * keep)


class SegFormer(DenseObjective):
    """Names the class of every pixel.   batch: see `DenseObjective`; images may have any size.

    The batch norm of the head sees the whole batch, however that is cut: `forward` ends before it.
    """

    Config: ClassVar[type] = SegFormerConfig
    compares = True

    def __init__(self, config: SegFormerConfig, encoder: MiT, seed: int | None = 0, dtype: str = "float32"):
        if not isinstance(encoder, MiT):
            raise ConfigError(f"SegFormer needs a MiT, such as --model mit-mini, not a {type(encoder).__name__}")
        self.config, self.network, self.classes = config, encoder, config.classes
        self.cell = encoder.config.strides[0], encoder.config.strides[0]
        rng = None if seed is None else np.random.default_rng((seed, 1))
        self.decoder = MixHead(config, encoder.config.widths, rng, dtype)

    @classmethod
    def build(cls, config: SegFormerConfig, given: Any) -> Self:
        """The objective of a run.   given: a `lineage.Given`."""
        return cls(config, given.encoder(), given.seed, given.dtype)

    @property
    def encoder(self) -> MiT:
        return self.network

    def forward(self, batch: Batch, rng: Rng = None) -> Outputs:
        fused = self.decoder.fused(self.network.maps(self.tensor(batch["images"]), rng))
        if not self.training or not self.config.dropout:
            return (fused,)
        shape = fused.shape[0], 1, 1, fused.shape[3]
        return fused, Tensor(keep_mask(shape, self.config.dropout, required(rng, "dropout"), fused.data))

    def logits(self, outputs: Outputs, batch: Batch) -> Tensor:
        return F.resize(self.decoder(*outputs), batch["mask"].shape[1:], "bilinear")

    def sums(self, outputs: Outputs, batch: Batch) -> dict[str, Array]:
        with batch_statistics() as seen, no_grad():
            found = super().sums(outputs, batch)
        if self.training:
            found["statistics"] = statistics_rows(self.decoder, seen, len(outputs[0].data)).data.sum(axis=0)
        return found

    def after_update(self, means: Mapping[str, Array], batch: Batch) -> None:
        if self.training:
            update_running(self.decoder, means["statistics"])


def tiny(dtype: str = "float32") -> tuple[SegFormer, Dataset]:
    """The objective in small and 16 images, for tests."""
    shape = MiTConfig(
        image_size=16, widths=(4, 8), depths=(1, 1), heads=(1, 2), reductions=(2, 1), ratios=(2, 2), windows=(7, 3),
        strides=(4, 2), drop_path=0.1, num_classes=0,
    )  # fmt: skip
    return SegFormer(SegFormerConfig(width=8), MiT(shape, 0, dtype), 0, dtype), load_scenes("train", 16, size=16)
