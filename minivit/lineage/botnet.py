"""BoTNet (Srinivas et al. 2021, "Bottleneck Transformers for Visual Recognition", arXiv 2101.11605).

A ResNet whose last stage attends: in its bottlenecks (1 x 1, 3 x 3, 1 x 1) attention over the whole map takes the place
of the 3 x 3 convolution. With the place of query i at row y and column x, of key j at y' and x',

    A_ij = softmax_j((q_i k_j + q_i (r_h[y' - y] + r_w[x' - x])) / sqrt(Dh)).

New against ViT: positions are relative, rows and columns apart, and enter by a product with the query, so what a head
looks for depends on the content; all heads share the two tables. No [class] token, no MLP: the 1 x 1 convolutions do
its work. Batch normalisation and ReLU follow the attention as they followed the convolution.

Source: the authors' code, and timm's BottleneckAttn. The authors scale q, so both products are divided by sqrt(Dh);
timm's default leaves q r undivided: `scaled`. The index is key minus query, the opposite of Swin's. Where the stage
halves the map, the attention sees all of it, and the mean of 2 x 2 places follows. Around it stands the usual ResNet:
convolutions of 3 x 3 take the stride, a shortcut is a 1 x 1 convolution and BN. Kernels of windows are drawn with
variance 2 / fan_out, matrices with 1 / C, tables with 1 / Dh; the last BN of a block and the head begin at zero.

B batch, h x w places, N = h w, C channels, H heads of width Dh.
"""

import dataclasses
import functools
import math
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.backend import Array, xp_of
from minivit.errors import ConfigError
from minivit.files.fields import settle
from minivit.lineage.published import variant
from minivit.models.config import Size
from minivit.models.families import Family
from minivit.models.head import Head
from minivit.nn import Conv, Linear, Module
from minivit.nn import initialisers as init
from minivit.nn.layers import Rng, Tap
from minivit.nn.sequence import Sequence
from minivit.nn.squeeze_excite import NormAct
from minivit.tensor import Tensor

PARITY = "attention of timm's code, its gradients, positions scaled and not"
VARIANTS: dict[str, dict[str, Any]] = {
    "botnet-50": {"depths": (3, 4, 6, 3)},
    "botnet-101": {"depths": (3, 4, 23, 3)},
    "botnet-152": {"depths": (3, 8, 36, 3)},
    "botnet-small32": {"depths": (1, 1, 2), "base": 16, "root": "3x3"},  # for images of 32 pixels
}


@dataclasses.dataclass(frozen=True)
class BoTNetConfig:
    """The shape of a BoTNet; the defaults are BoTNet-50's. Raises ConfigError for parts that do not fit.

    depths: blocks of each stage, the last of which attends. base: channels inside the blocks of the first stage, which
    doubles from stage to stage; a block ends with four times as many. last_stride: of the last stage, 1 in the paper's
    S1. scaled: see above. root: "7x7", with a pool, or "3x3", which keeps the resolution.
    """

    depths: tuple[int, ...] = (3, 4, 6, 3)
    base: int = 64
    heads: int = 4
    last_stride: int = 2
    scaled: bool = True
    image_size: Size = Size(224)
    num_classes: int = 1000
    channels: int = 3
    root: str = "7x7"

    def __post_init__(self) -> None:
        settle(self)
        if not self.depths or min(*self.depths, self.base, self.heads, self.channels) < 1 or self.num_classes < 0:
            raise ConfigError("depths, base, heads and channels: expected at least 1; num_classes: at least 0")
        if self.last_stride not in (1, 2) or self.root not in ("7x7", "3x3"):
            raise ConfigError(f'expected last_stride 1 or 2 and root 7x7 or 3x3, not {self.last_stride}, "{self.root}"')
        if self.width // 4 % self.heads:
            raise ConfigError(f"{self.heads} heads do not divide the {self.width // 4} channels of the attention")
        if self.last_stride == 2 and any(side % 2 for side in self.grid(len(self.depths) - 2)):
            raise ConfigError(f"image_size {self.image_size}: the last stage halves a map whose sides must be even")

    @property
    def width(self) -> int:
        """The channels of the last map."""
        return 4 * self.base * 2 ** (len(self.depths) - 1)

    def grid(self, stage: int) -> tuple[int, ...]:
        """Rows and columns of the map of a stage, -1 for that before the first."""
        last = len(self.depths) - 1
        halved = (2 if self.root == "7x7" else 0) + max(0, min(stage, last - 1))
        height, width = (-(-side // 2**halved) for side in self.image_size)
        return (height // 2, width // 2) if stage == last > 0 and self.last_stride == 2 else (height, width)

    @property
    def num_tokens(self) -> int:
        """The places of the second map, by which the trainer cuts a batch."""
        return math.prod(self.grid(1))

    @property
    def description(self) -> str:
        """The model in a few words."""
        return f"BoTNet: {'+'.join(map(str, self.depths))} blocks, {self.heads} heads in the last, root {self.root}"


def towards(size: int, xp: Any) -> Array:
    """(size, size): the row of a table for each query i and key j along one axis, of j - i."""
    places = xp.arange(size)
    return places - places[:, None] + size - 1


class RelativeAttention(Module):
    """Attention over a map.   (B, h, w, C) -> (B, h, w, E), or half of each side with `pools`.

    qkv: (C, 2 H Dh + E). height, width: tables of rows and columns, (2 h - 1, Dh) and (2 w - 1, Dh).
    """

    def __init__(
        self, channels: int, filters: int, grid: tuple[int, ...], heads: int, head_width: int, rng: init.Rng,
        dtype: str = "float32", scaled: bool = True, bias: bool = False, pools: bool = False,
    ):  # fmt: skip
        self.grid, self.heads, self.inside, self.scaled, self.pools = grid, heads, heads * head_width, scaled, pools
        self.qkv = Linear(channels, 2 * self.inside + filters, rng, dtype, weight=init.lecun_normal, bias=bias)
        self.height, self.width = (
            init.parameter(init.normal(rng, (2 * side - 1, head_width), head_width**-0.5), dtype) for side in grid
        )

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, _ = x.shape
        if (height, width) != self.grid:
            raise ValueError(f"BoTNet: a map of {height}x{width} places, expected {self.grid[0]}x{self.grid[1]}")
        qkv = self.qkv(x).reshape(batch, height * width, -1)
        q, k, v = qkv[..., : self.inside], qkv[..., self.inside : 2 * self.inside], qkv[..., 2 * self.inside :]
        y = F.attend(q, k, v, self.positions(q), heads=self.heads).reshape(batch, height, width, -1)
        return F.avg_pool2d(y) if self.pools else y

    def positions(self, q: Tensor) -> Tensor:
        """The part of the scores that depends on places: (B, N, H Dh) -> (B, H, N, N)."""
        batch, (height, width), xp = len(q.data), self.grid, xp_of(q.data)
        by_place = q.reshape(batch, height, width, self.heads, -1)
        rows = self.height[towards(height, xp)].transpose(0, 2, 1)  # (y, Dh, y')
        columns = self.width[towards(width, xp)].transpose(0, 2, 1)  # (x, Dh, x')
        of_rows = by_place.transpose(1, 0, 3, 2, 4).reshape(height, batch * self.heads * width, -1) @ rows
        of_rows = of_rows.reshape(height, batch, self.heads, width, height, 1).transpose(1, 2, 0, 3, 4, 5)
        of_columns = by_place.transpose(2, 0, 3, 1, 4).reshape(width, batch * self.heads * height, -1) @ columns
        of_columns = of_columns.reshape(width, batch, self.heads, height, 1, width).transpose(1, 2, 3, 0, 4, 5)
        scores = (of_rows + of_columns).reshape(batch, self.heads, height * width, height * width)
        return scores * (self.inside // self.heads) ** -0.5 if self.scaled else scores


class Bottleneck(Module):
    """(B, h, w, C) -> (B, h / stride, w / stride, 4 inside).   grid: of the map, if it attends."""

    def __init__(
        self, channels: int, inside: int, stride: int, grid: tuple[int, ...] | None, config: BoTNetConfig,
        rng: init.Rng, dtype: str,
    ):  # fmt: skip
        self.conv1 = Linear(channels, inside, rng, dtype, weight=init.lecun_normal, bias=False)
        self.norm1 = NormAct(inside, "relu", dtype)
        if grid:
            given = (config.heads, inside // config.heads, rng, dtype, config.scaled)
            self.mixing: Module = RelativeAttention(inside, inside, grid, *given, pools=stride == 2)
        else:
            self.mixing = window(3, inside, inside, stride, rng, dtype)
        self.norm2 = NormAct(inside, "relu", dtype)
        self.conv3 = Linear(inside, 4 * inside, rng, dtype, weight=init.lecun_normal, bias=False)
        self.norm3 = NormAct(4 * inside, "none", dtype, gain=0)
        projects = stride > 1 or channels != 4 * inside
        self.shortcut = Sequence()
        if projects:
            matrix = Conv(1, channels, 4 * inside, rng, dtype, stride, "valid", bias=False)
            self.shortcut = Sequence(matrix, NormAct(4 * inside, "none", dtype))

    def forward(self, x: Tensor) -> Tensor:
        branch = self.norm2(self.mixing(self.norm1(self.conv1(x))))
        return F.relu(self.shortcut(x) + self.norm3(self.conv3(branch)))


def window(size: int, channels: int, filters: int, stride: int, rng: init.Rng, dtype: str) -> Conv:
    """A convolution padded on all sides alike, as published ResNets draw it."""
    conv = Conv(size, channels, filters, None, dtype, stride, size // 2, bias=False)
    if rng:
        conv.weight.data[...] = rng.normal(0, math.sqrt(2 / (size * size * filters)), conv.weight.shape)
    return conv


class BoTNet(Module):
    """The model of `config`. seed=None draws nothing: arrays of zeros, to be counted or filled."""

    def __init__(self, config: BoTNetConfig, seed: int | None = 0, dtype: str = "float32"):
        rng = None if seed is None else np.random.default_rng(seed)
        self.config, size, last = config, int(config.root[0]), len(config.depths) - 1
        self.root = window(size, config.channels, config.base, 2 if size == 7 else 1, rng, dtype)
        self.norm = NormAct(config.base, "relu", dtype)
        channels, self.stages = config.base, []
        for i, count in enumerate(config.depths):
            inside, blocks = config.base * 2**i, []
            for j in range(count):
                stride = 1 if i == 0 or j else config.last_stride if i == last else 2
                grid = config.grid(i if j else i - 1) if i == last else None
                blocks.append(Bottleneck(channels, inside, stride, grid, config, rng, dtype))
                channels = 4 * inside
            self.stages.append(Sequence(*blocks))
        if config.num_classes:
            self.head = Head(channels, config.num_classes, rng, dtype, weight=init.zeros)
        for name, tensor in self.named_parameters():
            tensor.name = name

    def forward(self, images: Tensor | Array, tap: Tap = None, rng: Rng = None) -> Tensor:
        """Logits (B, num_classes), or features (B, C) if the model has no head.

        images: (B, height, width, channels) of the config's size. tap: a dict that collects "stage0", ... (B, h, w, C)
        and "features". rng: unused, nothing is random.
        """
        x = self.norm(self.root(self.tensor(images)))
        x = F.max_pool2d(x, 3, 2, 1) if self.config.root == "7x7" else x
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if tap is not None:
                tap[f"stage{i}"] = x
        features = x.mean(axis=(1, 2))
        if tap is not None:
            tap["features"] = features
        return self.head(features) if self.config.num_classes else features


FAMILY = Family(BoTNetConfig, BoTNet, "botnet-.*", functools.partial(variant, VARIANTS))
