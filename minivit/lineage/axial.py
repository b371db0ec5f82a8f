"""Axial attention: along the columns of an image, then along its rows (Ho et al. 2019, arXiv 1912.12180; Wang et al.
2020, "Axial-DeepLab: Stand-Alone Axial-Attention for Panoptic Segmentation", arXiv 2003.07853).

Before ViT. Attention of all N pixels to each other costs N^2. Along one axis it costs N sqrt(N), and after two layers,
height and width, every pixel has seen every other. The layer is position-sensitive: with o the place of a query and p
of a key on the axis, and embeddings r of relative places that all heads share,

    y_o = sum over p of  softmax_p(q_o k_p + q_o r^q_{p-o} + k_p r^k_{p-o}) (v_p + r^v_{p-o}).

New against SASA: the whole axis in place of a window, and places also for keys and values. Against ViT: an axis in
place of the whole image, queries and keys half as wide as values, no 1 / sqrt(Dh).

Source: the papers and csrhddlam/axial-deeplab, lib/models/axialnet.py. What the code adds, here with `normalise`: batch
normalisation of q, k and v; of the three parts of the scores, each head's for itself, before they are summed; of the
two parts of the result before they are summed. Heads are called groups there. A table of embeddings has the number
query - key + span - 1 for r^q and r^v, and key - query + span - 1 for r^k. A stride is an average at the end.
Paper and code differ: the paper's S has an axial stem, the code's a convolution. Widths and names are the code's.

B batch, H heads, G = E / H width of a head's values, L length of the axis, C and E channels.
"""

import dataclasses
import functools
import math
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.backend import Array, xp_of
from minivit.errors import ConfigError
from minivit.files.checks import heads_divide
from minivit.lineage.published import variant
from minivit.lineage.residual import ResidualConfig, ResidualNetwork
from minivit.models.families import Family
from minivit.nn import BatchNorm, Linear, Module
from minivit.nn import initialisers as init
from minivit.nn.bottleneck import Root
from minivit.nn.layers import Tap
from minivit.tensor import Tensor

PARITY = "a layer with running and batch statistics and without any, outputs and gradients"


class AxialAttention(Module):
    """Every pixel attends to those in its column, or in its row.

    x: (B, height, width, C) -> (B, height / stride, width / stride, E). relative: (2 G, 2 span - 1), embeddings of
    places for queries (G / 2), keys (G / 2) and values (G); the axis may be shorter than the span, not longer.
    """

    def __init__(
        self,
        channels: int,
        filters: int,
        heads: int,
        span: int,
        rng: init.Rng,
        dtype: str = "float32",
        axis: str = "height",
        stride: int = 1,
        normalise: bool = True,
    ):
        if filters % (2 * heads):
            raise ConfigError(f"{filters} filters are not a multiple of twice the {heads} heads")
        own = filters // heads
        self.qkv = Linear(channels, 2 * filters, rng, dtype, weight=init.lecun_normal, bias=False)
        self.relative = init.parameter(init.normal(rng, (2 * own, 2 * span - 1), math.sqrt(1 / own)), dtype)
        self.norm_qkv = BatchNorm(2 * filters, dtype) if normalise else None
        self.norm_scores = BatchNorm(3 * heads, dtype) if normalise else None
        self.norm_out = BatchNorm(2 * filters, dtype) if normalise else None
        self.heads, self.span, self.axis, self.stride = heads, span, axis, stride

    def forward(self, x: Tensor, tap: Tap = None) -> Tensor:
        x = x.transpose(0, 2, 1, 3) if self.axis == "height" else x  # the axis is the last before the channels
        y = self.along(x.reshape(-1, *x.shape[2:]), tap).reshape(*x.shape[:3], -1)
        y = y.transpose(0, 2, 1, 3) if self.axis == "height" else y
        return y if self.stride == 1 else F.avg_pool2d(y, self.stride, self.stride)

    def along(self, x: Tensor, tap: Tap = None) -> Tensor:
        """Attention within each of R rows of pixels: (R, L, C) -> (R, L, E)."""
        rows, length, _ = x.shape
        qkv = normalised(self.norm_qkv, self.qkv(x)).reshape(rows, length, self.heads, -1).transpose(0, 2, 1, 3)
        half = qkv.shape[-1] // 4
        q, k, v = qkv[..., :half], qkv[..., half : 2 * half], qkv[..., 2 * half :]
        table = F.embedding(self.relative.transpose(), self.places(length))  # (L, L, 2 G), [i, j]: of i - j
        r_q, r_k, r_v = table[..., :half], table[..., half : 2 * half], table[..., 2 * half :]
        parts = (
            q @ k.transpose(0, 1, 3, 2),
            by_place(q, r_q.transpose(0, 2, 1)),
            by_place(k, r_k.transpose(0, 2, 1)).transpose(0, 1, 3, 2),  # there the key comes first
        )
        scores = normalised(self.norm_scores, F.concat(*parts, axis=1).transpose(0, 2, 3, 1))  # (R, L, L, 3 H)
        scores = scores.reshape(rows, length, length, 3, self.heads).sum(axis=3).transpose(0, 3, 1, 2)
        weights = F.softmax(scores)
        if tap is not None:
            tap["attention_weights"] = weights  # (R, H, L, L)
        both = F.concat((weights @ v)[..., None], by_place(weights, r_v)[..., None], axis=-1)  # (R, H, L, G, 2)
        out = normalised(self.norm_out, both.transpose(0, 2, 1, 3, 4).reshape(rows, length, -1))
        return out.reshape(rows, length, -1, 2).sum(axis=-1)

    def places(self, length: int) -> Array:
        """The column of `relative` for every pair of places: (L, L)."""
        if length > self.span:
            raise ValueError(f"axial attention: {length} pixels along the {self.axis}, at most {self.span}")
        place = xp_of(self.relative.data).arange(length)
        return place[:, None] - place[None] + self.span - 1


