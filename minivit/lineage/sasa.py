"""SASA: attention in place of every 3x3 convolution of a ResNet (Ramachandran et al. 2019, "Stand-Alone Self-Attention
in Vision Models", arXiv 1906.05909).

Before ViT. A pixel (i, j) attends to the k x k window around it. In each of H heads, with q, k, v products of the
pixels with matrices without bias, and r the learned embedding of a relative place,

    y_ij = sum over (a, b) in the window  softmax_ab(q_ij k_ab + q_ij r_{a-i, b-j}) v_ab.

The first half of r is that of the row a - i, the second that of the column b - j. There is no 1 / sqrt(Dh). A stride is
attention, then an average over 2x2 pixels. In the first layer, the stem, pixels are only colours, so the values depend
on the place in the window: v_ab = sum_m p(a, b, m) x_ab V_m with p(a, b, m) = softmax_m((row_a + column_b) nu_m).

New against ResNet: weights from content, in windows of 7x7 at the price of 3x3. Against ViT: a window, not the whole
image, and relative places instead of absolute ones.

Source: the paper; the official repository (google-research/standalone_self_attention_in_vision_models) has no code.
Copies in PyTorch put zeros around the image, so places outside have key 0 and logit q r and take part in the softmax
(border="zeros"). border="masked" gives them weight 0. The network is a ResNet as in torchvision: post-activation,
BatchNorm, zeros at the start in the last scale of each unit, the stride in the middle layer.

B batch, H heads, Dh width of a head, C and E channels, W pixels of a window, M mixtures.
"""

import dataclasses
import re
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.backend import Array, xp_of
from minivit.backend.windows import add_border, window_offsets
from minivit.errors import ConfigError
from minivit.files.fields import settle
from minivit.models.config import Size
from minivit.models.head import Head
from minivit.nn import BatchNorm, Conv, Linear, Module
from minivit.nn import initialisers as init
from minivit.nn.layers import Rng, Tap
from minivit.ops.attend import by_head, weights_between
from minivit.tensor import Tensor

PARITY = "a layer with both borders and a stem, outputs and gradients of an independent reference"


def windows(x: Tensor, window: int) -> Tensor:
    """The window around every pixel, zeros outside the image: (B, height, width, C) -> (B, height, width, W, C).

    It begins (window - 1) // 2 pixels above and to the left, and is read row by row.
    """
    before, after = (window - 1) // 2, window // 2
    padded = F.pad(x, ((0, 0), (before, after), (before, after), (0, 0)))
    places = window_offsets((window, window), 1, x.shape[1:3]).values()
    return F.concat(*(padded[place][:, :, :, None] for place in places), axis=3)


def inside(size: tuple[int, int], window: int) -> np.ndarray:
    """Which pixels of the windows lie in an image of this size: (height, width, W)."""
    bordered, _, count = add_border(np.ones((1, *size, 1)), (window, window), 1, "same")
    places = window_offsets((window, window), 1, count).values()
    return np.concatenate([bordered[place] for place in places], axis=3)[0] > 0


