"""LayerNorm with less: without a shift, or without the mean as well (RMSNorm)."""

from minivit import functional as F
from minivit.nn import initialisers as init
from minivit.nn.module import Module
from minivit.tensor import Tensor


class ScaleNorm(Module):
    """Normalise every token to mean 0, variance 1, then scale.   x: (..., D) -> (..., D). As in ViT-22B and NaViT."""

    def __init__(self, width: int, eps: float = 1e-6, dtype: str = "float32"):
        self.scale = init.parameter(init.constant(1, (width,)), dtype)
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.scale, Tensor(0 * self.scale.data), self.eps)


class RMSNorm(ScaleNorm):
    """Divide every token by its root mean square, then scale.   x: (..., D) -> (..., D). Zhang & Sennrich 2019."""

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.scale, self.eps)
