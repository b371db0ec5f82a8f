"""The layers of a ViT encoder, each a thin owner of parameters around one or two ops.

B batch, N tokens, D width, H heads, F MLP width. Initial values are those of the published code. Random masks come
from the generator `rng` given to `forward`; it is needed only in training mode with a rate above 0.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.backend import Array
from minivit.nn import initialisers as init
from minivit.nn.layer_scale import LayerScale
from minivit.nn.module import Module
from minivit.ops.attention import attention_weights, split_heads
from minivit.ops.dropping import Draws, keep_mask
from minivit.tensor import Tensor

Rng = Draws | None
Tap = dict[str, "Tensor | Array"] | None


class Linear(Module):
    """y = x W + b.   x: (..., fan_in) -> (..., fan_out); weight: (fan_in, fan_out), bias: (fan_out,) or None."""

    def __init__(
        self,
        fan_in: int,
        fan_out: int,
        rng: init.Rng,
        dtype: str = "float32",
        weight: Callable[[init.Rng, int, int], np.ndarray] = init.xavier_uniform,
        bias_std: float = 0.0,
        bias: bool = True,
    ):
        self.weight = init.parameter(weight(rng, fan_in, fan_out), dtype)
        self.bias: Any = init.parameter(init.normal(rng, (fan_out,), bias_std), dtype) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class LayerNorm(Module):
    """Normalise every token to mean 0, variance 1, then scale and shift.   x: (..., D) -> (..., D)."""

    def __init__(self, width: int, eps: float = 1e-6, dtype: str = "float32"):
        self.scale = init.parameter(init.constant(1, (width,)), dtype)
        self.bias = init.parameter(init.constant(0, (width,)), dtype)
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.scale, self.bias, self.eps)


class Dropout(Module):
    """Set elements to zero with probability `rate` while training.   x: any shape."""

    def __init__(self, rate: float):
        self.rate = rate

    def forward(self, x: Tensor, rng: Rng = None) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        return F.dropout(x, self.rate, required(rng, "Dropout"))


class DropPath(Module):
    """Leave out a residual branch for whole samples with probability `rate` while training (stochastic depth, Huang
    et al. 2016).   x: (B, ...)."""

    def __init__(self, rate: float):
        self.rate = rate

    def forward(self, x: Tensor, rng: Rng = None) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        return F.drop_path(x, self.rate, required(rng, "DropPath"))


class MultiHeadAttention(Module):
    """MSA (Eq. 5-8): project to queries, keys and values, attend per head, project back.   x: (B, N, D) -> (B, N, D).

    The three D x D projections are stored side by side in one (D, 3D) weight, each initialised for itself.
    """

    def __init__(
        self, width: int, heads: int, rng: init.Rng, dtype: str = "float32", dropout: float = 0.0, qkv_bias: bool = True
    ):
        self.heads = heads
        self.dropout = dropout
        self.qkv = Linear(width, 3 * width, rng, dtype, weight=init.three_xavier, bias=qkv_bias)
        self.out = Linear(width, width, rng, dtype)

    def forward(self, x: Tensor, rng: Rng = None, tap: Tap = None, queries: int | None = None) -> Tensor:
        """queries: only the first so many tokens ask, and have a row in the result: (B, queries, D)."""
        qkv = self.qkv(x)
        if tap is not None:
            q, k, _ = split_heads(qkv.data, self.heads)
            tap["attention_weights"] = attention_weights(q, k)  # (B, H, N, N)
        if not self.training or self.dropout == 0:
            return self.out(F.attention(qkv, self.heads, queries=queries))
        batch, tokens, _ = x.shape
        mask_shape = (batch, self.heads, queries or tokens, tokens)
        keep = keep_mask(mask_shape, self.dropout, required(rng, "attention dropout"), x.data)
        return self.out(F.attention(qkv, self.heads, keep=keep, queries=queries))


class MLP(Module):
    """Two dense layers with a GELU between.   x: (B, N, D) -> (B, N, F) -> (B, N, D)."""

    def __init__(
        self, width: int, hidden: int, rng: init.Rng, dtype: str = "float32", dropout: float = 0.0, gelu: str = "tanh"
    ):
        self.hidden = Linear(width, hidden, rng, dtype, bias_std=1e-6)
        self.out = Linear(hidden, width, rng, dtype, bias_std=1e-6)
        self.dropout = Dropout(dropout)
        self.gelu = gelu

    def forward(self, x: Tensor, rng: Rng = None) -> Tensor:
        x = self.dropout(F.linear_gelu(x, self.hidden.weight, self.hidden.bias, self.gelu), rng)
        return self.dropout(self.out(x), rng)


class EncoderBlock(Module):
    """One Transformer layer, normalising before each branch (Eq. 2 and 3).   x: (B, N, D) -> (B, N, D).

    z' = MSA(LN(z)) + z,   z'' = MLP(LN(z')) + z'.   attention, mlp: the branches, called with (x, rng, tap, queries)
    and with (x, rng). layer_scale: initial value of a learned factor per feature on both branches, None for none.
    """

    def __init__(
        self,
        attention: Module,
        mlp: Module,
        width: int,
        dtype: str = "float32",
        dropout: float = 0.0,
        drop_path: float = 0.0,
        norm_eps: float = 1e-6,
        layer_scale: float | None = None,
    ):
        self.norm1 = LayerNorm(width, norm_eps, dtype)
        self.attention = attention
        self.norm2 = LayerNorm(width, norm_eps, dtype)
        self.mlp = mlp
        self.dropout = Dropout(dropout)
        self.drop_path = DropPath(drop_path)
        self.scale1, self.scale2 = (layer_scale and LayerScale(width, layer_scale, dtype) for _ in range(2))

    def forward(self, x: Tensor, rng: Rng = None, tap: Tap = None, queries: int | None = None) -> Tensor:
        """queries: compute the first so many tokens only: (B, queries, D). The others still give keys and values."""
        branch = self.dropout(self.attention(self.norm1(x), rng, tap, queries), rng)
        branch = self.scale1(branch) if self.scale1 else branch
        x = (x if queries is None else x[:, :queries]) + self.drop_path(branch, rng)
        branch = self.mlp(self.norm2(x), rng)
        branch = self.scale2(branch) if self.scale2 else branch
        x = x + self.drop_path(branch, rng)
        if tap is not None:
            tap["output"] = x
        return x


class PatchEmbed(Module):
    """Cut images into patches and project each (Eq. 1: x_p E).   (B, height, width, C) -> (B, N, D).

    Equal to a convolution with kernel size and stride P; row i of the weight is pixel i of a patch in the order
    (row, column, channel).
    """

    def __init__(self, patch: tuple[int, int], channels: int, width: int, rng: init.Rng, dtype: str = "float32"):
        self.patch = patch
        self.projection = Linear(patch[0] * patch[1] * channels, width, rng, dtype, weight=init.lecun_normal)

    def forward(self, images: Tensor) -> Tensor:
        return self.projection(patchify(images, self.patch))


def patchify(images: Tensor, patch: tuple[int, int]) -> Tensor:
    """(B, height, width, C) -> (B, N, P_h P_w C): patches row by row, the pixels of each in order (row, column,
    channel). Raises ValueError if the patches do not tile the image."""
    batch, height, width, channels = images.shape
    rows, cols = height // patch[0], width // patch[1]
    if (rows * patch[0], cols * patch[1]) != (height, width):
        raise ValueError(f"patchify: patches {patch[0]}x{patch[1]} do not tile images of {height}x{width}")
    tiles = images.reshape(batch, rows, patch[0], cols, patch[1], channels)
    return tiles.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows * cols, patch[0] * patch[1] * channels)


def required(rng: Rng, layer: str) -> Draws:
    """The generator, or ValueError saying where to pass one."""
    if rng is None:
        raise ValueError(
            f"{layer}: in training mode it draws a mask; pass rng=numpy.random.default_rng(seed), or eval()"
        )
    return rng
