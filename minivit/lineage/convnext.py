"""ConvNeXt (Liu et al. 2022, "A ConvNet for the 2020s", arXiv 2201.03545) and ConvNeXt V2 (Woo et al. 2023,
"ConvNeXt V2: Co-designing and Scaling ConvNets with Masked Autoencoders", arXiv 2301.00808).

A ResNet that was changed, step by step, into what a Transformer is beside its attention. A block mixes places in each
channel alone, by a large depthwise convolution (K x K), and then channels at each place alone, by an MLP:

    y = LN(DWConv(x)),   x <- x + gamma * W2 GELU(W1 y + b1) + b2 gamma.

New against ViT: places are mixed by learned filters that are the same everywhere and reach K / 2 pixels, not by
weights that depend on the content. The network has stages: between them LN and a 2 x 2 convolution with stride 2. One
LN and one activation to a block. gamma, one factor per channel, begins at 1e-6.

V2 has no gamma. It puts global response normalisation between GELU and W2: with G_c the Euclidean norm of channel c
over all places and N_c = G_c / (mean over channels of G + 1e-6),

    y = x + g * (x N) + b,   g = b = 0 at first,

so channels compete, over the whole image. The norm grows with the number of places, but N does not.

Source: facebookresearch/ConvNeXt, models/convnext.py; facebookresearch/ConvNeXt-V2, models/convnextv2.py and utils.py;
names as in timm, which calls its parts otherwise. Every LN has epsilon 1e-6; only Hugging Face's last one has 1e-12.
Every kernel is drawn with standard deviation 0.02, from a normal distribution; the code cuts it off at +-2, 100
standard deviations. The head begins at zero, as a ViT's here.

B batch, h x w places of a map, C its channels, K width of the window.
"""

import dataclasses
import functools
import math
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.backend import Array
from minivit.errors import ConfigError
from minivit.files.checks import at_least, epsilon, rates
from minivit.files.fields import settle
from minivit.lineage.published import variant
from minivit.models.config import Size
from minivit.models.families import Family
from minivit.models.head import Head
from minivit.nn import Conv, DropPath, LayerNorm, Linear, Module
from minivit.nn import initialisers as init
from minivit.nn.layers import Rng, Tap
from minivit.nn.sequence import Sequence
from minivit.tensor import Tensor

PARITY = "logits, maps inside and gradients of the published code, both versions"
NARROW, DEEP = (3, 3, 9, 3), (3, 3, 27, 3)
SHAPES: dict[str, tuple[tuple[int, ...], int]] = {  # name: blocks per stage, channels of the first; each stage doubles
    "convnext-t": (NARROW, 96), "convnext-s": (DEEP, 96), "convnext-b": (DEEP, 128), "convnext-l": (DEEP, 192),
    "convnext-xl": (DEEP, 256),
    "convnextv2-atto": ((2, 2, 6, 2), 40), "convnextv2-femto": ((2, 2, 6, 2), 48),
    "convnextv2-pico": ((2, 2, 6, 2), 64), "convnextv2-nano": ((2, 2, 8, 2), 80),
    "convnextv2-tiny": (NARROW, 96), "convnextv2-base": (DEEP, 128), "convnextv2-large": (DEEP, 192),
    "convnextv2-huge": (DEEP, 352),
}  # fmt: skip
SMALL = {"depths": (1, 1, 2), "dims": (32, 64, 128), "strides": (1, 2, 2), "patch_size": 2}  # for images of 32 pixels


def _version(name: str) -> dict[str, Any]:
    return {"grn": True, "layer_scale": None} if name.startswith("convnextv2") else {}


VARIANTS: dict[str, dict[str, Any]] = {
    **{
        name: {"depths": depths, "dims": tuple(first * 2**i for i in range(4)), **_version(name)}
        for name, (depths, first) in SHAPES.items()
    },
    **{name: {**SMALL, **_version(name)} for name in ("convnext-small32", "convnextv2-small32")},
}


