"""The image encoder of SAM (see `minivit.lineage.sam`): ViTDet's blocks, and a neck of two convolutions.

B batch, R x C map, D width, E channels of the result.
"""

import dataclasses
import functools
from typing import Any

import numpy as np

from minivit.errors import ConfigError
from minivit.files.checks import at_least
from minivit.lineage.published import variant
from minivit.lineage.windowed import NormedConv, WindowedConfig, WindowedEncoder
from minivit.models.families import Family
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
class SAMEncoderConfig(WindowedConfig):
    """The shape of an image encoder.   filters: E."""

    filters: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "filters")
        rows, columns = self.grid
        if self.image_size != (rows * self.patch_size, columns * self.patch_size):
            raise ConfigError(f"image_size {self.image_size} is not of whole patches of {self.patch_size}")

    @property
    def description(self) -> str:
        """The model in a few words."""
        return f"SAM's image encoder: {self.depth} blocks, width {self.width}"


class ImageEncoder(WindowedEncoder):
    """The encoder of `config`; with classes, a classifier by the mean over its map. seed=None draws nothing."""

    config: SAMEncoderConfig

    def __init__(self, config: SAMEncoderConfig, seed: int | None = 0, dtype: str = "float32"):
        rng = None if seed is None else np.random.default_rng(seed)
        super().__init__(config, config.grid, rng, dtype)
        self.neck = [
            NormedConv(1, config.width, config.filters, rng, dtype),
            NormedConv(3, config.filters, config.filters, rng, dtype),
        ]
        self.finish(config.filters, rng, dtype)

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
