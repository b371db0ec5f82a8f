"""MiT, the "Mix Transformer", the encoder of SegFormer (see `minivit.lineage.segformer`).

B batch, h x w map, C channels of a stage, R reduction.
"""

import dataclasses
import functools
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.backend import Array
from minivit.errors import ConfigError
from minivit.files.checks import at_least, heads_divide, rates
from minivit.files.fields import settle
from minivit.lineage.published import variant
from minivit.models.config import Size
from minivit.models.families import Family
from minivit.models.head import Head
from minivit.nn import Conv, CrossAttention, DropPath, LayerNorm, Linear, Module
from minivit.nn import initialisers as init
from minivit.nn.layers import Rng, Tap
from minivit.tensor import Tensor

_LARGE = {"widths": (64, 128, 320, 512)}
VARIANTS: dict[str, dict[str, Any]] = {
    "mit-b0": {"widths": (32, 64, 160, 256), "depths": (2, 2, 2, 2)},
    "mit-b1": {**_LARGE, "depths": (2, 2, 2, 2)},
    "mit-b2": {**_LARGE, "depths": (3, 4, 6, 3)},
    "mit-b3": {**_LARGE, "depths": (3, 4, 18, 3)},
    "mit-b4": {**_LARGE, "depths": (3, 8, 27, 3)},
    "mit-b5": {**_LARGE, "depths": (3, 6, 40, 3)},
    "mit-mini": {"widths": (32, 48, 64, 96), "depths": (1, 2, 2, 1), "heads": (1, 2, 2, 3), "reductions": (4, 2, 1, 1),
                 "ratios": (2, 2, 2, 2)},  # for 32 x 32
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class MiTConfig:
    """The shape of an encoder, a "Mix Transformer"; a tuple has one entry for each stage. Raises ConfigError.

    windows, strides: of the convolutions before the stages. reductions: R. ratios: hidden features of the MLP, in
    channels. depthwise: whether there are depthwise convolutions; without them nothing tells places inside a stage.
    drop_path: stochastic depth, rising linearly to this rate at the last block. norm_eps: in blocks and after stages;
    map_eps: after convolutions.
    """

    image_size: Size = Size(224)
    widths: tuple[int, ...] = (32, 64, 160, 256)
    depths: tuple[int, ...] = (2, 2, 2, 2)
    heads: tuple[int, ...] = (1, 2, 5, 8)
    reductions: tuple[int, ...] = (8, 4, 2, 1)
    ratios: tuple[int, ...] = (4, 4, 4, 4)
    windows: tuple[int, ...] = (7, 3, 3, 3)
    strides: tuple[int, ...] = (4, 2, 2, 2)
    depthwise: bool = True
    drop_path: float = 0.0
    norm_eps: float = 1e-6
    map_eps: float = 1e-5
    num_classes: int = 1000
    channels: int = 3

    def __post_init__(self) -> None:
        settle(self)
        stages = len(self.widths)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name != "image_size" and isinstance(value, tuple) and (len(value) != stages or min(value) < 1):
                raise ConfigError(f"{field.name} is {value}, expected {stages} numbers of at least 1")
        for width, heads in zip(self.widths, self.heads, strict=True):
            heads_divide(width, heads)
        for i, reduction in enumerate(self.reductions):
            if min(self.map_size(i)) < reduction:
                raise ConfigError(f"image_size is {self.image_size}: map {self.map_size(i)} shrinks by {reduction}")
        at_least(self, 0, "num_classes")
        at_least(self, 1, "channels")
        rates(self, "drop_path")

    def map_size(self, stage: int) -> tuple[int, int]:
        """Rows and columns of the map of a stage, counted from 0."""
        rows, columns = self.image_size
        for k, s in zip(self.windows[: stage + 1], self.strides, strict=False):
            rows, columns = ((side + 2 * (k // 2) - k) // s + 1 for side in (rows, columns))
        return rows, columns

    @property
    def width(self) -> int:
        """The features of an image."""
        return self.widths[-1]

    @property
    def num_tokens(self) -> int:
        """The places of the first map: the trainer cuts a batch by it, as by a ViT's tokens."""
        rows, columns = self.map_size(0)
        return rows * columns

    @property
    def description(self) -> str:
        """The model in a few words."""
        return f"MiT: {'+'.join(map(str, self.depths))} blocks, widths {'+'.join(map(str, self.widths))}"


class Shrink(Module):
    """A convolution to a smaller map, then LN.   (B, h, w, C) -> (B, h / s, w / s, E)."""

    def __init__(self, window: int, before: int, width: int, stride: int, border: int, eps: float, dtype: str):
        self.conv = Conv(window, before, width, None, dtype, stride, border)
        self.norm = LayerNorm(width, eps, dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class MixFFN(Module):
    """An MLP with a depthwise convolution before its GELU.   (B, h, w, C) -> the same shape."""

    def __init__(self, width: int, hidden: int, depthwise: bool, dtype: str):
        self.fc1 = Linear(width, hidden, None, dtype)
        self.depthwise = Conv(3, hidden, hidden, None, dtype, padding=1, groups=hidden) if depthwise else None
        self.fc2 = Linear(hidden, width, None, dtype)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.fc1(x)
        return self.fc2(F.gelu(self.depthwise(hidden) if self.depthwise else hidden, form="erf"))


class Block(Module):
    """(B, h, w, C) -> the same shape."""

    def __init__(self, config: MiTConfig, stage: int, rate: float, dtype: str):
        width, reduction = config.widths[stage], config.reductions[stage]
        self.norm1 = LayerNorm(width, config.norm_eps, dtype)
        self.shrink = Shrink(reduction, width, width, reduction, 0, config.map_eps, dtype) if reduction > 1 else None
        self.attention = CrossAttention(width, config.heads[stage], width, None, dtype)
        self.norm2 = LayerNorm(width, config.norm_eps, dtype)
        self.mlp = MixFFN(width, config.ratios[stage] * width, config.depthwise, dtype)
        self.drop_path = DropPath(rate)

    def forward(self, x: Tensor, rng: Rng = None) -> Tensor:
        normed = self.norm1(x)
        context = self.shrink(normed) if self.shrink else normed
        attended = self.attention(in_a_row(normed), in_a_row(context)).reshape(*x.shape)
        x = x + self.drop_path(attended, rng)
        return x + self.drop_path(self.mlp(self.norm2(x)), rng)


def in_a_row(x: Tensor) -> Tensor:
    """(B, h, w, C) -> (B, h w, C)."""
    return x.reshape(x.shape[0], x.shape[1] * x.shape[2], x.shape[3])


class Stage(Module):
    """(B, h, w, C) -> (B, h / s, w / s, E)."""

    def __init__(self, config: MiTConfig, stage: int, rates: np.ndarray, dtype: str):
        before, width = (config.channels, *config.widths)[stage], config.widths[stage]
        window = config.windows[stage]
        self.embed = Shrink(window, before, width, config.strides[stage], window // 2, config.map_eps, dtype)
        self.blocks = [Block(config, stage, float(rate), dtype) for rate in rates]
        self.norm = LayerNorm(width, config.norm_eps, dtype)

    def forward(self, x: Tensor, rng: Rng = None) -> Tensor:
        x = self.embed(x)
        for block in self.blocks:
            x = block(x, rng)
        return self.norm(x)


def draw_kernels(module: Module, rng: init.Rng) -> None:
    """Matrices with a deviation of 0.02, kernels of convolutions with sqrt(2 / fan out), as published."""
    for name, tensor in module.named_parameters():
        tensor.name = name
        if rng and name.endswith("weight"):
            rows, columns, _, filters = tensor.shape if tensor.ndim == 4 else (1, 1, 1, 1)
            fan_out = rows * columns * (1 if "depthwise" in name else filters)
            deviation = (2 / fan_out) ** 0.5 if tensor.ndim == 4 else 0.02
            tensor.data[...] = rng.normal(0, deviation, tensor.shape)


class MiT(Module):
    """The encoder of `config`; with classes, a classifier by the mean over its last map. seed=None draws nothing."""

    def __init__(self, config: MiTConfig, seed: int | None = 0, dtype: str = "float32"):
        self.config, ends = config, np.cumsum(config.depths)
        rates = np.split(np.linspace(0, config.drop_path, ends[-1]), ends[:-1])
        self.stages = [Stage(config, i, rates[i], dtype) for i in range(len(ends))]
        draw_kernels(self, None if seed is None else np.random.default_rng(seed))
        self.head = Head(config.width, config.num_classes, None, dtype, init.zeros) if config.num_classes else None

    def maps(self, images: Tensor, rng: Rng = None) -> list[Tensor]:
        """The map of every stage, (B, h, w, C).   images: (B, height, width, channels), of any size."""
        found = [images]
        for stage in self.stages:
            found.append(stage(found[-1], rng))
        return found[1:]

    def forward(self, images: Tensor | Array, tap: Tap = None, rng: Rng = None) -> Tensor:
        """Logits (B, num_classes), or features (B, C) without a head.   tap: gets "stage0", ... and "features"."""
        maps = self.maps(self.tensor(images), rng)
        features = maps[-1].mean(axis=(1, 2))
        if tap is not None:
            tap.update({f"stage{i}": x for i, x in enumerate(maps)}, features=features)
        return self.head(features) if self.head else features


FAMILY = Family(MiTConfig, MiT, "mit-.*", functools.partial(variant, VARIANTS))
