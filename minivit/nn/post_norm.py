"""The Transformer layer of 2017, which normalises after each branch."""

from minivit.backend import Array
from minivit.nn.layers import Dropout, LayerNorm, Rng, Tap
from minivit.nn.module import Module
from minivit.tensor import Tensor


class PostNormBlock(Module):
    """One layer of the original Transformer, normalising after each branch.   x: (B, N, D) -> (B, N, D).

    z' = LN(z + MSA(z)),   z'' = LN(z' + MLP(z')).   attention, mlp: called with (x, rng, tap, mask=mask) and (x, rng).
    """

    def __init__(
        self,
        attention: Module,
        mlp: Module,
        width: int,
        dtype: str = "float32",
        dropout: float = 0.0,
        norm_eps: float = 1e-6,
    ):
        self.attention = attention
        self.norm1 = LayerNorm(width, norm_eps, dtype)
        self.mlp = mlp
        self.norm2 = LayerNorm(width, norm_eps, dtype)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, rng: Rng = None, tap: Tap = None, mask: Array | None = None) -> Tensor:
        """mask: booleans that broadcast to (B, H, N, N), True where a query may look; (B, 1, 1, N) for padding. tap:
        collects what is inside the attention, "middle" z' and "output" z''."""
        x = self.norm1(x + self.dropout(self.attention(x, rng, tap, mask=mask), rng))
        if tap is not None:
            tap["middle"] = x
        x = self.norm2(x + self.dropout(self.mlp(x, rng), rng))
        if tap is not None:
            tap["output"] = x
        return x
