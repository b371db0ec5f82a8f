"""SASA: attention in place of every 3x3 convolution of a ResNet (Ramachandran et al. 2019, "Stand-Alone Self-Attention
in Vision Models", arXiv 1906.05909).

Before ViT. A pixel (i, j) attends to the k x k window around it. In each of H heads, with q, k, v products of the
pixels with matrices without bias, and r the learned embedding of a relative place,

    y_ij = sum over (a, b) in the window  softmax_ab(q_ij k_ab + q_ij r_{a-i, b-j}) v_ab.

The first half of r is that of the row a - i, the second that of the column b - j. A stride is attention, then an
average over 2x2 pixels. In the first layer, the stem, pixels are only colours, so the values depend on the place in the
window: v_ab = sum_m p(a, b, m) x_ab V_m with p(a, b, m) = softmax_m((row_a + column_b) nu_m).

New against ResNet: weights from content; windows of 7x7 with a third of the parameters of a 3x3 convolution. Against
ViT: a window in place of the whole image, relative places in place of absolute ones, no 1 / sqrt(Dh).

Source: the paper; the official repository (google-research/standalone_self_attention_in_vision_models) has no code.
Copies in PyTorch put zeros around the image, so places outside have key 0 and logit q r and take part in the softmax
(border="zeros"). border="masked" gives them weight 0. The network is a ResNet as in torchvision: post-activation,
BatchNorm, zeros at the start in the last scale of each unit, the stride in the middle layer.

B batch, H heads, Dh width of a head, C and E channels, W pixels of a window, M mixtures.
"""

import dataclasses
import functools
from typing import Any, ClassVar

import numpy as np

from minivit import functional as F
from minivit.backend import Array, xp_of
from minivit.backend.windows import window_offsets
from minivit.errors import ConfigError
from minivit.files.checks import one_of
from minivit.lineage.published import variant
from minivit.lineage.residual import ResidualConfig, ResidualNetwork
from minivit.models.families import Family
from minivit.nn import BatchNorm, Linear, Module, patchify
from minivit.nn import initialisers as init
from minivit.nn.bottleneck import SHRINKS, Root
from minivit.nn.layers import Tap
from minivit.nn.windows import whole
from minivit.ops.attend import by_head, weights_between
from minivit.tensor import Tensor

BORDERS = ("zeros", "masked")
PARITY = "a layer with both borders and a stem, outputs and gradients of an independent reference"


def windows(x: Tensor, window: int) -> Tensor:
    """The window around every pixel, zeros outside the image: (B, height, width, C) -> (B, height, width, W, C).

    It begins (window - 1) // 2 pixels above and to the left, and is read row by row.
    """
    before, after = (window - 1) // 2, window // 2
    padded = F.pad(x, ((0, 0), (before, after), (before, after), (0, 0)))
    places = window_offsets((window, window), 1, x.shape[1:3]).values()
    return F.concat(*(padded[place][:, :, :, None] for place in places), axis=3)


def inside(height: int, width: int, window: int, xp: Any = np) -> Array:
    """Which pixels of the windows lie in the image: (height, width, W), booleans."""
    from_start = xp.arange(window) - (window - 1) // 2
    rows, columns = (xp.arange(side)[:, None] + from_start for side in (height, width))
    in_rows, in_columns = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    return (in_rows[:, None, :, None] & in_columns[None, :, None, :]).reshape(height, width, window**2)


class LocalAttention(Module):
    """Every pixel attends to the window around it.   (B, height, width, C) -> (B, height / stride, width / stride, E).

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
        q, places = self.query(x), self.window**2
        k, v = (windows(layer(x), self.window).reshape(-1, places, q.shape[-1]) for layer in (self.key, self.value))
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
        batch, height, width, _ = x.shape
        xp = xp_of(x.data)
        within = inside(height, width, self.window, xp).reshape(-1, 1, 1, self.window**2)
        return xp.tile(within, (batch, 1, 1, 1))


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, heads: int, mask: Array | None, tap: Tap) -> Tensor:
    """Each pixel with its own keys and values.   q: (B, height, width, E), k, v: (B height width, W, E) -> as q."""
    query = q.reshape(len(k.data), 1, -1)
    if tap is not None:
        split = by_head(query.data, heads), by_head(k.data, heads)
        weights = weights_between(*split, None if bias is None else bias.data, mask, 1.0)  # (rows, H, 1, W)
        tap["attention_weights"] = weights.reshape(*q.shape[:3], heads, -1)
    return F.attend(query, k, v, bias, heads=heads, mask=mask, scale=1.0).reshape(*q.shape)


class AttentionStem(Module):
    """Attention whose values depend on the place in the window.   x: (B, height, width, C) -> (B, height, width, E).

    value: (M, C, E), the mixtures; row, column: (window, R), embeddings of the places in a window; mix: (M, R), nu.
    blocks: the windows tile the image, and the pixels of each attend to each other, as in the paper's network; then
    the sides of the image are multiples of the window. Without it every pixel has a window around it.
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
        blocks: bool = False,
    ):
        rank = filters // heads if rank is None else rank
        self.query, self.key = (
            Linear(channels, filters, rng, dtype, weight=init.lecun_normal, bias=False) for _ in range(2)
        )
        drawn = [init.lecun_normal(rng, channels, filters) for _ in range(mixtures)]
        self.value = init.parameter(np.stack(drawn) if rng else init.constant(0, (mixtures, channels, filters)), dtype)
        self.row, self.column = (init.parameter(init.normal(rng, (window, rank), 1.0), dtype) for _ in range(2))
        self.mix = init.parameter(init.normal(rng, (mixtures, rank), 1.0), dtype)
        self.heads, self.window, self.blocks = heads, window, blocks

    def forward(self, x: Tensor, tap: Tap = None) -> Tensor:
        batch, height, width, channels = x.shape
        places, side = self.window**2, self.window
        if not self.blocks:
            seen = windows(x, side).reshape(-1, places, channels)
            y = attend(self.query(x), self.key(seen), self.values(seen, tap), None, self.heads, None, tap)
            return y.reshape(batch, height, width, -1)
        seen = patchify(x, (side, side)).reshape(-1, places, channels)
        y = F.attend(self.query(seen), self.key(seen), self.values(seen, tap), heads=self.heads, scale=1.0)
        return whole(y, (side, side), (height, width))

    def values(self, seen: Tensor, tap: Tap = None) -> Tensor:
        """Every pixel of a window multiplied by the matrix of its place: (rows, W, C) -> (rows, W, E)."""
        mixture, (mixtures, channels, filters) = self.mixture(), self.value.shape
        if tap is not None:
            tap["mixture"] = mixture.reshape(self.window, self.window, mixtures)
        matrices = (mixture @ self.value.reshape(mixtures, -1)).reshape(-1, channels, filters)
        return (seen.transpose(1, 0, 2) @ matrices).transpose(1, 0, 2)

    def mixture(self) -> Tensor:
        """p: the share of each of the M value matrices at every place of the window, (W, M)."""
        places = (self.row[:, None] + self.column[None]).reshape(self.window**2, -1)
        return F.softmax(places @ self.mix.transpose())


@dataclasses.dataclass(frozen=True)
class SASAConfig(ResidualConfig):
    """The shape of a ResNet with attention. Raises ConfigError for parts that do not fit.

    heads, window, border: of every attention layer. root: also "attention", in blocks of 4x4, and a max-pool of 4x4.
    """

    shrinks: ClassVar[dict[str, int]] = {**SHRINKS, "attention": 4}

    heads: int = 8
    window: int = 7
    border: str = "zeros"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % (2 * self.heads):
            raise ConfigError(f"width is {self.width}, expected a multiple of twice the {self.heads} heads")
        one_of(self, border=BORDERS)


UNITS = {26: (1, 2, 4, 1), 38: (2, 3, 5, 2), 50: (3, 4, 6, 3)}
SMALL = {"units": (1, 1, 1), "width": 16, "heads": 4, "window": 3, "image_size": 32, "root": "attention"}
VARIANTS: dict[str, dict[str, Any]] = {
    **{f"sasa-r{layers}": {"units": units, "root": "attention"} for layers, units in UNITS.items()},
    **{f"sasa-r{layers}-conv-stem": {"units": units} for layers, units in UNITS.items()},
    "sasa-small32": SMALL,
}


class SASA(ResidualNetwork):
    """The model of `config`, initialised from `seed`; None draws nothing."""

    def __init__(self, config: SASAConfig, seed: int | None = 0, dtype: str = "float32"):
        rng = None if seed is None else np.random.default_rng(seed)

        def middle(channels: int, stage: int, stride: int) -> list[Module]:
            shape = (channels, channels, config.heads, rng, dtype, config.window, stride, config.border)
            return [LocalAttention(*shape), BatchNorm(channels, dtype)]

        if config.root == "attention":
            root: Module = AttentionRoot(config, rng, dtype)
        else:
            root = Root(config.root, config.channels, config.width, rng, dtype)
        super().__init__(config, root, middle, config.width, rng, dtype)
        self.finish(config.map_channels, rng, dtype)


class AttentionRoot(Module):
    """The stem of the network of attention alone.   (B, height, width, C) -> (B, height / 4, width / 4, E)."""

    def __init__(self, config: SASAConfig, rng: init.Rng, dtype: str):
        self.stem = AttentionStem(config.channels, config.width, config.heads, rng, dtype, blocks=True)
        self.norm = BatchNorm(config.width, dtype)

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(self.norm(self.stem(x)), 4, 4, "valid")


FAMILY = Family(SASAConfig, SASA, "sasa-.*", functools.partial(variant, VARIANTS))
