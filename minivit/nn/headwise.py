"""Attention whose heads come apart, for layers that put something else in the place of softmax(q k^T) v."""

from typing import Any, Self

from minivit.backend import Array
from minivit.nn.layers import MultiHeadAttention, Rng, Tap
from minivit.nn.module import Module
from minivit.ops.attention import attention_weights
from minivit.tensor import Tensor


class HeadwiseAttention(MultiHeadAttention):
    """MultiHeadAttention in which a subclass says, in `attend`, what happens between the projections.

    x: (B, N, D) -> (B, N, D). Names and initial values of the parameters are MultiHeadAttention's. There is no dropout
    of weights: not every subclass has weights.
    """

    @classmethod
    def instead_of(cls, given: Module, **fields: Any) -> Self:
        """A layer of this kind with the projections of `given`, a MultiHeadAttention, and with these attributes."""
        layer = cls.__new__(cls)
        vars(layer).update(vars(given), **fields)
        return layer

    def forward(self, x: Tensor, rng: Rng = None, tap: Tap = None, queries: int | None = None) -> Tensor:
        """queries: only the first so many tokens ask, and have a row in the result: (B, queries, D)."""
        batch, tokens, width = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, width // self.heads).transpose(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        q = q if queries is None else q[:, :, :queries]
        if tap is not None:
            tap.update(self.shown(q.data, k.data))
        y = self.attend(q, k, v)
        return self.out(y.transpose(0, 2, 1, 3).reshape(batch, -1, width))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q: (B, H, M, Dh), k, v: (B, H, N, Dh) -> (B, H, M, Dh)."""
        raise NotImplementedError

    def shown(self, q: Array, k: Array) -> dict[str, Array]:
        """What a tap gets, computed beside: by default "attention_weights", the exact ones (B, H, M, N)."""
        return {"attention_weights": attention_weights(q, k)}
