"""Parts that diffusion Transformers share: norms that a condition steers, features of a time, and images from tokens.

B batch, N tokens, D width, P patch size, C channels.
"""

import math
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.backend import Array, xp_of
from minivit.models import ViTConfig
from minivit.nn import MLP, Embedding, Linear, Module, MultiHeadAttention
from minivit.nn import initialisers as init
from minivit.nn.layers import Rng
from minivit.nn.windows import whole
from minivit.tensor import Tensor

FEATURES = 256  # of a time


def time_features(t: Array, features: int = FEATURES, shift: int = 0) -> Array:
    """[cos t w, sin t w], w_i = 10000^(-i / (F/2 - shift)), i = 0..F/2-1: (B,) -> (B, F), for t about 0..1000."""
    xp, half = xp_of(t), features // 2
    w = xp.exp(xp.arange(half, dtype=t.dtype) * (-math.log(10_000) / (half - shift)))
    angles = t[:, None] * w
    return xp.concatenate([xp.cos(angles), xp.sin(angles)], axis=1)


def small_normal(rng: init.Rng, fan_in: int, fan_out: int) -> np.ndarray:
    """(fan_in, fan_out): normal, standard deviation 0.02."""
    return init.normal(rng, (fan_in, fan_out), 0.02)


class Embedder(Module):
    """y = W_2 silu(W_1 x + b_1) + b_2.   (B, fan_in) -> (B, D)."""

    def __init__(self, fan_in: int, width: int, rng: init.Rng, dtype: str):
        self.hidden = Linear(fan_in, width, rng, dtype, weight=small_normal)
        self.out = Linear(width, width, rng, dtype, weight=small_normal)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.silu(self.hidden(x)))


class Modulation(Module):
    """`count` vectors of D numbers for a condition c: Linear(silu(c)), which is 0 at first.   (B, D) -> (B, 1, D)s."""

    def __init__(self, width: int, count: int, dtype: str):
        self.linear, self.count = Linear(width, count * width, None, dtype, weight=init.zeros), count

    def forward(self, c: Tensor) -> list[Tensor]:
        y = self.linear(F.silu(c))
        width = y.shape[1] // self.count
        return [y[:, None, i * width : (i + 1) * width] for i in range(self.count)]


def normed(x: Tensor, eps: float = 1e-6) -> Tensor:
    """LayerNorm without parameters."""
    xp, width = xp_of(x.data), x.shape[-1:]
    return F.layer_norm(x, xp.ones(width, x.dtype), xp.zeros(width, x.dtype), eps)


def modulated(x: Tensor, shift: Tensor, scale: Tensor, eps: float = 1e-6) -> Tensor:
    """LN(x) (1 + scale) + shift.   x: (B, N, D), shift and scale: (B, 1, D)."""
    return normed(x, eps) * (scale + 1) + shift


class Condition(Module):
    """c = MLP(t) + E[y].   t, y: (B,) -> (B, D). The last row of the table, if `null`, stands for no class."""

    def __init__(self, width: int, classes: int, null: bool, rng: init.Rng, dtype: str, shift: int = 0):
        self.time = Embedder(FEATURES, width, rng, dtype)
        self.classes = Embedding(classes + null, width, rng, dtype)
        self.shift = shift

    def forward(self, t: Array, y: Array) -> Tensor:
        return self.of_time(t) + self.classes(y)

    def of_time(self, t: Array) -> Tensor:
        return self.time(Tensor(time_features(self.like(t), FEATURES, self.shift)))


class DiTBlock(Module):
    """A Transformer layer whose norms and branches a condition steers, adaLN-Zero.   (B, N, D), (B, D) -> (B, N, D)."""

    def __init__(self, config: ViTConfig, rng: init.Rng, dtype: str, mlp_eps: float | None = None):
        width = config.width
        self.attention = MultiHeadAttention(width, config.heads, rng, dtype, config.attention_dropout)
        self.attention.qkv = Linear(width, 3 * width, rng, dtype)  # one xavier matrix, as published
        self.mlp = MLP(width, config.mlp_width, rng, dtype, config.dropout)
        self.modulation = Modulation(width, 6, dtype)
        self.eps, self.mlp_eps = config.norm_eps, mlp_eps or config.norm_eps

    def forward(self, x: Tensor, c: Tensor, rng: Rng = None) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(c)
        x = x + gate1 * self.attention(modulated(x, shift1, scale1, self.eps), rng)
        return x + gate2 * self.mlp(modulated(x, shift2, scale2, self.mlp_eps), rng)


def unpatchify(tokens: Any, grid: tuple[int, int], patch: tuple[int, int]) -> Any:
    """(B, N, P_h P_w C) -> (B, height, width, C), the inverse of `nn.patchify`, of Tensors or arrays."""
    (rows, columns), (height, width) = grid, patch
    channels = tokens.shape[-1] // (height * width)
    return whole(tokens.reshape(-1, height * width, channels), patch, (rows * height, columns * width))


def sines(places: np.ndarray, width: int) -> np.ndarray:
    """[sin p w, cos p w], w_i = 10000^(-i / (D/2)): (...,) -> (..., D)."""
    angles = np.asarray(places, float)[..., None] * 10_000.0 ** -(np.arange(width // 2) / (width // 2))
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)


def places(grid: tuple[int, int], width: int, spacing: float = 1.0) -> np.ndarray:
    """The fixed table (rows, columns, D): half of the features for the column, then half for the row."""
    rows, columns = (sines(np.arange(side) * spacing, width // 2) for side in grid)
    wide = (*grid, width // 2)
    return np.concatenate([np.broadcast_to(columns, wide), np.broadcast_to(rows[:, None], wide)], axis=-1)
