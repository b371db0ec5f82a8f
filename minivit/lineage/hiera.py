"""Hiera (Ryali et al. 2023, "A Hierarchical Vision Transformer without the Bells-and-Whistles", arXiv 2306.00989).

New against ViT: four stages of plain blocks, on maps that shrink by pooling. In the first block of a stage, the queries
are pooled, so that attention itself gives fewer tokens:

    q, k, v = LN(x) W,   y = maxpool(LN(x) W') + Attention(maxpool(q), k, v) W'',   z = y + MLP(LN(y)).

Early stages attend inside mask units, the squares that masked pre-training shows or hides as a whole; late stages
attend globally. No window moves, and no bias tells positions: they are added once, at the beginning.

What makes it fast is the order of the tokens. `unrolled` takes a map apart by the places of a 2 x 2 square, once for
each change of stage. Then pooling is a maximum over four parts of the sequence, and a mask unit is a strided set of it.

Source: facebookresearch/hiera, hiera/hiera.py. Two things there are easily missed: whether a block attends globally
lags by one block, so the first block of stage 3 still attends in units; and the shortcut of a block that widens starts
from the normed x. timm adds a factor per branch (`layer_scale`), positions of a unit beside those of the image
(`unit_positions`; Bolya et al. 2023, arXiv 2311.05613), and a shortcut that pools twice in place of a projection
(`project`). Against the published code: kernels are drawn as a ViT's, and the head and all biases begin as 0.

B batch, N tokens, D width before and E after a block, S queries pooled into one, U mask units.
"""

import dataclasses
import functools
import math
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.backend import Array
from minivit.errors import ConfigError
from minivit.files.checks import at_least, epsilon, leaves_width, one_of, rates
from minivit.files.fields import settle
from minivit.lineage.published import variant
from minivit.models.config import Size
from minivit.models.families import Family
from minivit.models.head import Head
from minivit.nn import MLP, Conv, DropPath, LayerNorm, Linear, Module
from minivit.nn import initialisers as init
from minivit.nn.layer_scale import LayerScale
from minivit.nn.layers import Rng, Tap
from minivit.nn.recompute import recompute
from minivit.tensor import Tensor

