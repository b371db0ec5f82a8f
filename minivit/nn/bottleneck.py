"""The residual unit of a ResNet with batch normalisation, with any layers in its middle (He et al. 2016)."""

from minivit import functional as F
from minivit.nn import initialisers as init
from minivit.nn.batch_norm import BatchNorm
from minivit.nn.convolution import Conv
from minivit.nn.module import Module
from minivit.tensor import Tensor


class ConvNorm(Module):
    """Convolution without bias and batch normalisation.   (B, height, width, C) -> (B, height / stride, ..., E). gain:
    initial value of the scale; 0 silences a residual branch."""

    def __init__(
        self,
        window: int,
        channels: int,
        filters: int,
        rng: init.Rng,
        dtype: str = "float32",
        stride: int = 1,
        gain: float = 1.0,
    ):
        self.conv = Conv(window, channels, filters, rng, dtype, stride, window // 2, bias=False)
        self.norm = BatchNorm(filters, dtype, gain=gain)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class Bottleneck(Module):
    """relu(branch + shortcut); the branch is 1x1 to `width`, the middle, 1x1 to `filters`, with a relu between.

    (B, height, width, C) -> (B, height / stride, width / stride, filters). middle: layers (..., width) -> (..., width),
    of which one takes the stride.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        filters: int,
        middle: list[Module],
        rng: init.Rng,
        dtype: str = "float32",
        stride: int = 1,
    ):
        self.first = ConvNorm(1, channels, width, rng, dtype)
        self.middle = middle
        self.last = ConvNorm(1, width, filters, rng, dtype, gain=0.0)
        projects = channels != filters or stride != 1
        self.shortcut = ConvNorm(1, channels, filters, rng, dtype, stride) if projects else None

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.first(x))
        for layer in self.middle:
            y = layer(y)
        y = self.last(F.relu(y))
        return F.relu(y + (x if self.shortcut is None else self.shortcut(x)))


SHRINKS = {"7x7": 4, "3x3": 1}  # kinds of Root, and by how much they make the image smaller


class Root(Module):
    """The first layer.   (B, height, width, C) -> (B, height / shrink, width / shrink, E).

    kind: "7x7" (a convolution and a max-pool, each at stride 2) or "3x3" (one convolution that keeps the resolution,
    for images of about 32 pixels).
    """

    def __init__(self, kind: str, channels: int, filters: int, rng: init.Rng, dtype: str = "float32"):
        self.large = kind == "7x7"
        self.layer = ConvNorm(7 if self.large else 3, channels, filters, rng, dtype, stride=2 if self.large else 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.layer(x))
        return F.max_pool2d(x, 3, 2, 1) if self.large else x
