"""EfficientNet (Tan & Le 2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", arXiv
1905.11946): the convolutional network that a ViT had to beat.

Its block, MBConv, is wide inside and narrow at its ends, without an activation at the end:

    h = silu(BN(x W1)),   h = silu(BN(DWConv(h))),   h = SE(h),   y = BN(h W2)  [+ x, where shapes agree],

W1: (C, e C) with expansion e, left out for e = 1. SE multiplies each channel by a number between 0 and 1, computed from
the means of all channels through 0.25 C hidden ones: of the block's input, not of the expanded ones.

New against ViT: nothing depends on the content but SE; BatchNorm, so that the examples of a batch see each other in
training; three sizes grow together. For phi, depth is multiplied by 1.2^phi, width by 1.1^phi, the side of the image by
1.15^phi, which doubles the work for each step of phi. Widths are rounded to multiples of 8, but not by more than a
tenth down, and numbers of blocks up.

Source: tensorflow/tpu, models/official/efficientnet; the published factors of B0 to B7 are rounded. There convolutions
are padded as TensorFlow's "same", with the odd pixel after the image, and BN has epsilon 1e-3 and keeps 0.99 of its
running values. timm's own weights have symmetric padding and 1e-5: `padding` and `norm_eps` say which. Block i of n is
left out with rate i / n of `drop_path`. The head begins at zero, as a ViT's here.

B batch, h x w places, C channels, e expansion, k width of the window.
"""

import dataclasses
import functools
import math
from typing import Any

import numpy as np

from minivit.backend import Array
from minivit.errors import ConfigError
from minivit.files.checks import at_least, epsilon, one_of, rates
from minivit.files.fields import settle
from minivit.lineage.published import variant
from minivit.models.config import Size
from minivit.models.families import Family
from minivit.models.head import Head
from minivit.nn import Conv, Dropout, DropPath, Linear, Module
from minivit.nn.layers import Rng, Tap
from minivit.nn.sequence import Sequence
from minivit.nn.squeeze_excite import NormAct, SqueezeExcite
from minivit.tensor import Tensor

PARITY = "logits, maps inside, gradients and running statistics of published code"
SCALES: dict[str, tuple[float, float, int, float]] = {  # name: factors of width and depth, side of images, dropout
    "b0": (1.0, 1.0, 224, 0.2), "b1": (1.0, 1.1, 240, 0.2), "b2": (1.1, 1.2, 260, 0.3), "b3": (1.2, 1.4, 300, 0.3),
    "b4": (1.4, 1.8, 380, 0.4), "b5": (1.6, 2.2, 456, 0.4), "b6": (1.8, 2.6, 528, 0.5), "b7": (2.0, 3.1, 600, 0.5),
    "l2": (4.3, 5.3, 800, 0.5),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class EfficientNetConfig:
    """The shape of an EfficientNet; the defaults are B0's. Raises ConfigError for parts that do not fit.

    expansions, widths, repeats, strides, kernels: e, channels, blocks, stride of the first block, and k of each stage.
    stem, features: channels of the first and the last convolution. stem_stride: of the first. squeeze: channels inside
    SE, as a share of the block's input; 0 for no SE. padding: "symmetric", or "same" as in TensorFlow. dropout: before
    the head.
    """

    expansions: tuple[int, ...] = (1, 6, 6, 6, 6, 6, 6)
    widths: tuple[int, ...] = (16, 24, 40, 80, 112, 192, 320)
    repeats: tuple[int, ...] = (1, 2, 2, 3, 3, 4, 1)
    strides: tuple[int, ...] = (1, 2, 2, 2, 1, 2, 1)
    kernels: tuple[int, ...] = (3, 3, 5, 3, 5, 5, 3)
    stem: int = 32
    features: int = 1280
    image_size: Size = Size(224)
    num_classes: int = 1000
    channels: int = 3
    stem_stride: int = 2
    squeeze: float = 0.25
    padding: str = "symmetric"
    norm_eps: float = 1e-5
    momentum: float = 0.1
    dropout: float = 0.0
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        settle(self)
        stages = (self.expansions, self.widths, self.repeats, self.strides, self.kernels)
        if not self.widths or len({len(of_stages) for of_stages in stages}) > 1:
            raise ConfigError("expansions, widths, repeats, strides and kernels: expected one number each to a stage")
        for of_stages in (*stages, (self.stem, self.features, self.channels, self.stem_stride)):
            if min(of_stages) < 1:
                raise ConfigError(f"{of_stages}: expected numbers of at least 1")
        if any(kernel % 2 == 0 for kernel in self.kernels):
            raise ConfigError(f"kernels is {self.kernels}, expected odd numbers")
        at_least(self, 0, "num_classes", "squeeze")
        if not 0 <= self.momentum <= 1:
            raise ConfigError(f"momentum is {self.momentum}, expected a share, 0 to 1")
        epsilon(self)
        rates(self, "dropout", "drop_path")
        one_of(self, padding=("symmetric", "same"))

    @property
    def width(self) -> int:
        """The channels of the last map."""
        return self.features

    @property
    def num_tokens(self) -> int:
        """The places of the third map: as of a ResNet, what the trainer cuts a batch by."""
        height, width = self.image_size
        shrink = self.stem_stride * math.prod(self.strides[:3])
        return -(-height // shrink) * -(-width // shrink)

    @property
    def description(self) -> str:
        """The model in a few words."""
        return f"EfficientNet: {sum(self.repeats)} blocks, {self.stem} to {self.features} channels"


def rounded(channels: float) -> int:
    """The nearest multiple of 8, or the next if that is less than nine tenths."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8


def scaled(wider: float, deeper: float, side: int, dropout: float) -> dict[str, Any]:
    """The fields of B0 grown by these factors, for images of this side."""
    base = EfficientNetConfig()
    return {
        "widths": tuple(rounded(wider * width) for width in base.widths),
        "repeats": tuple(math.ceil(deeper * repeats) for repeats in base.repeats),
        "stem": rounded(wider * base.stem),
        "features": rounded(wider * base.features),
        "image_size": side,
        "dropout": dropout,
        "drop_path": 0.2,
    }


VARIANTS: dict[str, dict[str, Any]] = {
    **{f"efficientnet-{name}": scaled(*scale) for name, scale in SCALES.items()},
    "efficientnet-small32": {  # for images of 32 pixels
        "expansions": (1, 4, 4), "widths": (16, 24, 48), "repeats": (1, 2, 2), "strides": (1, 2, 2),
        "kernels": (3, 3, 5), "stem": 16, "features": 192, "stem_stride": 1,
    },
}  # fmt: skip


class Separable(Module):
    """MBConv without an expansion.   (B, h, w, C) -> (B, h / stride, w / stride, E)."""

    def __init__(self, ends: tuple[int, int], kernel: int, stride: int, config: Any, rate: float, dtype: str):
        channels, filters = ends
        self.conv_dw = depthwise(channels, kernel, stride, config, dtype)
        self.bn1 = norm(channels, config, dtype)
        self.se = squeeze(channels, channels * config.squeeze, dtype)
        self.conv_pw = Linear(channels, filters, None, dtype, bias=False)
        self.bn2 = norm(filters, config, dtype, "none")
        self.adds, self.drop_path = stride == 1 and channels == filters, DropPath(rate)

    def forward(self, x: Tensor, rng: Rng = None) -> Tensor:
        branch = self.bn2(self.conv_pw(self.se(self.bn1(self.conv_dw(x)))))
        return x + self.drop_path(branch, rng) if self.adds else branch


class MBConv(Module):
    """(B, h, w, C) -> (B, h / stride, w / stride, E).   wide: e C; squeezed: channels inside SE."""

    def __init__(
        self, ends: tuple[int, int], wide: int, squeezed: float, kernel: int, stride: int, config: Any, rate: float,
        dtype: str,
    ):  # fmt: skip
        channels, filters = ends
        self.conv_pw = Linear(channels, wide, None, dtype, bias=False)
        self.bn1 = norm(wide, config, dtype)
        self.conv_dw = depthwise(wide, kernel, stride, config, dtype)
        self.bn2 = norm(wide, config, dtype)
        self.se = squeeze(wide, squeezed, dtype)
        self.conv_pwl = Linear(wide, filters, None, dtype, bias=False)
        self.bn3 = norm(filters, config, dtype, "none")
        self.adds, self.drop_path = stride == 1 and channels == filters, DropPath(rate)

    def forward(self, x: Tensor, rng: Rng = None) -> Tensor:
        wide = self.se(self.bn2(self.conv_dw(self.bn1(self.conv_pw(x)))))
        branch = self.bn3(self.conv_pwl(wide))
        return x + self.drop_path(branch, rng) if self.adds else branch


def norm(channels: int, config: EfficientNetConfig, dtype: str, act: str = "silu") -> NormAct:
    """BN, and its activation."""
    return NormAct(channels, act, dtype, config.momentum, config.norm_eps)


def depthwise(channels: int, kernel: int, stride: int, config: EfficientNetConfig, dtype: str) -> Conv:
    """A convolution of every channel for itself."""
    padding = kernel // 2 if config.padding == "symmetric" else "same"
    return Conv(kernel, channels, channels, None, dtype, stride, padding, groups=channels, bias=False)


def squeeze(channels: int, squeezed: float, dtype: str) -> Module:
    """SE, or nothing for 0."""
    return SqueezeExcite(channels, max(1, round(squeezed)), None, dtype) if squeezed else Sequence()


class EfficientNet(Module):
    """The model of `config`. seed=None draws nothing: arrays of zeros, to be counted or filled."""

    def __init__(self, config: EfficientNetConfig, seed: int | None = 0, dtype: str = "float32"):
        self.config, total = config, sum(config.repeats)
        padding = 1 if config.padding == "symmetric" else "same"
        self.conv_stem = Conv(3, config.channels, config.stem, None, dtype, config.stem_stride, padding, bias=False)
        self.bn1 = norm(config.stem, config, dtype)
        channels, done, self.blocks = config.stem, 0, []
        for i, filters in enumerate(config.widths):
            stage: list[Module] = []
            for stride in (config.strides[i], *[1] * (config.repeats[i] - 1)):
                shape, rate = (config.kernels[i], stride, config), config.drop_path * done / total
                if config.expansions[i] == 1:
                    stage.append(Separable((channels, filters), *shape, rate, dtype))
                else:
                    wide, squeezed = channels * config.expansions[i], channels * config.squeeze
                    stage.append(MBConv((channels, filters), wide, squeezed, *shape, rate, dtype))
                channels, done = filters, done + 1
            self.blocks.append(Sequence(*stage))
        self.conv_head = Linear(channels, config.features, None, dtype, bias=False)
        self.bn2 = norm(config.features, config, dtype)
        self.dropout = Dropout(config.dropout)
        if config.num_classes:
            self.classifier = Head(config.features, config.num_classes, None, dtype)
        rng = None if seed is None else np.random.default_rng(seed)
        for name, tensor in self.named_parameters():
            tensor.name = name
            if rng and name.endswith("weight") and not name.startswith("classifier"):
                fan_out = math.prod(tensor.shape[:-2]) * (1 if "conv_dw" in name else tensor.shape[-1])
                tensor.data[...] = rng.normal(0, math.sqrt(2 / fan_out), tensor.shape)

    def forward(self, images: Tensor | Array, tap: Tap = None, rng: Rng = None) -> Tensor:
        """Logits (B, num_classes), or features (B, C) if the model has no head.

        images: (B, height, width, channels), of any size. tap: a dict that collects "stem", "stage0", ... (B, h, w, C)
        and "features".
        """
        x = self.bn1(self.conv_stem(self.tensor(images)))
        if tap is not None:
            tap["stem"] = x
        for i, stage in enumerate(self.blocks):
            x = stage(x, rng)
            if tap is not None:
                tap[f"stage{i}"] = x
        features = self.bn2(self.conv_head(x)).mean(axis=(1, 2))
        if tap is not None:
            tap["features"] = features
        return self.classifier(self.dropout(features, rng)) if self.config.num_classes else features


FAMILY = Family(EfficientNetConfig, EfficientNet, "efficientnet-.*", functools.partial(variant, VARIANTS))