PARITY = "logits, loss, blocks and gradients of the published code"
VARIANTS: dict[str, dict[str, Any]] = {
    "hiera-t": {"depths": (1, 2, 7, 2)},
    "hiera-s": {"depths": (1, 2, 11, 2)},
    "hiera-b": {"depths": (2, 3, 16, 3)},
    "hiera-b+": {"depths": (2, 3, 16, 3), "width": 112, "heads": 2},
    "hiera-l": {"depths": (2, 6, 36, 4), "width": 144, "heads": 2},
    "hiera-h": {"depths": (2, 6, 36, 4), "width": 256, "heads": 4},
    "hiera-mini": {"depths": (1, 2, 3), "width": 48, "pools": 2, "unit": 4, "patch_kernel": 2, "patch_size": 2,
                   "patch_padding": (0, 0)},  # for 32 x 32
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class HieraConfig:
    """The shape of a Hiera. Raises ConfigError, in one line, for parts that do not fit.

    depths: blocks per stage. width, heads: of the first stage; a new stage has `widen` times the width and `more_heads`
    times the heads. patch_kernel, patch_size, patch_padding: of the first convolution; patch_size is its stride.
    local: the stages that attend inside mask units. unit: rows and columns of a mask unit, in tokens. pools: how many
    changes of stage pool, pool: what becomes one token there. layer_scale, unit_positions, project: see above.
    image_positions: the grid of the image's positions beside unit_positions. drop_path: of the last block.
    """

    image_size: Size = Size(224)
    depths: tuple[int, ...] = (2, 3, 16, 3)
    width: int = 96
    heads: int = 1
    widen: float = 2.0
    more_heads: float = 2.0
    mlp_ratio: float = 4.0
    local: tuple[bool, ...] = (True, True, False, False)
    unit: Size = Size(8)
    pools: int = 3
    pool: Size = Size(2)
    patch_kernel: int = 7
    patch_size: int = 4
    patch_padding: tuple[int, int] = (3, 3)
    num_classes: int = 1000
    channels: int = 3
    gelu: str = "erf"
    norm_eps: float = 1e-6
    layer_scale: float | None = None
    unit_positions: bool = False
    image_positions: Size = Size(14)
    project: bool = True
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        settle(self)
        stages = len(self.depths)
        at_least(self, 1, "width", "heads", "channels", "patch_kernel", "patch_size")
        if min(self.depths, default=0) < 1 or len(self.local) < stages or not 0 <= self.pools < stages:
            raise ConfigError(f"depths {self.depths} need as many entries of local, and fewer pools than stages")
        for i, (width, heads) in enumerate(self.shapes):
            if heads < 1 or width % heads or (i and width <= self.shapes[i - 1][0]):
                raise ConfigError(f"stage {i + 1} has {heads} heads and width {width}: it must be wider than the last")
        at_least(self, 0, "num_classes")
        epsilon(self)
        leaves_width(self.mlp_ratio, self.width)
        rates(self, "drop_path")
        one_of(self, gelu=("erf", "tanh"))
        for n, pad, by, unit in zip(self.image_size, self.patch_padding, self.pool, self.unit, strict=True):
            rows, wanted = (n + 2 * pad - self.patch_kernel) // self.patch_size + 1, n // self.patch_size
            times = math.lcm(by ** (stages - 1), unit if self.unit_positions else 1)
            if min(pad, rows - 1) < 0 or rows != wanted or rows % times:
                raise ConfigError(
                    f"image_size {n} is {wanted} patches, and the convolution gives {rows} tokens: both must be the "
                    f"same multiple of {times}, since every change of stage divides the map by {by}"
                )
        tokens = self.num_tokens
        for stage, first in enumerate(self.merges):
            unit = math.prod(self.unit) // math.prod(self.merges[: stage + 1])
            if any(self.local[max(0, stage - 1) : stage + 1]) and (unit < 1 or tokens % (unit * first)):
                raise ConfigError(f"units of {self.unit} tokens do not divide a map of {tokens} in stage {stage + 1}")
            tokens //= first

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tokens before the first block."""
        return self.image_size[0] // self.patch_size, self.image_size[1] // self.patch_size

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Width and heads of each stage."""
        found = [(self.width, self.heads)]
        for _ in self.depths[1:]:
            found.append((int(found[-1][0] * self.widen), int(found[-1][1] * self.more_heads)))
        return found

    @property
    def merges(self) -> list[int]:
        """How many tokens become one in the first block of each stage."""
        return [math.prod(self.pool) if 0 < stage <= self.pools else 1 for stage in range(len(self.depths))]

    @property
    def num_tokens(self) -> int:
        """The tokens before the first block: the trainer cuts a batch by it, as by a ViT's tokens."""
        return math.prod(self.grid)

    @property
    def description(self) -> str:
        """The model in a few words."""
        blocks = "+".join(map(str, self.depths))
        return f"Hiera: {blocks} blocks, width {self.width}, units {self.unit[0]}x{self.unit[1]}"


class UnitAttention(Module):
    """Attention inside mask units or among all tokens, with pooled queries.   x: (B, N, D) -> (B, N / S, E).

    merged: S.   unit: tokens of a mask unit after the pooling, None to attend globally.
    """

    def __init__(self, width: int, new: int, heads: int, merged: int, unit: int | None, rng: init.Rng, dtype: str):
        self.heads, self.merged, self.unit = heads, merged, unit
        self.qkv = Linear(width, 3 * new, rng, dtype, weight=init.three_xavier)
        self.out = Linear(new, new, rng, dtype)

    def forward(self, x: Tensor) -> Tensor:
        (batch, tokens, _), new = x.shape, self.out.weight.shape[0]
        units = tokens // (self.merged * self.unit) if self.unit else 1
        qkv = self.qkv(x).reshape(batch, tokens // units, units, 3 * new)  # the unit is the fast axis
        qkv = qkv.transpose(0, 2, 1, 3).reshape(batch * units, tokens // units, 3 * new)
        q, k, v = (qkv[..., i * new : (i + 1) * new] for i in range(3))
        y = F.attend(pooled(q, self.merged), k, v, heads=self.heads)
        y = y.reshape(batch, units, tokens // units // self.merged, new).transpose(0, 2, 1, 3)
        return self.out(y.reshape(batch, tokens // self.merged, new))


class HieraBlock(Module):
    """One Transformer layer, which may pool and widen.   x: (B, N, D) -> (B, N / S, E)."""

    def __init__(self, attention: UnitAttention, config: HieraConfig, rng: init.Rng, dtype: str, drop_path: float):
        width, new = attention.qkv.weight.shape[0], attention.out.weight.shape[0]
        self.widens = width != new
        self.norm1 = LayerNorm(width, config.norm_eps, dtype)
        self.projection = Linear(width, new, rng, dtype) if self.widens and config.project else None
        self.attention = attention
        self.norm2 = LayerNorm(new, config.norm_eps, dtype)
        self.mlp = MLP(new, int(new * config.mlp_ratio), rng, dtype, gelu=config.gelu)
        scale = config.layer_scale
        self.scale1, self.scale2 = (None if scale is None else LayerScale(new, scale, dtype) for _ in range(2))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, rng: Rng = None) -> Tensor:
        normed = self.norm1(x)
        branch, x = self.attention(normed), self.shortcut(x, normed) if self.widens else x
        x = x + self.drop_path(self.scale1(branch) if self.scale1 else branch, rng)
        branch = self.mlp(self.norm2(x), rng)
        return x + self.drop_path(self.scale2(branch) if self.scale2 else branch, rng)

    def shortcut(self, x: Tensor, normed: Tensor) -> Tensor:
        """What the branch of a block that widens is added to: (B, N / S, E)."""
        merged = self.attention.merged
        if self.projection:
            return pooled(self.projection(normed), merged)
        return F.concat(pooled(x, merged), apart(x, merged).mean(axis=1), axis=-1)


class Hiera(Module):
    """The model of `config`, initialised from `seed`, None to draw nothing. recompute_blocks: as in `ViT`."""

    recompute_blocks = False

    def __init__(self, config: HieraConfig, seed: int | None = 0, dtype: str = "float32"):
        rng = None if seed is None else np.random.default_rng(seed)
        self.config, width = config, config.width
        self.patch_embed = Conv(
            config.patch_kernel, config.channels, width, rng, dtype, config.patch_size, config.patch_padding
        )
        grid = config.image_positions if config.unit_positions else config.grid
        self.position_embedding = init.parameter(init.normal(rng, (1, *grid, width), 0.02), dtype)
        if config.unit_positions:
            self.unit_embedding = init.parameter(init.normal(rng, (1, *config.unit, width), 0.02), dtype)
        self.blocks: list[HieraBlock] = []
        unit, local, last = math.prod(config.unit), config.local[0], max(1, sum(config.depths) - 1)
        for stage, (new, heads) in enumerate(config.shapes):
            for i in range(config.depths[stage]):
                merged = 1 if i else config.merges[stage]
                unit //= merged
                attention = UnitAttention(width, new, heads, merged, unit if local else None, rng, dtype)
                rate = config.drop_path * len(self.blocks) / last
                self.blocks.append(HieraBlock(attention, config, rng, dtype, rate))
                width, local = new, config.local[stage]  # so the first block of a stage does as the stage before
        self.norm = LayerNorm(width, config.norm_eps, dtype)
        if config.num_classes:
            self.head = Head(width, config.num_classes, rng, dtype, weight=init.zeros)
        for name, tensor in self.named_parameters():
            tensor.name = name

    def forward(self, images: Tensor | Array, tap: Tap = None, rng: Rng = None) -> Tensor:
        """Logits (B, num_classes), or features (B, 8D with four stages) if the model has no head.

        images: (B, height, width, channels) of the config's size, an array or a Tensor. tap: a dict that collects
        "embeddings", "block0", ..., (B, N, D) in unrolled order.
        """
        features = self.norm(self.encode(self.tensor(images), tap, rng).mean(axis=1))
        return self.head(features) if self.config.num_classes else features

    def encode(self, images: Tensor, tap: Tap = None, rng: Rng = None, shown: Array | None = None) -> Tensor:
        """The tokens after the last block, unrolled: (B, N', E).   shown: (B, U') the numbers of the mask units that
        are not hidden, None for all; the pixels of others must be 0, since patches overlap."""
        x = self.embed(images)
        if shown is not None:
            x = select_units(x, math.prod(self.config.unit), shown)
        if tap is not None:
            tap["embeddings"] = x
        for i, block in enumerate(self.blocks):
            again = self.recompute_blocks and tap is None
            x = recompute(block, x, block.parameters(), rng) if again else block(x, rng)
            if tap is not None:
                tap[f"block{i}"] = x
        return x

    def embed(self, images: Tensor) -> Tensor:
        """Images -> tokens with positions, unrolled: (B, N, D)."""
        config, positions = self.config, self.position_embedding
        if config.unit_positions:
            (rows, columns), (high, wide) = config.grid, config.unit
            tiles = (1, rows // high, high, columns // wide, wide, config.width)
            own = F.broadcast_to(self.unit_embedding.reshape(1, 1, high, 1, wide, config.width), tiles)
            positions = F.resize(positions, config.grid, "bicubic_antialias") + own.reshape(1, rows, columns, -1)
        return unrolled(self.patch_embed(images) + positions, config.pool, len(config.depths) - 1)


def unrolled(x: Tensor, by: tuple[int, int], times: int) -> Tensor:
    """(B, R, C, D) -> (B, R C, D), taken apart `times` by the places of a rectangle of `by`: the tokens at its first
    place in all rectangles come first, so the first of equal parts hold what pools into one."""
    batch, rows, columns, width = x.shape
    for _ in range(times):
        before, r, c = x.shape[0], x.shape[1] // by[0], x.shape[2] // by[1]
        x = x.reshape(before, r, by[0], c, by[1], width).transpose(0, 2, 4, 1, 3, 5)
        x = x.reshape(before * by[0] * by[1], r, c, width)
    return x.reshape(batch, rows * columns, width)


def apart(x: Tensor, merged: int) -> Tensor:
    """(B, N, D) -> (B, S, N / S, D): the tokens that become one along axis 1."""
    return x.reshape(x.shape[0], merged, x.shape[1] // merged, x.shape[2])


def pooled(x: Tensor, merged: int) -> Tensor:
    """(B, N, D) -> (B, N / S, D), the maximum over tokens that become one."""
    return F.max(apart(x, merged), axis=1) if merged > 1 else x


def select_units(x: Tensor, unit: int, shown: Array) -> Tensor:
    """Of unrolled tokens those of some mask units.   x: (B, N, D), shown: (B, U') -> (B, N U' / U, D)."""
    batch, tokens, width = x.shape
    x = x.reshape(batch, unit, tokens // unit, width).transpose(0, 2, 1, 3)
    x = F.select(x, shown).transpose(0, 2, 1, 3)
    return x.reshape(batch, unit * shown.shape[1], width)


FAMILY = Family(HieraConfig, Hiera, "hiera-.*", functools.partial(variant, VARIANTS))