def by_place(x: Tensor, table: Tensor) -> Tensor:
    """Each place multiplied by its own matrix.   x: (R, H, L, D), table: (L, D, M) -> (R, H, L, M)."""
    rows, heads, length, width = x.shape
    first = x.transpose(2, 0, 1, 3).reshape(length, rows * heads, width)
    return (first @ table).reshape(length, rows, heads, -1).transpose(1, 2, 0, 3)


def normalised(norm: BatchNorm | None, x: Tensor) -> Tensor:
    """x as it is, where there is no normalisation."""
    return x if norm is None else norm(x)


@dataclasses.dataclass(frozen=True)
class AxialConfig(ResidualConfig):
    """The shape of an Axial-ResNet. Raises ConfigError for parts that do not fit.

    heads: of every axial layer; those of the first stage have 2 width channels. The model takes images of image_size
    and smaller ones.
    """

    width: int = 32
    heads: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        heads_divide(self.width, self.heads)


VARIANTS: dict[str, dict[str, Any]] = {
    "axial-26s": {"units": (1, 2, 4, 1)},
    "axial-50s": {},
    "axial-50m": {"width": 48},
    "axial-50l": {"width": 64},
    "axial-small32": {"units": (1, 1, 1), "width": 8, "heads": 4, "image_size": 32},
}


class AxialResNet(ResidualNetwork):
    """The model of `config`, initialised from `seed`; None draws nothing."""

    def __init__(self, config: AxialConfig, seed: int | None = 0, dtype: str = "float32"):
        rng = None if seed is None else np.random.default_rng(seed)

        def middle(channels: int, stage: int, stride: int) -> list[Module]:
            height, width = config.map_size(stage - (stride > 1))
            columns = AxialAttention(channels, channels, config.heads, height, rng, dtype, "height")
            return [columns, AxialAttention(channels, channels, config.heads, width, rng, dtype, "width", stride)]

        root = Root(config.root, config.channels, config.width, rng, dtype)
        super().__init__(config, root, middle, 2 * config.width, rng, dtype)
        self.finish(config.map_channels, rng, dtype)


FAMILY = Family(AxialConfig, AxialResNet, "axial-.*", functools.partial(variant, VARIANTS))
