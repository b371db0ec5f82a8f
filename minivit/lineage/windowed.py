"""Blocks on maps with windows and relative positions, the encoder of ViTDet and of SAM; and maps enlarged.

A score between places i and j of a map or a window gets, beside q_i k_j / sqrt(Dh), two numbers that depend on the
query and on how far the places lie apart, rows and columns each for themselves:

    q_i . T_rows[y_i - y_j + R - 1]  +  q_i . T_columns[x_i - x_j + C - 1],

with the query as it is, not divided by sqrt(Dh). The tables have 2R - 1 and 2C - 1 vectors; heads share them. For maps
of another size they are resized linearly.

B batch, R x C places of a map, D width, H heads, Dh width of a head.
"""

import dataclasses
import math

import numpy as np

from minivit import functional as F
from minivit.backend import Array, xp_of
from minivit.errors import ConfigError
from minivit.files.checks import at_least, epsilon, heads_divide, rates
from minivit.files.fields import settle
from minivit.models.config import Size
from minivit.models.head import Head
from minivit.nn import MLP, Conv, DropPath, LayerNorm, Linear, Module
from minivit.nn import initialisers as init
from minivit.nn.layers import Rng, Tap
from minivit.nn.windows import Pair, whole, windows
from minivit.tensor import Tensor


@dataclasses.dataclass(frozen=True)
class WindowedConfig:
    """The shape of an encoder. Raises ConfigError, in one line, for parts that do not fit.

    image_size: for which blocks that see the whole map have relative positions. window: side in places, 0 for none.
    global_blocks: the numbers of blocks that see the whole map. absolute: whether positions are added to the patches;
    relative: whether scores know relative positions.
    """

    image_size: Size = Size(1024)
    patch_size: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_width: int = 3072
    window: int = 14
    global_blocks: tuple[int, ...] = (2, 5, 8, 11)
    absolute: bool = True
    relative: bool = True
    qkv_bias: bool = True
    drop_path: float = 0.0
    norm_eps: float = 1e-6
    num_classes: int = 0
    channels: int = 3

    def __post_init__(self) -> None:
        settle(self)
        at_least(self, 1, "patch_size", "width", "depth", "heads", "mlp_width", "channels")
        at_least(self, 0, "window", "num_classes")
        rates(self, "drop_path")
        epsilon(self)
        heads_divide(self.width, self.heads)
        self.check_blocks("global_blocks")

    def check_blocks(self, name: str) -> None:
        """A field with numbers of blocks."""
        if not set(getattr(self, name)) <= set(range(self.depth)):
            raise ConfigError(f"{name} is {getattr(self, name)}, expected numbers from 0 to {self.depth - 1}")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the map."""
        height, width = self.image_size
        return height // self.patch_size, width // self.patch_size

    @property
    def num_tokens(self) -> int:
        """The places of the map: the trainer cuts a batch by it."""
        return math.prod(self.grid)


class WindowedEncoder(Module):
    """Patches and blocks of `config`; a subclass has `encode`, and with classes a head on the mean of its map."""

    def __init__(self, config: WindowedConfig, table: tuple[int, ...], rng: init.Rng, dtype: str):
        """table: the shape of positions before the width."""
        self.config, patch, width = config, config.patch_size, config.width
        self.patch_embed = Conv(patch, config.channels, width, rng, dtype, patch, 0)
        if config.absolute:
            self.positions = init.parameter(init.normal(rng, (1, *table, width), 0.02), dtype)
        rates, grid = np.linspace(0, config.drop_path, config.depth), config.grid if config.relative else None
        self.blocks = [
            WindowBlock(
                width, config.heads, config.mlp_width, 0 if i in config.global_blocks else config.window, grid, rng,
                dtype, config.qkv_bias, float(rates[i]), config.norm_eps,
            )
            for i in range(config.depth)
        ]  # fmt: skip

    def finish(self, width: int, rng: init.Rng, dtype: str) -> None:
        """The head, and the names of all arrays.   width: of the last map."""
        classes = self.config.num_classes
        self.head = Head(width, classes, rng, dtype, init.zeros) if classes else None
        for name, tensor in self.named_parameters():
            tensor.name = name

    def forward(self, images: Tensor | Array, tap: Tap = None, rng: Rng = None) -> Tensor:
        """Logits (B, num_classes), or features, the mean of the last map, without a head.   images: (B, height, width,
        channels). tap: a dict that collects "block0", ..., (B, R, C, D), and "features"."""
        features = self.encode(self.tensor(images), tap, rng).mean(axis=(1, 2))
        if tap is not None:
            tap["features"] = features
        return self.head(features) if self.head else features

    def encode(self, images: Tensor, tap: Tap = None, rng: Rng = None) -> Tensor:
        """The last map."""
        raise NotImplementedError


def small(rng: init.Rng, fan_in: int, fan_out: int) -> np.ndarray:
    """The first values of a matrix, with a deviation of 0.02."""
    return init.normal(rng, (fan_in, fan_out), 0.02)


class MapAttention(Module):
    """Every place attends to all of its map.   (B, R, C, D) -> the same shape.

    grid: the map for which there are tables of relative positions, None for attention without.
    """

    def __init__(self, width: int, heads: int, grid: Pair | None, qkv_bias: bool, rng: init.Rng, dtype: str):
        self.heads = heads
        self.qkv = Linear(width, 3 * width, rng, dtype, weight=small, bias=qkv_bias)
        self.out = Linear(width, width, rng, dtype, weight=small)
        if grid:
            self.rows, self.columns = (
                init.parameter(init.constant(0, (2 * side - 1, width // heads)), dtype) for side in grid
            )
        self.relative = grid is not None

    def forward(self, x: Tensor) -> Tensor:
        batch, rows, columns, width = x.shape
        qkv = self.qkv(x.reshape(batch, rows * columns, width))
        q, k, v = (qkv[..., i * width : (i + 1) * width] for i in range(3))
        bias = self.bias(q, (rows, columns)) if self.relative else None
        return self.out(F.attend(q, k, v, bias, heads=self.heads)).reshape(batch, rows, columns, width)

    def bias(self, q: Tensor, size: Pair) -> Tensor:
        """What scores get by place: (B, H, R C, R C).   q: (B, R C, D), size: (R, C)."""
        (rows, columns), batch = size, len(q.data)
        q = q.reshape(batch, rows, columns, self.heads, -1)
        down = products(q.transpose(1, 0, 2, 3, 4), self.rows).transpose(1, 3, 0, 2, 4)  # (B, H, R, C, R)
        across = products(q.transpose(2, 0, 1, 3, 4), self.columns).transpose(1, 3, 2, 0, 4)  # (B, H, R, C, C)
        places = batch, self.heads, rows, columns
        bias = down.reshape(*places, rows, 1) + across.reshape(*places, 1, columns)
        return bias.reshape(batch, self.heads, rows * columns, rows * columns)


def products(q: Tensor, table: Tensor) -> Tensor:
    """The products of queries with the vectors to each place of their axis, their first.   q: (S, ..., Dh) -> (S, ...,
    S)."""
    side, *others, width = q.shape
    found = q.reshape(side, math.prod(others), width) @ between(table, side).transpose(0, 2, 1)
    return found.reshape(side, *others, side)


def between(table: Tensor, side: int) -> Tensor:
    """(L, Dh) -> (side, side, Dh): the vector from every place of an axis, first, to every other."""
    if table.shape[0] != 2 * side - 1:
        table = F.resize(table.reshape(1, table.shape[0], 1, -1), (2 * side - 1, 1), "bilinear")
        table = table.reshape(2 * side - 1, -1)
    place = xp_of(table.data).arange(side)
    return table[place[:, None] - place[None] + side - 1]


class WindowBlock(Module):
    """x + MSA(LN(x)), then + MLP(LN(x)), on a map or inside its windows.   (B, R, C, D) -> the same shape.

    window: its side, 0 for attention over the whole map. Zeros fill the normed map up to whole windows; they are
    attended to, as keys and values that are the biases of the projection. grid: as of `MapAttention`, of the whole map.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        mlp_width: int,
        window: int,
        grid: Pair | None,
        rng: init.Rng,
        dtype: str,
        qkv_bias: bool = True,
        drop_path: float = 0.0,
        eps: float = 1e-6,
    ):
        self.window = window
        self.norm1 = LayerNorm(width, eps, dtype)
        own = (window, window) if grid and window else grid
        self.attention = MapAttention(width, heads, own, qkv_bias, rng, dtype)
        self.norm2 = LayerNorm(width, eps, dtype)
        self.mlp = MLP(width, mlp_width, None, dtype, gelu="erf")
        for layer in (self.mlp.hidden, self.mlp.out):
            layer.weight = init.parameter(small(rng, *layer.weight.shape), dtype)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, rng: Rng = None) -> Tensor:
        x = x + self.drop_path(self.attended(self.norm1(x)), rng)
        return x + self.drop_path(self.mlp(self.norm2(x)), rng)

    def attended(self, x: Tensor) -> Tensor:
        if not self.window:
            return self.attention(x)
        side, (_, rows, columns, width) = self.window, x.shape
        x = filled(x, side)
        size, window = (x.shape[1], x.shape[2]), (side, side)
        parts = self.attention(windows(x, window).reshape(-1, side, side, width))
        return whole(parts.reshape(-1, side * side, width), window, size)[:, :rows, :columns]


def filled(x: Tensor, side: int) -> Tensor:
    """Zeros at the bottom and on the right of a map, up to multiples of `side`."""
    down, right = -x.shape[1] % side, -x.shape[2] % side
    return F.pad(x, ((0, 0), (0, down), (0, right), (0, 0))) if down or right else x


class Enlarge(Module):
    """A transposed convolution of 2 x 2 places at stride 2, which do not overlap: a place becomes four.

    (B, R, C, D) -> (B, 2R, 2C, E); weight: (D, 2, 2, E), bias: (E,).
    """

    def __init__(self, width: int, filters: int, rng: init.Rng, dtype: str = "float32"):
        self.weight = init.parameter(init.lecun_normal(rng, width, 4 * filters).reshape(width, 2, 2, filters), dtype)
        self.bias = init.parameter(init.constant(0, (filters,)), dtype)

    def forward(self, x: Tensor) -> Tensor:
        (batch, rows, columns, width), filters = x.shape, self.bias.shape[0]
        x = F.linear(x, self.weight.reshape(width, 4 * filters))
        x = x.reshape(batch, rows, columns, 2, 2, filters).transpose(0, 1, 3, 2, 4, 5)
        return x.reshape(batch, 2 * rows, 2 * columns, filters) + self.bias


class NormedConv(Module):
    """A convolution without bias that keeps the size, then LN over the channels.   (B, R, C, D) -> (B, R, C, E)."""

    def __init__(self, window: int, width: int, filters: int, rng: init.Rng, dtype: str, eps: float = 1e-6):
        self.conv = Conv(window, width, filters, rng, dtype, padding=window // 2, bias=False)
        self.norm = LayerNorm(filters, eps, dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))