@dataclasses.dataclass(frozen=True)
class ConvNeXtConfig:
    """The shape of a ConvNeXt. Raises ConfigError for parts that do not fit.

    depths, dims, strides: blocks, channels and stride of each stage; one with stride 1 and the channels of the one
    before has no convolution at its start. kernel: K. patch_size: window and stride of the first convolution. grn: V2.
    layer_scale: first value of gamma, None for none. conv_bias: of all convolutions. norm_first: LN before the mean
    over all places, not after it. head_eps: of that LN. drop_path: rate at the last block, falling linearly to 0.
    """

    depths: tuple[int, ...] = NARROW
    dims: tuple[int, ...] = (96, 192, 384, 768)
    strides: tuple[int, ...] = (1, 2, 2, 2)
    image_size: Size = Size(224)
    patch_size: int = 4
    kernel: int = 7
    num_classes: int = 1000
    channels: int = 3
    grn: bool = False
    layer_scale: float | None = 1e-6
    conv_bias: bool = True
    norm_first: bool = False
    norm_eps: float = 1e-6
    head_eps: float = 1e-6
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        settle(self)
        if not self.depths or not len(self.depths) == len(self.dims) == len(self.strides):
            raise ConfigError(f"depths {self.depths}, dims {self.dims}, strides {self.strides}: one each to a stage")
        at_least(self, 1, "patch_size", "channels", "kernel")
        at_least(self, 0, "num_classes")
        epsilon(self, "norm_eps", "head_eps")
        rates(self, "drop_path")
        if min(*self.depths, *self.dims, *self.strides) < 1 or self.kernel % 2 == 0:
            raise ConfigError("depths, dims and strides are at least 1, and kernel is odd")
        if min(self.image_size) < self.patch_size * math.prod(self.strides):
            raise ConfigError(f"image_size {self.image_size} is too small: the network shrinks it to nothing")

    @property
    def width(self) -> int:
        """The channels of the last map."""
        return self.dims[-1]

    @property
    def num_tokens(self) -> int:
        """The places of the second map: as of a ResNet, what the trainer cuts a batch by."""
        height, width = self.image_size
        shrink = self.patch_size * math.prod(self.strides[:2])
        return -(-height // shrink) * -(-width // shrink)

    @property
    def description(self) -> str:
        """The model in a few words."""
        blocks = "+".join(map(str, self.depths))
        return f"ConvNeXt{' V2' if self.grn else ''}: {blocks} blocks, {self.dims[0]} to {self.width} channels"


class GRN(Module):
    """Global response normalisation.   x: (B, h, w, C) -> the same shape."""

    def __init__(self, channels: int, dtype: str):
        self.weight = init.parameter(init.constant(0, (channels,)), dtype)
        self.bias = init.parameter(init.constant(0, (channels,)), dtype)

    def forward(self, x: Tensor) -> Tensor:
        squares = (x * x).sum(axis=(1, 2), keepdims=True)
        norm = F.sqrt(F.maximum(squares, 1e-30))  # a root has no derivative at 0
        return x + self.bias + self.weight * (x * (norm / (norm.mean(axis=-1, keepdims=True) + 1e-6)))


class ChannelMLP(Module):
    """An MLP at every place, V2's with GRN.   (B, h, w, C) -> (B, h, w, 4 C) -> (B, h, w, C)."""

    def __init__(self, channels: int, grn: bool, dtype: str):
        self.fc1 = Linear(channels, 4 * channels, None, dtype)
        self.grn = GRN(4 * channels, dtype) if grn else None
        self.fc2 = Linear(4 * channels, channels, None, dtype)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.gelu(self.fc1(x), form="erf")
        return self.fc2(self.grn(hidden) if self.grn else hidden)


class Block(Module):
    """(B, h, w, C) -> (B, h, w, C)."""

    def __init__(self, channels: int, config: ConvNeXtConfig, rate: float, dtype: str):
        kernel, bias = config.kernel, config.conv_bias
        self.conv_dw = Conv(kernel, channels, channels, None, dtype, 1, kernel // 2, groups=channels, bias=bias)
        self.norm = LayerNorm(channels, config.norm_eps, dtype)
        self.mlp = ChannelMLP(channels, config.grn, dtype)
        scale = config.layer_scale
        self.gamma = None if scale is None else init.parameter(init.constant(scale, (channels,)), dtype)
        self.drop_path = DropPath(rate)

    def forward(self, x: Tensor, rng: Rng = None) -> Tensor:
        branch = self.mlp(self.norm(self.conv_dw(x)))
        return x + self.drop_path(branch if self.gamma is None else branch * self.gamma, rng)


class Stage(Module):
    """Blocks on one map, after a convolution that shrinks the map before.   (B, h, w, C) -> (B, h / s, w / s, E)."""

    def __init__(self, before: int, index: int, config: ConvNeXtConfig, rates: np.ndarray, dtype: str):
        channels, stride = config.dims[index], config.strides[index]
        shrinks = stride > 1 or before != channels
        self.downsample = shrinks and Sequence(
            LayerNorm(before, config.norm_eps, dtype),
            Conv(stride, before, channels, None, dtype, stride, "valid", bias=config.conv_bias),
        )
        self.blocks = [Block(channels, config, float(rate), dtype) for rate in rates]

    def forward(self, x: Tensor, rng: Rng = None) -> Tensor:
        x = self.downsample(x) if self.downsample else x
        for block in self.blocks:
            x = block(x, rng)
        return x


class Classifier(Module):
    """(B, h, w, C) -> logits (B, num_classes), or (B, C) without classes: mean over all places, LN, head."""

    def __init__(self, config: ConvNeXtConfig, dtype: str):
        self.norm = None if config.norm_first else LayerNorm(config.width, config.head_eps, dtype)
        self.fc = Head(config.width, config.num_classes, None, dtype) if config.num_classes else None

    def forward(self, x: Tensor, tap: Tap = None) -> Tensor:
        features = x.mean(axis=(1, 2))
        features = self.norm(features) if self.norm else features
        if tap is not None:
            tap["features"] = features
        return self.fc(features) if self.fc else features


class ConvNeXt(Module):
    """The model of `config`. seed=None draws nothing: arrays of zeros, to be counted or filled."""

    def __init__(self, config: ConvNeXtConfig, seed: int | None = 0, dtype: str = "float32"):
        self.config, dims, patch = config, config.dims, config.patch_size
        self.stem = Sequence(
            Conv(patch, config.channels, dims[0], None, dtype, patch, "valid", bias=config.conv_bias),
            LayerNorm(dims[0], config.norm_eps, dtype),
        )
        ends = np.cumsum(config.depths)
        rates = np.split(np.linspace(0, config.drop_path, ends[-1]), ends[:-1])
        before = (dims[0], *dims)
        self.stages = [Stage(before[i], i, config, rates[i], dtype) for i in range(len(dims))]
        self.norm_pre = LayerNorm(config.width, config.head_eps, dtype) if config.norm_first else Sequence()
        self.head = Classifier(config, dtype)
        rng = None if seed is None else np.random.default_rng(seed)
        for name, tensor in self.named_parameters():
            tensor.name = name
            if rng and name.endswith("weight") and not name.startswith("head") and "grn" not in name:
                tensor.data[...] = rng.normal(0, 0.02, tensor.shape)

    def forward(self, images: Tensor | Array, tap: Tap = None, rng: Rng = None) -> Tensor:
        """Logits (B, num_classes), or features (B, C) if the model has no head.

        images: (B, height, width, channels), of any size. tap: a dict that collects "stem", "stage0", ... (B, h, w, C)
        and "features".
        """
        x = self.stem(self.tensor(images))
        if tap is not None:
            tap["stem"] = x
        for i, stage in enumerate(self.stages):
            x = stage(x, rng)
            if tap is not None:
                tap[f"stage{i}"] = x
        return self.head(self.norm_pre(x), tap)


FAMILY = Family(ConvNeXtConfig, ConvNeXt, "convnext(v2)?-.*", functools.partial(variant, VARIANTS))
