"""ResNet-v2 with GroupNorm and weight standardisation (He et al. 2016; BiT, Kolesnikov et al. 2020): the classifier
that the ViT paper compares with.

Each unit normalises and rectifies before it convolves, so that the sum of the branches reaches the head untouched.
Padding is TensorFlow's "same" everywhere, as in the hybrid's stem; the released BiT models pad symmetrically.
"""

import dataclasses
import re
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.backend import Array
from minivit.errors import ConfigError
from minivit.files.fields import settle
from minivit.models.config import Size
from minivit.models.head import Head
from minivit.nn import Module
from minivit.nn import initialisers as init
from minivit.nn.convolution import GroupNorm, StdConv
from minivit.nn.layers import Rng, Tap
from minivit.nn.recompute import recompute
from minivit.tensor import Tensor

# Units per stage, by the number of layers. "R50x2" has twice the width of "R50x1", which has 64.
RESNETS = {26: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


@dataclasses.dataclass(frozen=True)
class ResNetConfig:
    """The shape of a ResNet-v2. Raises ConfigError (a ValueError), in one line, for parts that do not fit.

    units: bottleneck units per stage; each stage but the first halves the map and doubles the channels, which are
    4 width in the first. image_size: (height, width) in pixels; a number stands for both. num_classes 0: no head, the
    model returns features. groups: of every GroupNorm. root: "7x7" (a convolution and a max-pool, each at stride 2) or
    "3x3" (one convolution that keeps the resolution, for images of about 32 pixels).
    """

    units: tuple[int, ...]
    image_size: Size = Size(224)
    width: int = 64
    num_classes: int = 1000
    channels: int = 3
    groups: int = 32
    root: str = "7x7"

    def __post_init__(self) -> None:
        settle(self)
        if not self.units or min(self.units) < 1:
            raise ConfigError(f"units is {self.units}, expected at least 1 in each of at least one stage")
        for name, least in (("width", 1), ("channels", 1), ("groups", 1), ("num_classes", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected at least {least}")
        if self.width % self.groups:
            raise ConfigError(f"{self.groups} groups do not divide width {self.width}")
        if self.root not in ("7x7", "3x3"):
            raise ConfigError(f'root is "{self.root}", expected one of 7x7, 3x3')

    @classmethod
    def variant(cls, name: str, **changes: Any) -> "ResNetConfig":
        """The configuration called "R50x1": layers and widening factor. `changes` replace fields."""
        return cls(**{**resnet_fields(name), **changes})

    @property
    def num_tokens(self) -> int:
        """The number of places in the map of the second stage: the trainer cuts a batch by it, as by a ViT's tokens."""
        shrink = 8 if self.root == "7x7" else 2
        height, width = self.image_size
        return -(-height // shrink) * -(-width // shrink)

    @property
    def description(self) -> str:
        """The model in a few words."""
        return f"ResNet: {'+'.join(map(str, self.units))} units, width {self.width}, root {self.root}"


def resnet_fields(name: str) -> dict[str, Any]:
    """The fields of ResNetConfig that the name of a variant, such as "R50x1", stands for."""
    match = re.fullmatch(r"R([0-9]{1,9})x([0-9]{1,9})", name)
    if not match or int(match[1]) not in RESNETS or not int(match[2]):
        known = ", ".join(f"R{layers}" for layers in RESNETS)
        raise ConfigError(f'unknown ResNet "{name}": expected one of {known} and a widening factor, as R50x1')
    return {"units": RESNETS[int(match[1])], "width": 64 * int(match[2])}


class PreActivationUnit(Module):
    """Residual unit that normalises first: 1x1, 3x3 (which takes the stride) and 1x1 convolution.

    (B, height, width, C) -> (B, height / stride, width / stride, 4 width).
    """

    def __init__(self, channels: int, width: int, stride: int, groups: int, rng: init.Rng, dtype: str):
        self.projects = channels != 4 * width or stride != 1
        self.norm1 = GroupNorm(channels, groups, dtype)
        if self.projects:
            self.shortcut = StdConv(1, channels, 4 * width, rng, dtype, stride)
        self.conv1 = StdConv(1, channels, width, rng, dtype)
        self.norm2 = GroupNorm(width, groups, dtype)
        self.conv2 = StdConv(3, width, width, rng, dtype, stride)
        self.norm3 = GroupNorm(width, groups, dtype)
        self.conv3 = StdConv(1, width, 4 * width, rng, dtype)

    def forward(self, x: Tensor, rng: Rng = None) -> Tensor:
        active = F.relu(self.norm1(x))
        branch = self.conv1(active)
        branch = self.conv2(F.relu(self.norm2(branch)))
        branch = self.conv3(F.relu(self.norm3(branch)))
        return branch + (self.shortcut(active) if self.projects else x)


class ResNet(Module):
    """The model of `config`, initialised from `seed`; the head is zero, so that all logits begin as 0.

    seed=None draws nothing: kernels are zeros that take no memory, to be counted or loaded.
    dtype: "float32" or "float64". recompute_blocks: as in `ViT`, for the units.
    """

    recompute_blocks = False

    def __init__(self, config: ResNetConfig, seed: int | None = 0, dtype: str = "float32"):
        rng = None if seed is None else np.random.default_rng(seed)
        self.config = config
        width, groups = config.width, config.groups
        large = config.root == "7x7"
        self.root = StdConv(7 if large else 3, config.channels, width, rng, dtype, stride=2 if large else 1)
        self.units: list[PreActivationUnit] = []
        channels = width
        for stage, count in enumerate(config.units):
            for unit in range(count):
                stride = 2 if stage > 0 and unit == 0 else 1
                self.units.append(PreActivationUnit(channels, width * 2**stage, stride, groups, rng, dtype))
                channels = 4 * width * 2**stage
        self.norm = GroupNorm(channels, groups, dtype)
        if config.num_classes:
            self.head = Head(channels, config.num_classes, rng, dtype, weight=init.zeros)
        for name, tensor in self.named_parameters():
            tensor.name = name

    def forward(self, images: Tensor | Array, tap: Tap = None, rng: Rng = None) -> Tensor:
        """Logits (B, num_classes), or features (B, C) if the model has no head.

        images: (B, height, width, channels), of any size; an array is brought to the parameters' dtype and device. tap:
        a dict that collects "root", "unit0", ... (B, height, width, C) and "features". rng: unused, since nothing is
        random; a ResNet can so be trained like a ViT.
        """
        images = self.tensor(images)
        x = self.root(images)
        if self.config.root == "7x7":
            x = F.max_pool2d(x)
        if tap is not None:
            tap["root"] = x
        for i, unit in enumerate(self.units):
            if self.recompute_blocks and tap is None:
                x = recompute(unit, x, unit.parameters())
            else:
                x = unit(x)
            if tap is not None:
                tap[f"unit{i}"] = x
        features = F.relu(self.norm(x)).mean(axis=(1, 2))
        if tap is not None:
            tap["features"] = features
        return self.head(features) if self.config.num_classes else features
