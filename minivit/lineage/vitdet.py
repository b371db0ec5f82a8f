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
from minivit.files.checks import at_least
from minivit.lineage.published import variant
from minivit.lineage.windowed import Enlarge, NormedConv, WindowedConfig, WindowedEncoder
from minivit.models import positions
from minivit.models.families import Family
from minivit.nn import LayerNorm, Module
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
class ViTDetConfig(WindowedConfig):
    """The shape of a backbone.

    pretrain_size: the side of the images for which the position table was made; class_row: whether it has a row that
    is not used. residual_blocks: the numbers of blocks with a convolutional branch. pyramid: E, 0 for none. levels: of
    the pyramid.
    """

    pretrain_size: int = 224
    class_row: bool = True
    residual_blocks: tuple[int, ...] = ()
    pyramid: int = 0
    levels: tuple[int, ...] = LEVELS
    num_classes: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 0, "pyramid")
        self.check_blocks("residual_blocks")
        if min(self.grid) < 1 or self.pretrain_size < self.patch_size:
            raise ConfigError(f"image_size {self.image_size} or pretrain_size is smaller than a patch")
        if self.pyramid and self.num_classes:
            raise ConfigError("a classifier reads the last map: with a pyramid num_classes is 0")
        if not self.levels or not set(self.levels) <= set(LEVELS):
            raise ConfigError(f"levels is {self.levels}, expected some of {LEVELS}")
        if self.pyramid and self.width % (4 if 2 in self.levels else 2):
            raise ConfigError(f"width {self.width} cannot be halved for the finer levels of the pyramid")

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


class ViTDet(WindowedEncoder):
    """The backbone of `config`; with classes, a classifier by the mean over its last map. seed=None draws nothing."""

    config: ViTDetConfig

    def __init__(self, config: ViTDetConfig, seed: int | None = 0, dtype: str = "float32"):
        rng = None if seed is None else np.random.default_rng(seed)
        width, rows = config.width, (config.pretrain_size // config.patch_size) ** 2 + config.class_row
        super().__init__(config, (rows,), rng, dtype)
        self.branches = [Branch(width, rng, dtype) for _ in sorted(config.residual_blocks)]
        self.levels = [Level(k, width, config.pyramid, rng, dtype) for k in config.levels if config.pyramid]
        self.finish(width, rng, dtype)

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
    return positions.resized(table, (side, side), size, "bicubic").reshape(1, *size, -1)


FAMILY = Family(ViTDetConfig, ViTDet, "vitdet-.*", functools.partial(variant, VARIANTS))
