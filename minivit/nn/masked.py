"""Attention with a mask, a bias or normalised queries and keys, and a Transformer block around it."""

import functools
from collections.abc import Sequence
from typing import Any

from minivit import functional as F
from minivit.backend import Array
from minivit.nn import initialisers as init
from minivit.nn.attention import factors, note_weights
from minivit.nn.layers import EncoderBlock, Linear, MultiHeadAttention, Rng, Tap
from minivit.nn.module import Module
from minivit.nn.recompute import recompute
from minivit.tensor import Tensor


class MaskedAttention(MultiHeadAttention):
    """MSA with a bias or a mask on the scores.   x: (B, N, D) -> (B, N, D).

    q_norm, k_norm: applied to the queries and keys of every head (QK-norm), None for none. bias=False: no biases.
    """

    def __init__(
        self, width: int, heads: int, rng: init.Rng, dtype: str = "float32", dropout: float = 0.0,
        qkv_bias: bool = True, out_bias: bool = True, q_norm: Module | None = None, k_norm: Module | None = None,
    ):  # fmt: skip
        super().__init__(width, heads, rng, dtype, dropout, qkv_bias)
        self.q_norm, self.k_norm = q_norm, k_norm
        if not out_bias:
            self.out.bias = None

    def forward(  # type: ignore[override]
        self, x: Tensor, rng: Rng = None, tap: Tap = None, bias: Tensor | None = None, mask: Array | None = None
    ) -> Tensor:
        """bias, mask: as in `ops.attend`. tap: also collects "attended", (B, N, D), before the last projection."""
        if tap is None and bias is None and mask is None and self.q_norm is None and self.k_norm is None:
            return super().forward(x, rng)
        width, qkv = x.shape[-1], self.qkv(x)
        q, k, v = (qkv[..., i * width : (i + 1) * width] for i in range(3))
        q, k = self._normed(q, self.q_norm), self._normed(k, self.k_norm)
        note_weights(tap, q, k, self.heads, bias, mask)
        y = F.attend(q, k, v, bias, heads=self.heads, mask=mask, keep=factors(self, q, k, rng))
        if tap is not None:
            tap["attended"] = y
        return self.out(y)

    def _normed(self, x: Tensor, norm: Module | None) -> Tensor:
        if norm is None:
            return x
        batch, tokens, width = x.shape
        return norm(x.reshape(batch, tokens, self.heads, width // self.heads)).reshape(batch, tokens, width)


class MaskedBlock(EncoderBlock):
    """An encoder block with a `MaskedAttention`.   x: (B, N, D) -> (B, N, D)."""

    scale1: Any
    scale2: Any

    def forward(  # type: ignore[override]
        self, x: Tensor, rng: Rng = None, tap: Tap = None, bias: Tensor | None = None, mask: Array | None = None
    ) -> Tensor:
        """bias, mask: as in `ops.attend`."""
        branch = self.dropout(self.attention(self.norm1(x), rng, tap, bias, mask), rng)
        x = x + self.drop_path(self.scale1(branch) if self.scale1 else branch, rng)
        branch = self.mlp(self.norm2(x), rng)
        x = x + self.drop_path(self.scale2(branch) if self.scale2 else branch, rng)
        if tap is not None:
            tap["output"] = x
        return x


def through(
    blocks: Sequence[MaskedBlock], x: Tensor, rng: Rng, tap: Tap, again: bool, bias: Tensor | None = None,
    mask: Array | None = None,
) -> Tensor:  # fmt: skip
    """x after all blocks.   tap: gets "block0/output" and so on. again: each block keeps only its input for the
    backward pass and is computed again there, unless there is a tap. bias, mask: as in `ops.attend`."""
    for i, block in enumerate(blocks):
        if again and tap is None:
            x = recompute(functools.partial(block, bias=bias, mask=mask), x, block.parameters(), rng)
            continue
        inner: Tap = None if tap is None else {}
        x = block(x, rng, inner, bias, mask)
        for name, value in (inner or {}).items():
            tap[f"block{i}/{name}"] = value  # type: ignore[index]
    return x


class BiasFreeMLP(Module):
    """Two dense layers without biases, a GELU between.   (B, N, D) -> (B, N, F) -> (B, N, D)."""

    def __init__(self, width: int, hidden: int, rng: init.Rng, dtype: str = "float32", gelu: str = "tanh"):
        self.hidden = Linear(width, hidden, rng, dtype, bias=False)
        self.out = Linear(hidden, width, rng, dtype, bias=False)
        self.gelu = gelu

    def forward(self, x: Tensor, rng: Rng = None) -> Tensor:
        return self.out(F.gelu(self.hidden(x), self.gelu))
