"""Layers of mobile convolutional networks: normalisation with an activation, squeeze and excitation."""

from collections.abc import Callable
from functools import partial

from minivit import functional as F
from minivit.nn import initialisers as init
from minivit.nn.batch_norm import BatchNorm
from minivit.nn.layers import Linear
from minivit.nn.module import Module
from minivit.tensor import Tensor

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "relu": F.relu,
    "silu": F.silu,
    "gelu": partial(F.gelu, form="erf"),
    "gelu_tanh": partial(F.gelu, form="tanh"),
}


class NormAct(BatchNorm):
    """Batch normalisation, then an activation of `ACTIVATIONS`.   x: (..., C) -> the same shape."""

    def __init__(
        self, channels: int, act: str, dtype: str = "float32", momentum: float = 0.1, eps: float = 1e-5, gain: float = 1
    ):
        super().__init__(channels, dtype, momentum, eps, gain)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        return ACTIVATIONS[self.act](super().forward(x))


class SqueezeExcite(Module):
    """Every channel times a number between 0 and 1 that depends on the means of all channels (Hu et al. 2017).

    x: (B, height, width, C) -> the same shape: x sigmoid(W2 act(W1 m + b1) + b2), m the mean over all places; W1: (C,
    squeezed), W2: (squeezed, C).
    """

    def __init__(self, channels: int, squeezed: int, rng: init.Rng, dtype: str = "float32", act: str = "silu"):
        self.reduce = Linear(channels, squeezed, rng, dtype)
        self.expand = Linear(squeezed, channels, rng, dtype)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        squeezed = ACTIVATIONS[self.act](self.reduce(x.mean(axis=(1, 2), keepdims=True)))
        return x * F.sigmoid(self.expand(squeezed))
