"""Segmenter (Strudel et al. 2021, "Segmenter: Transformer for Semantic Segmentation", arXiv 2105.05633).

New against ViT: a class for every pixel. All encoded patches are kept, and a decoder gives each of them K logits, which
are resized to the pixels. The linear decoder is one matrix. The mask decoder reads the patches x_p together with K
learned class tokens c_k through a few more blocks. A patch and a class then agree by the cosine of their vectors,

    z_pk = LN_K(<x_p W_x / |x_p W_x|, c_k W_c / |c_k W_c|>),

with a LayerNorm over the K classes. Images of any size: they are padded with 0 at the bottom and on the right to whole
patches, the position table is resized to their grid, and the logits are cropped.

Source: rstrudel/segmenter, segm/model/. The class tokens stand after the patches. Every LayerNorm has epsilon 1e-5,
though the weights from which the published encoders start were trained with 1e-6. Resizing is bilinear, of pixels as
areas. Against the published code: kernels of blocks are drawn as a ViT's, not with a deviation of 0.02; tables, tokens
and gains do not decay. Large images are cut into overlapping windows there, whose logits are averaged: see `slide`.

B batch, N patches, D width of the encoder, E of the decoder, K classes, C channels.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np

from minivit import functional as F
from minivit.backend import Array, to_numpy
from minivit.data import Dataset
from minivit.data.scenes import load_scenes
from minivit.errors import ConfigError
from minivit.files.checks import at_least, heads_divide, one_of, rates
from minivit.lineage.dense import HOW, DenseObjective, labelled
from minivit.models import ViT, ViTConfig
from minivit.models.positions import resized
from minivit.nn import MLP, EncoderBlock, LayerNorm, Linear, Module, MultiHeadAttention
from minivit.nn import initialisers as init
from minivit.nn.layers import Rng, Tap
from minivit.nn.lengths import unit
from minivit.tensor import Tensor
from minivit.update.batch import Batch
from minivit.update.objective import Outputs

__all__ = ["HOW", "PRESETS", "Segmenter", "SegmenterConfig"]

PARITY = "logits, encoded tokens, attention, loss and gradients of the published code, also of odd sizes"
PRESETS: dict[str, dict[str, Any]] = {
    "scenes-segmenter": {
        "data": "scenes",
        "objective": {"name": "segmenter", "decoder": "linear", "width": 64, "heads": 2, "mlp_width": 128,
                      "dropout": 0.0},
        "model": {"patch_size": 4, "width": 64, "depth": 4, "heads": 2, "mlp_width": 128, "gelu": "erf",
                  "norm_eps": 1e-5},
        "batch_size": 32,
        "steps": 1500,
        "lr": 3e-3,
        "flip": True,
        "eval_every": 500,
    },
}  # fmt: skip
EPS = 1e-5


@dataclasses.dataclass(frozen=True)
class SegmenterConfig:
    """classes: K. decoder: "mask" or "linear". depth, width, heads, mlp_width, dropout, drop_path: of the mask decoder;
    the others are the encoder's."""

    classes: int = 6
    decoder: str = "mask"
    depth: int = 2
    width: int = 192
    heads: int = 3
    mlp_width: int = 768
    dropout: float = 0.1
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        labelled(self.classes)
        one_of(self, decoder=("mask", "linear"))
        at_least(self, 1, "depth", "width", "heads", "mlp_width")
        rates(self, "dropout", "drop_path")
        heads_divide(self.width, self.heads)


class LinearDecoder(Module):
    """One matrix.   (B, N, D) -> (B, N, K)."""

    def __init__(self, config: SegmenterConfig, width: int, rng: init.Rng, dtype: str):
        self.head = Linear(width, config.classes, None, dtype, weight=init.zeros)
        self.head.weight = init.parameter(init.normal(rng, (width, config.classes), 0.02), dtype)

    def forward(self, x: Tensor, rng: Rng = None, tap: Tap = None) -> Tensor:
        return self.head(x)


class MaskDecoder(Module):
    """Patches and class tokens through blocks, then their cosines.   (B, N, D) -> (B, N, K)."""

    def __init__(self, config: SegmenterConfig, width: int, rng: init.Rng, dtype: str):
        own, classes = config.width, config.classes
        self.proj_dec = Linear(width, own, rng, dtype)
        self.class_tokens = init.parameter(init.normal(rng, (1, classes, own), 0.02), dtype)
        self.blocks = []
        for i in range(config.depth):
            attention = MultiHeadAttention(own, config.heads, rng, dtype, config.dropout)
            mlp = MLP(own, config.mlp_width, rng, dtype, config.dropout, "erf")
            rate = config.drop_path * i / max(1, config.depth - 1)
            self.blocks.append(EncoderBlock(attention, mlp, own, dtype, config.dropout, rate, EPS))
        self.norm = LayerNorm(own, EPS, dtype)
        self.patch_matrix = init.parameter(init.normal(rng, (own, own), own**-0.5), dtype)
        self.class_matrix = init.parameter(init.normal(rng, (own, own), own**-0.5), dtype)
        self.mask_norm = LayerNorm(classes, EPS, dtype)

    def forward(self, x: Tensor, rng: Rng = None, tap: Tap = None) -> Tensor:
        batch, patches, _ = x.shape
        tokens = F.broadcast_to(self.class_tokens, (batch, *self.class_tokens.shape[1:]))
        x = self.joined(self.proj_dec(x), tokens)
        for i, block in enumerate(self.blocks):
            inner: Tap = None if tap is None else {}
            x = block(x, rng, inner)
            for name, value in (inner or {}).items():
                tap[f"decoder/block{i}/{name}"] = value  # type: ignore[index]
        patch, kind = self.parted(self.norm(x), patches)
        return self.mask_norm(cosines(F.linear(patch, self.patch_matrix), F.linear(kind, self.class_matrix)))

    def joined(self, patches: Tensor, classes: Tensor) -> Tensor:
        return F.concat(patches, classes, axis=1)

    def parted(self, x: Tensor, patches: int) -> tuple[Tensor, Tensor]:
        return x[:, :patches], x[:, patches:]


