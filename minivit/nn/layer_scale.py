"""LayerScale: a learned factor per feature on a residual branch."""

from minivit.nn import initialisers as init
from minivit.nn.module import Module
from minivit.tensor import Tensor


class LayerScale(Module):
    """y = gamma x.   x: (..., D) -> (..., D); gamma: (D,), all `value` at first, which is small, so that deep models
    begin close to the identity. Source: Touvron et al. 2021, "Going deeper with Image Transformers"."""

    def __init__(self, width: int, value: float, dtype: str = "float32"):
        self.gamma = init.parameter(init.constant(value, (width,)), dtype)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma
