"""ViTDet (Li et al. 2022, "Exploring Plain Vision Transformer Backbones for Object Detection", arXiv 2203.16527): a
plain ViT as the backbone of a detector.

New against ViT: large maps, and maps of several sizes from the last one alone. Most blocks attend inside windows, which
do not move. A few, the last of each quarter, attend over the whole map, or else a convolutional branch after the block
carries information from window to window,

    x + LN(Conv_1x1(GELU(LN(Conv_3x3(GELU(LN(Conv_1x1(x)))))))).

Scores know places relative to each other, rows and columns apart: see `minivit.lineage.windowed`. The simple pyramid
makes maps of 4, 2, 1 and 1/2 times the resolution from the last map,

    p_s = LN(Conv_3x3(LN(Conv_1x1(U_s(x))))),   U_4 = T LN-GELU T,  U_2 = T,  U_1 = identity,  U_1/2 = max of 2 x 2,

where T is a transposed convolution of 2 x 2 places that halves the channels; the next level is every second place of
the last.

Source: facebookresearch/detectron2, modeling/backbone/vit.py. There is no [class] token; the position table of the
pretraining keeps its row, which is not used, and is resized bicubically to the map. Zeros fill a map up to whole
windows after the norm, and are attended to. No LayerNorm follows the last block. The last gains of convolutional
branches begin at 0, as do the tables of relative positions. Against the published code: convolutions are drawn as
elsewhere here, and the classifier on the mean of the last map, without a pyramid, is our addition.

B batch, R x C map, D width, H heads, E channels of the pyramid.
"""

import dataclasses
import functools
import itertools
import math
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.backend import Array
from minivit.errors import ConfigError
from minivit.files.checks import at_least, epsilon, heads_divide, rates
from minivit.files.fields import settle
from minivit.lineage.published import variant
from minivit.lineage.windowed import Enlarge, NormedConv, WindowBlock
from minivit.models.config import Size
from minivit.models.families import Family
from minivit.models.head import Head
from minivit.nn import Conv, LayerNorm, Module
from minivit.nn import initialisers as init
from minivit.nn.layers import Rng, Tap
from minivit.tensor import Tensor

PARITY = "blocks, levels of the pyramid, loss and gradients of published code, also of larger maps"
VARIANTS: dict[str, dict[str, Any]] = {
    "vitdet-b": {"width": 768, "depth": 12, "heads": 12, "mlp_width": 3072, "global_blocks": (2, 5, 8, 11)},
    "vitdet-l": {"width": 1024, "depth": 24, "heads": 16, "mlp_width": 4096, "global_blocks": (5, 11, 17, 23)},
    "vitdet-h": {"width": 1280, "depth": 32, "heads": 16, "mlp_width": 5120, "global_blocks": (7, 15, 23, 31)},
    "vitdet-mini": {"width": 64, "depth": 4, "heads": 2, "mlp_width": 128, "global_blocks": (1, 3), "patch_size": 4,
                    "image_size": 32, "pretrain_size": 32, "window": 4},
}  # fmt: skip
LEVELS = (2, 3, 4, 5)  # of the pyramid, by the logarithm of their stride with patches of 16 pixels


