"""The stem of the hybrid models: a ResNet whose feature map takes the place of the image (Dosovitskiy et al. 2020,
section 3.1; sizes of the R models: Steiner et al. 2021).

The residual units are of the first kind (He et al. 2015): the ReLU comes after the sum. Batch normalisation is replaced
by GroupNorm and standardised weights, as in BiT (Kolesnikov et al. 2020).
"""

from minivit import functional as F
from minivit.models.config import ViTConfig
from minivit.nn import Module
from minivit.nn.convolution import GroupNorm, StdConv
from minivit.nn.initialisers import Rng
from minivit.tensor import Tensor


class Bottleneck(Module):
    """Residual unit: 1x1, 3x3 (which takes the stride) and 1x1 convolution; x is projected where the shapes differ.

    (B, height, width, C) -> (B, height / stride, width / stride, 4 width). The branch begins as zero.
    """

    def __init__(self, channels: int, width: int, stride: int, rng: Rng, dtype: str = "float32"):
        self.projects = channels != 4 * width or stride != 1
        if self.projects:
            self.shortcut = StdConv(1, channels, 4 * width, rng, dtype, stride)
            self.shortcut_norm = GroupNorm(4 * width, dtype=dtype)
        self.conv1 = StdConv(1, channels, width, rng, dtype)
        self.norm1 = GroupNorm(width, dtype=dtype)
        self.conv2 = StdConv(3, width, width, rng, dtype, stride)
        self.norm2 = GroupNorm(width, dtype=dtype)
        self.conv3 = StdConv(1, width, 4 * width, rng, dtype)
        self.norm3 = GroupNorm(4 * width, dtype=dtype, gain=0.0)

    def forward(self, x: Tensor) -> Tensor:
        branch = F.relu(self.norm1(self.conv1(x)))
        branch = F.relu(self.norm2(self.conv2(branch)))
        branch = self.norm3(self.conv3(branch))
        return F.relu(branch + (self.shortcut_norm(self.shortcut(x)) if self.projects else x))


class ResNetStem(Module):
    """Image -> feature map: a 7x7 convolution and a max-pool, each at stride 2, then stages of bottleneck units.

    (B, height, width, C) -> (B, height / R, width / R, map_channels); R, config.stem_reduction, is 4 after the root and
    the first stage and doubles with each further one. config.stem: units per stage; stem_width: channels of the root.
    """

    def __init__(self, config: ViTConfig, rng: Rng, dtype: str = "float32"):
        width = config.stem_width
        self.root = StdConv(7, config.channels, width, rng, dtype, stride=2)
        self.root_norm = GroupNorm(width, dtype=dtype)
        self.units: list[Bottleneck] = []
        channels = width
        for stage, count in enumerate(config.stem or ()):
            for unit in range(count):
                stride = 2 if stage > 0 and unit == 0 else 1
                self.units.append(Bottleneck(channels, width * 2**stage, stride, rng, dtype))
                channels = 4 * width * 2**stage

    def forward(self, images: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.root_norm(self.root(images))))
        for unit in self.units:
            x = unit(x)
        return x
