"""Attention pooling: a learned query reads a sequence (the MAP head of Zhai et al. 2021, arXiv 2106.04560)."""

from minivit import functional as F
from minivit.backend import Array
from minivit.nn import initialisers as init
from minivit.nn.attention import CrossAttention
from minivit.nn.layers import MLP, LayerNorm
from minivit.nn.module import Module
from minivit.tensor import Tensor


class AttentionPool(Module):
    """One row for each sequence, or for several parts of it.   x: (B, N, D) -> (B, M, D).

    y = MHA(probe; x),  z = y + MLP(LN(y)). Nothing is added to the attention's result before the LayerNorm.
    """

    def __init__(
        self, width: int, heads: int, mlp_width: int, rng: init.Rng, dtype: str = "float32", gelu: str = "tanh",
        eps: float = 1e-6,
    ):  # fmt: skip
        self.probe = init.parameter(init.xavier_uniform(rng, 1, width)[None], dtype)
        self.attention = CrossAttention(width, heads, width, rng, dtype)
        self.norm = LayerNorm(width, eps, dtype)
        self.mlp = MLP(width, mlp_width, rng, dtype, gelu=gelu)

    def forward(self, x: Tensor, mask: Array | None = None, parts: int = 1) -> Tensor:
        """parts: M, how often the query asks. mask: (B, 1, M, N), True for the tokens that a part contains; a part of
        none gets the bias of the last projection as y."""
        batch, _, width = x.shape
        y = self.attention(F.broadcast_to(self.probe, (batch, parts, width)), x, mask=mask)
        return y + self.mlp(self.norm(y))