@dataclasses.dataclass(frozen=True)
class ViTDetConfig:
    """The shape of a backbone. Raises ConfigError, in one line, for parts that do not fit.

    image_size: for which blocks that see the whole map have relative positions. pretrain_size: the side of the images
    for which the position table was made. window: side in places, 0 for none. global_blocks: the numbers of blocks
    that see the whole map. residual_blocks: the numbers of blocks with a convolutional branch. absolute: whether
    positions are added to the patches; class_row: whether their table has a row that is not used. relative: whether
    scores know relative positions. pyramid: E, 0 for none. levels: of the pyramid.
    """

    image_size: Size = Size(1024)
    patch_size: int = 16
    pretrain_size: int = 224
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_width: int = 3072
    window: int = 14
    global_blocks: tuple[int, ...] = (2, 5, 8, 11)
    residual_blocks: tuple[int, ...] = ()
    absolute: bool = True
    class_row: bool = True
    relative: bool = True
    qkv_bias: bool = True
    drop_path: float = 0.0
    norm_eps: float = 1e-6
    pyramid: int = 0
    levels: tuple[int, ...] = LEVELS
    num_classes: int = 1000
    channels: int = 3

    def __post_init__(self) -> None:
        settle(self)
        at_least(self, 1, "patch_size", "width", "depth", "heads", "mlp_width", "channels")
        at_least(self, 0, "window", "pyramid", "num_classes")
        rates(self, "drop_path")
        epsilon(self)
        heads_divide(self.width, self.heads)
        if min(*self.image_size, self.pretrain_size) < self.patch_size:
            raise ConfigError(f"image_size {self.image_size} or pretrain_size is smaller than a patch")
        for name in ("global_blocks", "residual_blocks"):
            if not set(getattr(self, name)) <= set(range(self.depth)):
                raise ConfigError(f"{name} is {getattr(self, name)}, expected numbers from 0 to {self.depth - 1}")
        if self.pyramid and self.num_classes:
            raise ConfigError("a classifier reads the last map: with a pyramid num_classes is 0")
        if not self.levels or not set(self.levels) <= set(LEVELS):
            raise ConfigError(f"levels is {self.levels}, expected some of {LEVELS}")
        if self.pyramid and self.width % (4 if 2 in self.levels else 2):
            raise ConfigError(f"width {self.width} cannot be halved for the finer levels of the pyramid")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the map."""
        height, width = self.image_size
        return height // self.patch_size, width // self.patch_size

    @property
    def num_tokens(self) -> int:
        """The places of the map: the trainer cuts a batch by it."""
        return math.prod(self.grid)

    @property
    def description(self) -> str:
        """The model in a few words."""
        return f"ViTDet: {self.depth} blocks, width {self.width}, {len(self.global_blocks)} of them without windows"


class Branch(Module):
    """x + three convolutions, narrower inside.   (B, R, C, D) -> the same shape."""

    def __init__(self, width: int, rng: init.Rng, dtype: str):
        inner = width // 2
        self.layers = [
            NormedConv(1, width, inner, rng, dtype),
            NormedConv(3, inner, inner, rng, dtype),
            NormedConv(1, inner, width, rng, dtype),
        ]
        self.layers[-1].norm.scale.data[...] = 0

    def forward(self, x: Tensor) -> Tensor:
        first, second, last = self.layers
        y = F.gelu(second(F.gelu(first(x), form="erf")), form="erf")
        return x + last(y)


class Level(Module):
    """One level of the pyramid.   (B, R, C, D) -> (B, s R, s C, E), with s = 2^(4 - level)."""

    def __init__(self, level: int, width: int, filters: int, rng: init.Rng, dtype: str):
        self.level = level
        sides = [width // 2**i for i in range(max(0, 4 - level) + 1)]
        self.enlarge = [Enlarge(wide, slim, rng, dtype) for wide, slim in itertools.pairwise(sides)]
        self.norm = LayerNorm(width // 2, 1e-6, dtype) if level == 2 else None
        self.narrow = NormedConv(1, sides[-1], filters, rng, dtype)
        self.mix = NormedConv(3, filters, filters, rng, dtype)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(x, 2, 2, 0) if self.level == 5 else x
        for i, layer in enumerate(self.enlarge):
            x = layer(x)
            x = F.gelu(self.norm(x), form="erf") if self.norm and i == 0 else x
        return self.mix(self.narrow(x))


class ViTDet(Module):
    """The backbone of `config`; with classes, a classifier by the mean over its last map. seed=None draws nothing."""

    def __init__(self, config: ViTDetConfig, seed: int | None = 0, dtype: str = "float32"):
        self.config = config
        rng = None if seed is None else np.random.default_rng(seed)
        width, patch = config.width, config.patch_size
        self.patch_embed = Conv(patch, config.channels, width, rng, dtype, patch, 0)
        if config.absolute:
            rows = (config.pretrain_size // patch) ** 2 + config.class_row
            self.positions = init.parameter(init.normal(rng, (1, rows, width), 0.02), dtype)
        rates, grid = np.linspace(0, config.drop_path, config.depth), config.grid if config.relative else None
        self.blocks = [
            WindowBlock(
                width, config.heads, config.mlp_width, 0 if i in config.global_blocks else config.window, grid, rng,
                dtype, config.qkv_bias, float(rates[i]), config.norm_eps,
            )
            for i in range(config.depth)
        ]  # fmt: skip
        self.branches = [Branch(width, rng, dtype) for _ in sorted(config.residual_blocks)]
        self.levels = [Level(k, width, config.pyramid, rng, dtype) for k in config.levels if config.pyramid]
        self.head = Head(width, config.num_classes, rng, dtype, init.zeros) if config.num_classes else None
        for name, tensor in self.named_parameters():
            tensor.name = name

    def forward(self, images: Tensor | Array, tap: Tap = None, rng: Rng = None) -> Tensor:
        """Logits (B, num_classes), or features (B, D) without a head.   images: (B, height, width, channels), of any
        size. tap: a dict that collects "block0", ..., (B, R, C, D), and "features"."""
        features = self.encode(self.tensor(images), tap, rng).mean(axis=(1, 2))
        if tap is not None:
            tap["features"] = features
        return self.head(features) if self.head else features

    def encode(self, images: Tensor, tap: Tap = None, rng: Rng = None) -> Tensor:
        """The last map: (B, R, C, D)."""
        x = self.patch_embed(images)
        if self.config.absolute:
            x = x + resized(self.positions[:, int(self.config.class_row) :], (x.shape[1], x.shape[2]))
        branches = dict(zip(sorted(self.config.residual_blocks), self.branches, strict=True))
        for i, block in enumerate(self.blocks):
            x = block(x, rng)
            x = branches[i](x) if i in branches else x
            if tap is not None:
                tap[f"block{i}"] = x
        return x

    def pyramid(self, images: Tensor | Array, tap: Tap = None, rng: Rng = None) -> dict[str, Tensor]:
        """The maps of all levels by name, "p2" to "p5", and the one after the last, such as "p6"."""
        x = self.encode(self.tensor(images), tap, rng)
        found = {f"p{level.level}": level(x) for level in self.levels}
        last = max(level.level for level in self.levels)
        found[f"p{last + 1}"] = found[f"p{last}"][:, ::2, ::2]
        return found


def resized(table: Tensor, size: tuple[int, int]) -> Tensor:
    """The positions of a square map, (1, N, D), for one of another size: (1, R, C, D)."""
    side = math.isqrt(table.shape[1])
    table = table.reshape(1, side, side, -1)
    return table if size == (side, side) else F.resize(table, size, "bicubic")


FAMILY = Family(ViTDetConfig, ViTDet, "vitdet-.*", functools.partial(variant, VARIANTS))
