"""SwiGLU: an MLP with a gate on its hidden features."""

from minivit import functional as F
from minivit.nn import initialisers as init
from minivit.nn.layers import Dropout, Linear, Rng
from minivit.nn.module import Module
from minivit.tensor import Tensor


class SwiGLU(Module):
    """y = (silu(x G) * x V) W (Shazeer 2020).   x: (B, N, D) -> (B, N, F) -> (B, N, D). Called as MLP is. F = 8 D / 3
    gives as many parameters as an MLP with F = 4 D."""

    def __init__(
        self, width: int, hidden: int, rng: init.Rng, dtype: str = "float32", dropout: float = 0.0, bias: bool = True
    ):
        self.gate = Linear(width, hidden, rng, dtype, bias=bias)
        self.value = Linear(width, hidden, rng, dtype, bias=bias)
        self.out = Linear(hidden, width, rng, dtype, bias=bias)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, rng: Rng = None) -> Tensor:
        x = self.dropout(F.swiglu(self.gate(x), self.value(x)), rng)
        return self.dropout(self.out(x), rng)
