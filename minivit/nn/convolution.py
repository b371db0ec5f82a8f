"""Layers of convolutional networks: convolutions, also with standardised weights, and group normalisation."""

from minivit import functional as F
from minivit.backend.windows import Padding
from minivit.nn import initialisers as init
from minivit.nn.module import Module
from minivit.tensor import Tensor


class Conv(Module):
    """Convolution. x: (B, height, width, C) -> (B, rows, columns, E); weight: (window, window, C / groups, E), bias:
    (E,), or None with bias=False. padding and groups are those of `ops.conv2d`; with C = E = groups it is depthwise."""

    def __init__(
        self,
        window: int,
        channels: int,
        filters: int,
        rng: init.Rng,
        dtype: str = "float32",
        stride: int = 1,
        padding: Padding = "same",
        groups: int = 1,
        bias: bool = True,
    ):
        shape = (window, window, channels // groups, filters)
        self.weight = init.parameter(init.lecun_normal(rng, window * window * shape[2], filters).reshape(shape), dtype)
        self.bias = init.parameter(init.constant(0, (filters,)), dtype) if bias else None
        self.stride, self.padding, self.groups = stride, padding, groups

    def forward(self, x: Tensor) -> Tensor:
        y = F.conv2d(x, self.weight, self.stride, self.padding, self.groups)
        return y if self.bias is None else y + self.bias


class StdConv(Module):
    """Convolution whose filters are standardised at every use (Qiao et al. 2019), without bias, "same" padding.
    x: (B, height, width, C) -> (B, ceil(height / stride), ceil(width / stride), E); weight: (window, window, C, E)."""

    def __init__(
        self, window: int, channels: int, filters: int, rng: init.Rng, dtype: str = "float32", stride: int = 1
    ):
        drawn = init.lecun_normal(rng, window * window * channels, filters)
        self.weight = init.parameter(drawn.reshape(window, window, channels, filters), dtype)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, F.standardise(self.weight), self.stride)


class GroupNorm(Module):
    """Normalise each group of channels of each image over all its pixels, then scale and shift (Wu & He 2018).
    x: (B, height, width, C) -> the same shape. gain: initial value of the scale; 0 silences a residual branch."""

    def __init__(self, channels: int, groups: int = 32, dtype: str = "float32", gain: float = 1.0, eps: float = 1e-6):
        self.scale = init.parameter(init.constant(gain, (channels,)), dtype)
        self.bias = init.parameter(init.constant(0, (channels,)), dtype)
        self.groups = groups
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.group_norm(x, self.scale, self.bias, self.groups, self.eps)