def cosines(x: Tensor, y: Tensor) -> Tensor:
    """The cosine of every vector of x with every one of y.   (B, N, E), (B, K, E) -> (B, N, K)."""
    return unit(x) @ unit(y).transpose(0, 2, 1)


class Segmenter(DenseObjective):
    """Names the class of every pixel.   batch: see `DenseObjective`; images may have any size."""

    Config: ClassVar[type] = SegmenterConfig

    def __init__(self, config: SegmenterConfig, encoder: ViT, seed: int | None = 0, dtype: str = "float32"):
        if not isinstance(encoder, ViT):
            raise ConfigError(f"Segmenter needs a ViT, but the model is a {type(encoder).__name__}")
        shape = encoder.config
        if shape.position != "learned" or shape.no_embed_class or shape.stem or shape.fc_norm:
            raise ConfigError(
                "Segmenter needs a ViT without a stem, with one learned position table for all tokens, whose last "
                "LayerNorm comes before any mean over patches"
            )
        self.config, self.network, self.classes = config, encoder, config.classes
        self.cell = shape.patch_size
        rng = None if seed is None else np.random.default_rng((seed, 1))
        kind = MaskDecoder if config.decoder == "mask" else LinearDecoder
        self.decoder = kind(config, shape.width, rng, dtype)

    @classmethod
    def build(cls, config: SegmenterConfig, given: Any) -> Self:
        """The objective of a run.   given: a `lineage.Given`."""
        return cls(config, given.encoder(), given.seed, given.dtype)

    @property
    def encoder(self) -> ViT:
        return self.network

    def forward(self, batch: Batch, rng: Rng = None) -> Outputs:
        return (self.segment(self.tensor(batch["images"]), rng),)

    def segment(self, images: Tensor, rng: Rng = None, tap: Tap = None) -> Tensor:
        """Images (B, height, width, C) -> logits (B, height, width, K).   tap: gets "encoded" (B, N, D) with all
        tokens, "grid" (B, rows, columns, K) and the encoder's and decoder's blocks."""
        batch, height, width, _ = images.shape
        patch, before = self.network.config.patch_size, self.network.config.num_prefix_tokens
        rows, columns = -(-height // patch[0]), -(-width // patch[1])
        whole = rows * patch[0], columns * patch[1]
        x = self.network.dropout(self.embed(padded(images, whole), (rows, columns)), rng)
        x = self.network.encode(x, rng, tap)
        grid = self.decoder(x[:, before:], rng, tap).reshape(batch, rows, columns, self.classes)
        if tap is not None:
            tap.update(encoded=x, grid=grid)
        return F.resize(grid, whole, "bilinear")[:, :height, :width]

    def embed(self, images: Tensor, grid: tuple[int, int]) -> Tensor:
        """Tokens before the patches, the patches, and the positions of a grid: (B, N, D)."""
        shape, x = self.network.config, self.network.patch_embed(images)
        counts = shape.prefix_tokens.items()
        tokens = [F.broadcast_to(getattr(self.network, name), (len(x.data), n, shape.width)) for name, n in counts]
        return F.concat(*tokens, x, axis=1) + self.positions(grid)

    def positions(self, grid: tuple[int, int]) -> Tensor:
        """The encoder's table, its patches resized to a grid: (1, N, D)."""
        shape = self.network.config
        return resized(self.network.position_embedding, shape.grid, grid, "bilinear", shape.num_prefix_tokens)


def padded(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Zeros at the bottom and on the right of images (B, height, width, C), up to this size."""
    down, right = size[0] - images.shape[1], size[1] - images.shape[2]
    return F.pad(images, ((0, 0), (0, down), (0, right), (0, 0))) if down or right else images


def slide(logits: Callable[[Array], Array], image: Array, window: int, stride: int) -> Array:
    """The mean of the logits of all windows that cover a pixel, as the published code evaluates.

    image: (height, width, C), no side shorter than the window. logits: (n, window, window, C) -> (n, window, window,
    K). Windows begin every `stride` pixels, and the last in a row or column ends at the edge.   Returns (height, width,
    K).
    """
    height, width, _ = image.shape
    tops, lefts = (sorted({*range(0, side - window, stride), side - window}) for side in (height, width))
    places = [(top, left) for top in tops for left in lefts]
    answers = logits(np.stack([to_numpy(image)[y : y + window, x : x + window] for y, x in places]))
    total, times = np.zeros((height, width, answers.shape[-1])), np.zeros((height, width, 1))
    for (y, x), answer in zip(places, answers, strict=True):
        total[y : y + window, x : x + window] += answer
        times[y : y + window, x : x + window] += 1
    return total / times


def tiny(dtype: str = "float32") -> tuple[Segmenter, Dataset]:
    """The objective in small and 16 images, for tests."""
    shape = ViTConfig(
        image_size=16, patch_size=8, width=8, depth=2, heads=2, mlp_width=16, num_classes=0, gelu="erf", norm_eps=EPS,
        dropout=0.1, drop_path=0.1,
    )  # fmt: skip
    config = SegmenterConfig(depth=1, width=8, heads=2, mlp_width=16)
    return Segmenter(config, ViT(shape, 0, dtype), 0, dtype), load_scenes("train", 16, size=16)
