"""Swin Transformer (Liu et al. 2021, "Hierarchical Vision Transformer using Shifted Windows", arXiv 2103.14030).

New against ViT: a token attends only to the tokens of its window of M x M places, so the cost grows with the number of
places and not with its square; every second block moves the windows by half a window, so that what was apart meets.
Between stages, four neighbours become one token of twice the width. Where a token lies is told by a bias for every
distance between two places of a window. With q, k, v of the tokens of a window and T a learned table,

    A = softmax(q k^T / sqrt(Dh) + b),   b[i, j] = T[(y_i - y_j + M - 1) (2M - 1) + x_i - x_j + M - 1].

The windows move by rolling the map. A window at its edge then holds places from opposite ends, which must not see each
other: where one of two places came round an edge and the other did not, -100 is added.

Source: microsoft/Swin-Transformer, models/swin_transformer.py. It asks for grids that the windows divide. Published
code differs where they do not, hence the field `padding`:

- "official": zeros are added below and on the right of the normed map, which then rolls, as in the code for detection.
  On a grid whose shorter side is at most M, windows become squares of that side, and do not move.
- "timm": the map rolls before the zeros are added. A window is cut to the grid, and does not move, on each axis for
  itself. Images must be of whole patches.
- "hf" (transformers): as "official", but windows fit the map at hand, not that of `image_size`, and the table stays
  that of M, so a grid smaller than M cannot be computed.

In all three, the added places are attended to: their keys and values are the biases of the projection. timm stores the
merging of a stage's end at the beginning of the next. Against the published code: kernels are drawn as a ViT's.

B batch, R x C places of a map, M places of a window, D width, H heads, Dh width of a head, nW windows of a map.
"""

import dataclasses
import functools
import math
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.backend import Array, xp_of
from minivit.errors import ConfigError
from minivit.files.checks import at_least, epsilon, leaves_width, one_of, rates
from minivit.files.fields import settle
from minivit.lineage.published import variant
from minivit.models.config import Size
from minivit.models.families import Family
from minivit.models.head import Head
from minivit.nn import MLP, DropPath, LayerNorm, Linear, Module, PatchEmbed
from minivit.nn import initialisers as init
from minivit.nn.layers import Rng, Tap
from minivit.nn.recompute import recompute
from minivit.nn.windows import Pair, WindowAttention, regions_apart, whole, windows
from minivit.tensor import Tensor

PARITY = "logits, loss, maps and gradients of timm's code; three paddings against a second implementation"
VARIANTS: dict[str, dict[str, Any]] = {
    "swin-t": {"width": 96, "depths": (2, 2, 6, 2), "heads": (3, 6, 12, 24)},
    "swin-s": {"width": 96, "depths": (2, 2, 18, 2), "heads": (3, 6, 12, 24)},
    "swin-b": {"width": 128, "depths": (2, 2, 18, 2), "heads": (4, 8, 16, 32)},
    "swin-b-window12": {"width": 128, "depths": (2, 2, 18, 2), "heads": (4, 8, 16, 32), "window": 12},
    "swin-l": {"width": 192, "depths": (2, 2, 18, 2), "heads": (6, 12, 24, 48)},
    "swin-mini": {"width": 48, "depths": (2, 2, 2), "heads": (2, 4, 8), "window": 4, "patch_size": 2},  # for 32 x 32
}
EPS = 1e-5  # of the norms after the patches and in a merging, in every code