class LocalAttention(Module):
    """Every pixel attends to the window around it.   x: (B, height, width, C) -> (B, height / stride, width / stride, E).

    row_relative, column_relative: (H, Dh / 2, window), the halves of r; index 0 is the top row, the leftmost column.
    """

    def __init__(
        self,
        channels: int,
        filters: int,
        heads: int,
        rng: init.Rng,
        dtype: str = "float32",
        window: int = 7,
        stride: int = 1,
        border: str = "zeros",
    ):
        if filters % (2 * heads):
            raise ConfigError(f"{filters} filters are not a multiple of twice the {heads} heads")
        self.query, self.key, self.value = (
            Linear(channels, filters, rng, dtype, weight=init.lecun_normal, bias=False) for _ in range(3)
        )
        half = filters // heads // 2
        self.row_relative = init.parameter(init.normal(rng, (heads, half, window), 1.0), dtype)
        self.column_relative = init.parameter(init.normal(rng, (heads, half, window), 1.0), dtype)
        self.heads, self.window, self.stride, self.border = heads, window, stride, border

    def forward(self, x: Tensor, tap: Tap = None) -> Tensor:
        q, k, v = self.query(x), windows(self.key(x), self.window), windows(self.value(x), self.window)
        mask = None if self.border == "zeros" else self.mask(x)
        y = attend(q, k, v, self.relative(q), self.heads, mask, tap)
        return y if self.stride == 1 else F.avg_pool2d(y, self.stride, self.stride)

    def relative(self, q: Tensor) -> Tensor:
        """q r for every place of the window, with q r = q_1 r_row + q_2 r_column: (B height width, H, 1, W)."""
        rows, half = q.size // q.shape[-1], self.row_relative.shape[1]
        by_half = q.reshape(rows, self.heads, 2, half).transpose(2, 1, 0, 3)  # (2, H, rows, Dh / 2)
        in_row = (by_half[0] @ self.row_relative)[..., None]
        in_column = (by_half[1] @ self.column_relative)[:, :, None, :]
        return (in_row + in_column).transpose(1, 0, 2, 3).reshape(rows, self.heads, 1, self.window**2)

    def mask(self, x: Tensor) -> Array:
        """True where a place of a window lies in the image: (B height width, 1, 1, W)."""
        batch, *size, _ = x.shape
        xp = xp_of(x.data)
        within = xp.asarray(inside((size[0], size[1]), self.window)).reshape(-1, 1, 1, self.window**2)
        return xp.tile(within, (batch, 1, 1, 1))


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, heads: int, mask: Array | None, tap: Tap) -> Tensor:
    """Each pixel with its own keys and values.   q: (B, height, width, E), k, v: (B, height, width, W, E) -> as q."""
    rows, places, width = q.size // q.shape[-1], *k.shape[3:]
    query, key, value = q.reshape(rows, 1, width), k.reshape(rows, places, width), v.reshape(rows, places, width)
    if tap is not None:
        split = by_head(query.data, heads), by_head(key.data, heads)
        weights = weights_between(*split, None if bias is None else bias.data, mask, 1.0)  # (rows, H, 1, W)
        tap["attention_weights"] = weights.reshape(*q.shape[:3], heads, places)
    return F.attend(query, key, value, bias, heads=heads, mask=mask, scale=1.0).reshape(*q.shape)


class AttentionStem(Module):
    """Attention whose values depend on the place in the window.   x: (B, height, width, C) -> (B, height, width, E).

    value: (M, C, E), the mixtures; row, column: (window, R), embeddings of the places in a window; mix: (M, R), nu.
    """

    def __init__(
        self,
        channels: int,
        filters: int,
        heads: int,
        rng: init.Rng,
        dtype: str = "float32",
        window: int = 4,
        mixtures: int = 4,
        rank: int | None = None,
    ):
        rank = filters // heads if rank is None else rank
        self.query, self.key = (
            Linear(channels, filters, rng, dtype, weight=init.lecun_normal, bias=False) for _ in range(2)
        )
        drawn = [init.lecun_normal(rng, channels, filters) for _ in range(mixtures)]
        self.value = init.parameter(np.stack(drawn) if rng else init.constant(0, (mixtures, channels, filters)), dtype)
        self.row, self.column = (init.parameter(init.normal(rng, (window, rank), 1.0), dtype) for _ in range(2))
        self.mix = init.parameter(init.normal(rng, (mixtures, rank), 1.0), dtype)
        self.heads, self.window = heads, window

    def forward(self, x: Tensor, tap: Tap = None) -> Tensor:
        batch, height, width, channels = x.shape
        mixture, places, filters = self.mixture(), self.window**2, self.value.shape[-1]
        if tap is not None:
            tap["mixture"] = mixture.reshape(self.window, self.window, -1)
        at_place = (mixture @ self.value.reshape(len(self.value.data), -1)).reshape(places, channels, filters)
        seen = windows(x, self.window).reshape(-1, places, channels).transpose(1, 0, 2)  # (W, rows, C)
        v = (seen @ at_place).transpose(1, 0, 2).reshape(batch, height, width, places, filters)
        return attend(self.query(x), windows(self.key(x), self.window), v, None, self.heads, None, tap)

    def mixture(self) -> Tensor:
        """p: the share of each of the M value matrices at every place of the window, (W, M)."""
        places = (self.row[:, None] + self.column[None]).reshape(self.window**2, -1)
        return F.softmax(places @ self.mix.transpose())
