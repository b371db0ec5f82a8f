"""The image encoder of SAM (see `minivit.lineage.sam`): ViTDet's blocks, and a neck of two convolutions.

B batch, R x C map, D width, E channels of the result.
"""

import dataclasses
import functools
import math
from typing import Any

import numpy as np

from minivit.backend import Array
from minivit.errors import ConfigError
from minivit.files.checks import at_least, epsilon, heads_divide, rates
from minivit.files.fields import settle
from minivit.lineage.published import variant
from minivit.lineage.windowed import NormedConv, WindowBlock
from minivit.models.config import Size
from minivit.models.families import Family
from minivit.models.head import Head
from minivit.nn import Conv, Module
from minivit.nn import initialisers as init
from minivit.nn.layers import Rng, Tap
from minivit.tensor import Tensor

VARIANTS: dict[str, dict[str, Any]] = {
    "sam-b": {"width": 768, "depth": 12, "heads": 12, "mlp_width": 3072, "global_blocks": (2, 5, 8, 11)},
    "sam-l": {"width": 1024, "depth": 24, "heads": 16, "mlp_width": 4096, "global_blocks": (5, 11, 17, 23)},
    "sam-h": {"width": 1280, "depth": 32, "heads": 16, "mlp_width": 5120, "global_blocks": (7, 15, 23, 31)},
    "sam-mini": {"width": 48, "depth": 4, "heads": 2, "mlp_width": 96, "global_blocks": (1, 3), "patch_size": 4,
                 "image_size": 32, "window": 4, "filters": 48},
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class SAMEncoderConfig:
    """The shape of an image encoder. Raises ConfigError, in one line, for parts that do not fit.

    window: side in places, 0 for none. global_blocks: the numbers of blocks that see the whole map. absolute: whether
    positions are added to the patches; relative: whether scores know relative positions. filters: E.
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
    filters: int = 256
    drop_path: float = 0.0
    norm_eps: float = 1e-6
    num_classes: int = 0
    channels: int = 3

    def __post_init__(self) -> None:
        settle(self)
        at_least(self, 1, "patch_size", "width", "depth", "heads", "mlp_width", "filters", "channels")
        at_least(self, 0, "window", "num_classes")
        rates(self, "drop_path")
        epsilon(self)
        heads_divide(self.width, self.heads)
        if any(side % self.patch_size for side in self.image_size):
            raise ConfigError(f"image_size {self.image_size} is not of whole patches of {self.patch_size}")
        if not set(self.global_blocks) <= set(range(self.depth)):
            raise ConfigError(f"global_blocks is {self.global_blocks}, expected numbers from 0 to {self.depth - 1}")

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
        return f"SAM's image encoder: {self.depth} blocks, width {self.width}"


class ImageEncoder(Module):
    """The encoder of `config`; with classes, a classifier by the mean over its map. seed=None draws nothing."""

    def __init__(self, config: SAMEncoderConfig, seed: int | None = 0, dtype: str = "float32"):
        self.config, width = config, config.width
        rng = None if seed is None else np.random.default_rng(seed)
        self.patch_embed = Conv(config.patch_size, config.channels, width, rng, dtype, config.patch_size, 0)
        if config.absolute:
            self.positions = init.parameter(init.normal(rng, (1, *config.grid, width), 0.02), dtype)
        rates, grid = np.linspace(0, config.drop_path, config.depth), config.grid if config.relative else None
        self.blocks = [
            WindowBlock(
                width, config.heads, config.mlp_width, 0 if i in config.global_blocks else config.window, grid, rng,
                dtype, config.qkv_bias, float(rates[i]), config.norm_eps,
            )
            for i in range(config.depth)
        ]  # fmt: skip
        self.neck = [
            NormedConv(1, width, config.filters, rng, dtype),
            NormedConv(3, config.filters, config.filters, rng, dtype),
        ]
        self.head = Head(config.filters, config.num_classes, rng, dtype, init.zeros) if config.num_classes else None
        for name, tensor in self.named_parameters():
            tensor.name = name

    def forward(self, images: Tensor | Array, tap: Tap = None, rng: Rng = None) -> Tensor:
        """Logits (B, num_classes), or features (B, E) without a head."""
        features = self.encode(self.tensor(images), tap, rng).mean(axis=(1, 2))
        if tap is not None:
            tap["features"] = features
        return self.head(features) if self.head else features

    def encode(self, images: Tensor, tap: Tap = None, rng: Rng = None) -> Tensor:
        """The map: (B, R, C, E).   tap: gets "embedded", "block0", ..., (B, R, C, D)."""
        x = self.patch_embed(images)
        found = {"embedded": x}
        x = x + self.positions if self.config.absolute else x
        for i, block in enumerate(self.blocks):
            found[f"block{i}"] = x = block(x, rng)
        if tap is not None:
            tap.update(found)
        for layer in self.neck:
            x = layer(x)
        return x


FAMILY = Family(SAMEncoderConfig, ImageEncoder, "sam-.*", functools.partial(variant, VARIANTS))
