"""The Transformer layer of 2017, which normalises after each branch, and attention that does not look at padding."""

from minivit import functional as F
from minivit.backend import Array
from minivit.nn.attention import factors
from minivit.nn.layers import Dropout, LayerNorm, MultiHeadAttention, Rng, Tap
from minivit.nn.module import Module
from minivit.ops.attend import by_head, weights_between
from minivit.tensor import Tensor


class PaddedAttention(MultiHeadAttention):
    """MultiHeadAttention to the tokens that a mask shows.   x: (B, N, D) -> (B, N, D)."""

    def forward(self, x: Tensor, rng: Rng = None, tap: Tap = None, mask: Array | None = None) -> Tensor:
        """mask: booleans that broadcast to (B, H, N, N), True where a query may look; (B, 1, 1, N) for padding."""
        width = x.shape[-1]
        qkv = self.qkv(x)
        q, k, v = (qkv[..., i * width : (i + 1) * width] for i in range(3))
        keep = factors(self, q, k, rng)
        y = F.attend(q, k, v, heads=self.heads, mask=mask, keep=keep)
        if tap is not None:
            qh, kh = by_head(q.data, self.heads), by_head(k.data, self.heads)
            tap["attention_weights"] = weights_between(qh, kh, None, mask, qh.shape[-1] ** -0.5)  # (B, H, N, N)
            tap["attended"] = y  # (B, N, D), before the last projection
        return self.out(y)


class PostNormBlock(Module):
    """One layer of the original Transformer, normalising after each branch.   x: (B, N, D) -> (B, N, D).

    z' = LN(z + MSA(z)),   z'' = LN(z' + MLP(z')).   attention, mlp: called with (x, rng, tap, mask) and (x, rng).
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
        """tap: collects what is inside the attention, "middle" z' and "output" z''."""
        x = self.norm1(x + self.dropout(self.attention(x, rng, tap, mask), rng))
        if tap is not None:
            tap["middle"] = x
        x = self.norm2(x + self.dropout(self.mlp(x, rng), rng))
        if tap is not None:
            tap["output"] = x
        return x