@dataclasses.dataclass(frozen=True)
class SwinConfig:
    """The shape of a Swin Transformer. Raises ConfigError, in one line, for parts that do not fit.

    depths, heads: per stage; all stages but the first halve the map and double the width. width: of the first stage.
    head_width: of every head, None for the width divided by the heads. window: (rows, columns); windows: squares of
    these sides instead, one per stage. mlp_ratio: width of the MLP over that of the stage. absolute: whether positions
    are also added to the tokens. always_partition: windows keep their size and move on any grid. drop_path: stochastic
    depth, rising linearly to this rate at the last block.
    """

    image_size: Size = Size(224)
    patch_size: Size = Size(4)
    width: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (3, 6, 12, 24)
    head_width: int | None = None
    window: Size = Size(7)
    windows: tuple[int, ...] = ()
    mlp_ratio: float = 4.0
    num_classes: int = 1000
    channels: int = 3
    padding: str = "official"
    always_partition: bool = False
    absolute: bool = False
    qkv_bias: bool = True
    gelu: str = "erf"
    norm_eps: float = 1e-5
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        settle(self)
        stages = len(self.depths)
        if not stages or len(self.heads) != stages or len(self.windows) not in (0, stages):
            raise ConfigError(f"depths is {self.depths}, heads {self.heads}: both need a number for each stage")
        if min(*self.depths, *self.heads, *self.windows, self.width, self.channels, self.head_width or 1) < 1:
            raise ConfigError("depths, heads, windows, width, channels and head_width must be at least 1")
        if not self.head_width and any(self.width * 2**i % heads for i, heads in enumerate(self.heads)):
            raise ConfigError(f"heads {self.heads} do not divide the widths of their stages, from {self.width} on")
        one_of(self, padding=("official", "timm", "hf"), gelu=("erf", "tanh"))
        at_least(self, 0, "num_classes")
        epsilon(self)
        rates(self, "drop_path")
        leaves_width(self.mlp_ratio, self.width)
        if self.padding != "timm" and self.window[0] != self.window[1]:
            raise ConfigError(f"windows of padding {self.padding} are square, but window is {self.window}")
        if self.padding == "timm" and any(n % p for n, p in zip(self.image_size, self.patch_size, strict=True)):
            raise ConfigError(f"padding timm needs an image_size of whole patches, {self.patch_size}")

    @property
    def grids(self) -> list[Pair]:
        """Rows and columns of the map of each stage, halves rounded up."""
        (height, width), (down, across) = self.image_size, self.patch_size
        grids = [(-(-height // down), -(-width // across))]
        for _ in self.depths[1:]:
            grids.append(((grids[-1][0] + 1) // 2, (grids[-1][1] + 1) // 2))
        return grids

    def full_window(self, stage: int) -> Pair:
        """The window of a stage, before it is fitted to a grid."""
        return (self.windows[stage],) * 2 if self.windows else self.window

    def fitted(self, stage: int, moved: bool, grid: Pair) -> tuple[Pair, Pair]:
        """The window of a stage on a grid, and by how much it moves, (rows, columns) each."""
        window = self.full_window(stage)
        shift = (window[0] // 2, window[1] // 2) if moved else (0, 0)
        if self.always_partition:
            return window, shift
        if self.padding == "timm":
            fits = [n <= w for n, w in zip(grid, window, strict=True)]
            window = (min(grid[0], window[0]), min(grid[1], window[1]))
            return window, (0 if fits[0] else shift[0], 0 if fits[1] else shift[1])
        return ((min(grid), min(grid)), (0, 0)) if min(grid) <= window[0] else (window, shift)

    @property
    def num_tokens(self) -> int:
        """The number of patches: the trainer cuts a batch by it, as by a ViT's tokens."""
        return math.prod(self.grids[0])

    @property
    def description(self) -> str:
        """The model in a few words."""
        windows = "+".join(map(str, self.windows)) or f"{self.window[0]}x{self.window[1]}"
        return f"Swin: {'+'.join(map(str, self.depths))} blocks, width {self.width}, windows {windows}"


class SwinBlock(Module):
    """One Transformer layer whose attention stays in windows.   x: (B, R, C, D) -> the same shape."""

    def __init__(self, config: SwinConfig, stage: int, number: int, rng: init.Rng, dtype: str, drop_path: float):
        width = config.width * 2**stage
        self.shape, self.stage, self.moved = config, stage, number % 2 == 1
        self.window, self.shift = config.fitted(stage, self.moved, config.grids[stage])
        of_table = config.full_window(stage) if config.padding == "hf" else self.window
        self.norm1 = LayerNorm(width, config.norm_eps, dtype)
        self.attention = WindowAttention(
            width, config.heads[stage], of_table, rng, dtype, config.qkv_bias, config.head_width
        )
        self.norm2 = LayerNorm(width, config.norm_eps, dtype)
        self.mlp = MLP(width, int(width * config.mlp_ratio), rng, dtype, gelu=config.gelu)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, rng: Rng = None) -> Tensor:
        x = x + self.drop_path(self.within(self.norm1(x)), rng)
        return x + self.drop_path(self.mlp(self.norm2(x)), rng)

    def window_on(self, grid: Pair) -> tuple[Pair, Pair]:
        """The window, and by how much it moves: fixed, or in transformers' code fitted to the map at hand."""
        fixed = self.window, self.shift
        return self.shape.fitted(self.stage, self.moved, grid) if self.shape.padding == "hf" else fixed

    def within(self, x: Tensor) -> Tensor:
        """The attention of a map: moved, padded, cut into windows, and all that undone."""
        rows, columns = x.shape[1:3]
        window, shift = self.window_on((rows, columns))
        if window != self.attention.window:
            raise ConfigError(
                f"padding hf has no table for windows of {window[0]} places on a map of {rows}x{columns}: "
                "choose a smaller window, larger images, or padding official"
            )
        below, right = -rows % window[0], -columns % window[1]

        def rolled(x: Tensor, way: int) -> Tensor:
            return F.roll(x, (way * shift[0], way * shift[1]), (1, 2)) if any(shift) else x

        def cropped(x: Tensor) -> Tensor:
            return x[:, :rows, :columns] if below or right else x

        rolls_first = self.shape.padding == "timm"
        x = filled(rolled(x, -1), below, right) if rolls_first else rolled(filled(x, below, right), -1)
        size = x.shape[1], x.shape[2]
        apart = regions_apart(size, window, shift, xp_of(x.data)) if any(shift) else None
        x = whole(self.attention(windows(x, window), apart), window, size)
        return rolled(cropped(x), 1) if rolls_first else cropped(rolled(x, 1))


class PatchMerging(Module):
    """Four neighbours become one token.   x: (B, R, C, D) -> (B, R / 2, C / 2, 2D), halves rounded up."""

    def __init__(self, width: int, rng: init.Rng, dtype: str):
        self.norm = LayerNorm(4 * width, EPS, dtype)
        self.reduction = Linear(4 * width, 2 * width, rng, dtype, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = filled(x, x.shape[1] % 2, x.shape[2] % 2)
        corners = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]  # 00, 10, 01, 11
        return self.reduction(self.norm(F.concat(*corners, axis=-1)))


class Stage(Module):
    """Blocks on maps of one size, and the merging that follows them in all stages but the last."""

    def __init__(self, config: SwinConfig, stage: int, rng: init.Rng, dtype: str):
        before, last = sum(config.depths[:stage]), max(1, sum(config.depths) - 1)
        rates = [config.drop_path * (before + i) / last for i in range(config.depths[stage])]
        self.blocks = [SwinBlock(config, stage, i, rng, dtype, rate) for i, rate in enumerate(rates)]
        ends = stage == len(config.depths) - 1
        self.merging = None if ends else PatchMerging(config.width * 2**stage, rng, dtype)


class Swin(Module):
    """The model of `config`, initialised from `seed`; the head is zero, so that all logits begin as 0.
    seed=None draws nothing. dtype: "float32" or "float64". recompute_blocks: as in `ViT`.
    """

    recompute_blocks = False

    def __init__(self, config: SwinConfig, seed: int | None = 0, dtype: str = "float32"):
        rng = None if seed is None else np.random.default_rng(seed)
        self.config = config
        self.patch_embed = PatchEmbed(config.patch_size, config.channels, config.width, rng, dtype)
        self.patch_norm = LayerNorm(config.width, EPS, dtype)
        if config.absolute:
            shape = (1, config.num_tokens, config.width)
            self.position_embedding = init.parameter(init.normal(rng, shape, 0.02), dtype)
        self.stages = [Stage(config, i, rng, dtype) for i in range(len(config.depths))]
        self.norm = LayerNorm(config.width * 2 ** (len(config.depths) - 1), config.norm_eps, dtype)
        if config.num_classes:
            self.head = Head(self.norm.scale.size, config.num_classes, rng, dtype, weight=init.zeros)
        for name, tensor in self.named_parameters():
            tensor.name = name

    def forward(self, images: Tensor | Array, tap: Tap = None, rng: Rng = None) -> Tensor:
        """Logits (B, num_classes), or features (B, 8D with four stages) if the model has no head.

        images: (B, height, width, channels); an array is brought to the parameters' dtype and device. tap: a dict that
        collects "embeddings", "stage0/block0", ..., "stage0/merging", ..., "norm", all (B, R, C, D), and "features".
        """

        def seen(name: str, x: Tensor) -> Tensor:
            if tap is not None:
                tap[name] = x
            return x

        x = seen("embeddings", self.embed(self.tensor(images)))
        for i, stage in enumerate(self.stages):
            for j, block in enumerate(stage.blocks):
                again = self.recompute_blocks and tap is None
                x = recompute(block, x, block.parameters(), rng) if again else block(x, rng)
                seen(f"stage{i}/block{j}", x)
            x = seen(f"stage{i}/merging", stage.merging(x)) if stage.merging else x
        features = seen("features", seen("norm", self.norm(x)).mean(axis=(1, 2)))
        return self.head(features) if self.config.num_classes else features

    def embed(self, images: Tensor) -> Tensor:
        """Images of any size -> normed patches, (B, R, C, D). Zeros fill patches at the lower and right edge."""
        (down, across), (height, width) = self.config.patch_size, images.shape[1:3]
        if self.config.padding != "timm":
            images = filled(images, -height % down, -width % across)
        x = self.patch_norm(self.patch_embed(images))
        if self.config.absolute:
            x = x + self.position_embedding
        return x.reshape(len(images.data), images.shape[1] // down, images.shape[2] // across, self.config.width)


def filled(x: Tensor, below: int, right: int) -> Tensor:
    """Rows of zeros below and columns of zeros on the right of maps."""
    return F.pad(x, ((0, 0), (0, below), (0, right), (0, 0))) if below or right else x


FAMILY = Family(SwinConfig, Swin, "swin-.*", functools.partial(variant, VARIANTS))
