"""An encoder that sees a learned token in the place of some patches: the common part of BEiT, SimMIM and the masked
patch prediction of the ViT paper; and the blocks of patches that BEiT and DINOv2 hide.

Patches are changed after their projection, before positions are added and other tokens are put in front. All tokens go
through the encoder. The encoder is a ViT, or a `modern` one, such as BEiT's with relative positions.

B batch, N patches, D width.
"""

import copy
import math
from collections.abc import Callable
from typing import Any, Self

import numpy as np

from minivit import functional as F
from minivit.backend import Array, xp_of
from minivit.errors import ConfigError
from minivit.models import ViT, families
from minivit.nn import initialisers as init
from minivit.nn.layers import Rng, Tap
from minivit.tensor import Tensor
from minivit.update.objective import Objective

Change = Callable[[Tensor], Tensor]


class MaskedTokens(Objective):
    """An objective with an encoder and a [mask] token, drawn as N(0, 0.02).   title: of the system, for messages."""

    title = "this objective"

    def __init__(self, config: Any, encoder: Any, seed: int | None = 0, dtype: str = "float32"):
        if not isinstance(encoder, ViT) and families.name_of(encoder.config) != "modern":
            kind = type(encoder).__name__
            raise ConfigError(f"{self.title} needs a ViT or a modern one, such as beit_nano_patch4, not a {kind}")
        if getattr(encoder, "stem", None):
            raise ConfigError(f"{self.title} masks patches of pixels, but the model has a stem of convolutions")
        self.config, self.network = config, encoder
        self.grid: tuple[int, int] = encoder.config.grid
        self.patches = self.grid[0] * self.grid[1]
        self.rng = None if seed is None else np.random.default_rng((seed, 1))  # of what is drawn beside the encoder
        self.mask_token = init.parameter(init.normal(self.rng, (1, 1, encoder.config.width), 0.02), dtype)

    @classmethod
    def build(cls, config: Any, given: Any) -> Self:
        """The objective of a run.   given: a `lineage.Given`."""
        return cls(config, given.encoder(), given.seed, given.dtype)

    @property
    def encoder(self) -> Any:
        return self.network

    def masked(self, x: Tensor, mask: Array) -> Tensor:
        """x (B, N, D) with the [mask] token where `mask` (B, N) is true."""
        return F.where(mask[:, :, None], F.broadcast_to(self.mask_token, x.shape), x)

    def encode(self, images: Tensor | Array, change: Change, rng: Rng = None, tap: Tap = None) -> Tensor:
        """The patches after the last LayerNorm, (B, N, D).   change: of the projected patches, (B, N, D) -> (B, N, D).

        tap: as of `ViT`, "embedded", "block0/output" and "encoded".
        """
        network, images = self.network, self.tensor(images)
        changed = copy.copy(network)  # another front, the same parameters
        changed.patch_embed = lambda images: change(network.patch_embed(images))
        if isinstance(network, ViT):
            x = network.dropout(changed.embed(images), rng)
            encoded = network.encode(x, rng, tap)
            encoded = network.norm(encoded) if network.config.fc_norm else encoded
        else:
            x = changed.embed(images, self.grid)
            encoded = network.norm(network.encode(x, self.grid, rng, tap))
        if tap is not None:
            tap.update(embedded=x, encoded=encoded)
        before = encoded.shape[1] - self.patches
        return encoded[:, before:] if before else encoded


def blocks(
    grid: tuple[int, int],
    count: int,
    smallest: int,
    aspect: float,
    rng: np.random.Generator,
    largest: float = math.inf,
) -> np.ndarray:
    """A mask (rows, columns) of `count` patches or fewer, made of blocks of `smallest` to `largest` patches, smaller
    ones where fewer are missing. aspect: of the widest block, height by width."""
    mask, left, (rows, columns) = np.zeros(grid, bool), count, grid
    tries, widest = 0, abs(math.log(aspect))
    while left and tries < 10:
        most = min(left, largest)
        area = rng.uniform(min(smallest, most), max(smallest, most))
        stretch = math.exp(rng.uniform(-widest, widest))
        height, width = round(math.sqrt(area * stretch)), round(math.sqrt(area / stretch))
        tries += 1
        if height < rows and width < columns:
            top, side = rng.integers(0, rows - height + 1), rng.integers(0, columns - width + 1)
            block = mask[top : top + height, side : side + width]
            more = block.size - int(block.sum())
            if 0 < more <= most:
                block[...] = True
                left, tries = left - more, 0
    return mask


def weights(mask: np.ndarray, counted: float = 0.0) -> np.ndarray:
    """Weights (B, N) that make the mean over examples of sum_n w_n l_n a mean of l over all masked patches of the
    batch: B / (their number + counted), 0 elsewhere. An image with more of them weighs more."""
    total = mask.sum() + counted
    return mask * (len(mask) / total if total else 0.0)


def weighted_cross_entropy(logits: Tensor, classes: Array, weight: Array) -> Tensor:
    """The mean over examples of sum_n w_n (-log softmax(logits_n)[class_n]), the mean of several classes of a patch.
    logits: (B, N, ..., K), classes: (B, N, ...) integers, weight: (B, N)."""
    hot = classes[..., None] == xp_of(classes).arange(logits.shape[-1])
    share = weight.reshape(*weight.shape, *[1] * (hot.ndim - 2)) * weight.shape[1]
    return F.cross_entropy(logits, (hot * share).astype(logits.data.dtype))
