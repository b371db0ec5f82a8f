"""Attention layers beyond the ViT's own: causal attention, and cross-attention to another sequence."""

from minivit import functional as F
from minivit.backend import Array, xp_of
from minivit.nn import initialisers as init
from minivit.nn.layers import Linear, MultiHeadAttention, Rng, Tap, required
from minivit.nn.module import Module
from minivit.ops.attend import by_head, weights_between
from minivit.ops.dropping import keep_mask
from minivit.tensor import Tensor


class CausalAttention(MultiHeadAttention):
    """Every token attends to itself and to those before it.   x: (B, N, D) -> (B, N, D)."""

    def forward(self, x: Tensor, rng: Rng = None, tap: Tap = None, queries: int | None = None) -> Tensor:
        """queries: only the first `queries` tokens attend and have a row in the result: (B, queries, D)."""
        tokens, width = x.shape[1:]
        qkv = self.qkv(x)
        q, k, v = (qkv[..., i * width : (i + 1) * width] for i in range(3))
        q = q if queries is None else q[:, :queries]
        before = xp_of(x.data).tri(q.shape[1], tokens, dtype=bool)
        note_weights(tap, q, k, self.heads, mask=before)
        keep = factors(self, q, k, rng)
        return self.out(F.attend(q, k, v, heads=self.heads, mask=before, keep=keep))


class CrossAttention(Module):
    """Tokens x attend to another sequence.   x: (B, M, D), context: (B, N, C) -> (B, M, D)."""

    def __init__(
        self,
        width: int,
        heads: int,
        context_width: int,
        rng: init.Rng,
        dtype: str = "float32",
        dropout: float = 0.0,
        bias: bool = True,
    ):
        self.heads = heads
        self.dropout = dropout
        self.query = Linear(width, width, rng, dtype, bias=bias)
        self.key = Linear(context_width, width, rng, dtype, bias=bias)
        self.value = Linear(context_width, width, rng, dtype, bias=bias)
        self.out = Linear(width, width, rng, dtype, bias=bias)

    def forward(
        self,
        x: Tensor,
        context: Tensor,
        rng: Rng = None,
        *,
        values: Tensor | None = None,
        bias: Tensor | None = None,
        mask: Array | None = None,
    ) -> Tensor:
        """values: source of the values, if not `context`, which then gives only the keys: (B, N, C), for example
        without positions. bias, mask: as in `ops.attend`."""
        q, k, v = self.query(x), self.key(context), self.value(context if values is None else values)
        keep = factors(self, q, k, rng)
        return self.out(F.attend(q, k, v, bias, heads=self.heads, mask=mask, keep=keep))


def note_weights(
    tap: Tap, q: Tensor, k: Tensor, heads: int, bias: Tensor | None = None, mask: Array | None = None
) -> None:
    """Put the attention weights, (B, H, M, N), into a tap.   q: (B, M, D), k: (B, N, D). bias, mask: as in
    `ops.attend`."""
    if tap is not None:
        qh, kh = by_head(q.data, heads), by_head(k.data, heads)
        added = None if bias is None else bias.data
        tap["attention_weights"] = weights_between(qh, kh, added, mask, qh.shape[-1] ** -0.5)


def factors(layer: MultiHeadAttention | CrossAttention, q: Tensor, k: Tensor, rng: Rng) -> Array | None:
    """Dropout of the layer's attention weights, None without dropout.   q: (B, M, D), k: (B, N, D)."""
    if not layer.training or layer.dropout == 0:
        return None
    shape = q.shape[0], layer.heads, q.shape[1], k.shape[1]
    return keep_mask(shape, layer.dropout, required(rng, "attention dropout"), layer.out.weight.data)
