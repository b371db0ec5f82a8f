"""The ViT paper's own self-supervision: masked patch prediction (Dosovitskiy et al. 2020, "An Image is Worth 16x16
Words", appendix B.1.2, arXiv 2010.11929).

New against ViT's training: no labels. Half of the projected patches x_n are chosen. Of these 80 % become a learned
[mask] token, 10 % the projection of another patch, and 10 % stay. For every chosen patch, changed or not, the encoder
says the mean colour, each channel in 3 bits: one of 512 classes,

    L = -1/|M| sum over n in M of log softmax(h_n W + b)[c_n],   c = 64 floor(r/32) + 8 floor(g/32) + floor(b/32),

with M the chosen patches of the batch, h_n the feature of patch n after the last LayerNorm, and r, g, b the means of
the pixels 0..255. With cells=4 the patch is cut into 4 x 4 cells, and each has a class: the paper's second target.

Source: the paper; no code was published. It leaves open how a mean is rounded, in which order channels make up the
number of the class, and whether the other patch is of the same image: floor, red first, and the same image, never the
patch itself, are choices made here. Whether exactly half of the patches are chosen is open, too; here it is so. The
paper's third target, all pixels, is MAE's and SimMIM's.

B batch, N patches, D width, P patch size, C channels.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from minivit import functional as F
from minivit.backend import Array, xp_of
from minivit.data import ArrayDataset, Dataset
from minivit.errors import ConfigError
from minivit.files.checks import at_least
from minivit.lineage.masked_tokens import MaskedTokens, weighted_cross_entropy, weights
from minivit.models import ViT, ViTConfig
from minivit.nn import Linear
from minivit.nn.layers import Rng
from minivit.tensor import Tensor
from minivit.update.batch import Batch, size
from minivit.update.objective import Outputs

PARITY = "logits, targets, loss and gradients of a second implementation of the paper"
MASK, OTHER, KEPT = 1, 2, 3  # kinds of chosen patches; 0: not chosen
PRESETS: dict[str, dict[str, Any]] = {
    "cifar10-masked-patch": {
        "data": "cifar10",
        "objective": {"name": "masked_patch"},
        "model": {"patch_size": 4, "width": 96, "depth": 4, "heads": 3, "mlp_width": 192, "position": "rope"},
        "batch_size": 256,
        "epochs": 3,
        "lr": 1e-3,
        "flip": True,
        "eval_every": 390,
    },
}


@dataclasses.dataclass(frozen=True)
class MaskedPatchConfig:
    """chosen: share of the patches. mask, other: shares of the chosen ones that become [mask] or another patch. bits:
    of a colour. cells: by side of a patch. The defaults are the paper's."""

    chosen: float = 0.5
    mask: float = 0.8
    other: float = 0.1
    bits: int = 3
    cells: int = 1

    def __post_init__(self) -> None:
        at_least(self, 1, "bits", "cells")
        if not 0 < self.chosen <= 1:
            raise ConfigError(f"chosen is {self.chosen}, expected a share of the patches, above 0, at most 1")
        if min(self.mask, self.other) < 0 or self.mask + self.other > 1 + 1e-12:
            raise ConfigError(f"mask is {self.mask} and other {self.other}, expected shares with a sum of at most 1")
        if self.bits > 8:
            raise ConfigError(f"bits is {self.bits}, expected at most 8, as pixels have")


class MaskedPatch(MaskedTokens):
    """Predicts the mean colours of chosen patches.

    batch: images (B, height, width, C); colour (B, N, cells^2) integers, the classes; kind (B, N), 0 to 3 as above;
    source (B, N), the patch whose projection stands in each place; weight (B, N), see `weights`.
    """

    Config: ClassVar[type] = MaskedPatchConfig
    columns = ("images",)
    title = "masked patch prediction"

    def __init__(self, config: MaskedPatchConfig, encoder: Any, seed: int | None = 0, dtype: str = "float32"):
        super().__init__(config, encoder, seed, dtype)
        shape = encoder.config
        if any(side % config.cells for side in shape.patch_size):
            raise ConfigError(f"cells is {config.cells}, which does not divide the patch size {shape.patch_size}")
        if config.bits * shape.channels > 16:
            raise ConfigError(f"{config.bits} bits of {shape.channels} channels make too many classes; take fewer bits")
        self.count = max(1, round(config.chosen * self.patches))
        if self.patches < 2:
            raise ConfigError("masked patch prediction needs images of at least two patches")
        self.classes = 2 ** (config.bits * shape.channels)
        self.head = Linear(shape.width, config.cells**2 * self.classes, self.rng, dtype)

    def prepare(self, columns: Mapping[str, Any], augment: Any, rng: np.random.Generator | None) -> Batch:
        """Images, changed at random, and the colours of the changed ones."""
        batch = super().prepare(columns, augment, rng)
        pixels = np.rint(255 * (batch["images"] * np.asarray(augment.std) + np.asarray(augment.mean))).clip(0, 255)
        return batch | {"colour": self.colours(pixels)}

    def colours(self, pixels: np.ndarray) -> np.ndarray:
        """The classes of mean colours, (B, N, cells^2).   pixels: 0..255, (B, height, width, C)."""
        shape, cells = self.network.config, self.config.cells
        side = shape.patch_size[0] // cells, shape.patch_size[1] // cells
        return classes_of(mean_colours(pixels, shape.patch_size, side), self.config.bits)

    def draw(self, batch: Batch, step: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        shape, own = (size(batch), self.patches), np.arange(self.patches)
        chosen = rng.random(shape).argsort(axis=1).argsort(axis=1) < self.count
        u, share = rng.random(shape), self.config.mask
        kind = chosen * np.where(u < share, MASK, np.where(u < share + self.config.other, OTHER, KEPT))
        another = (own + rng.integers(1, self.patches, shape)) % self.patches
        return {"kind": kind, "source": np.where(kind == OTHER, another, own), "weight": weights(chosen)}

    def forward(self, batch: Batch, rng: Rng = None) -> Outputs:
        logits = self.head(self.encode(batch["images"], lambda x: self.corrupted(x, batch), rng))
        return (logits.reshape(*logits.shape[:2], self.config.cells**2, self.classes),)

    def corrupted(self, x: Tensor, batch: Batch) -> Tensor:
        """The projected patches (B, N, D), with other ones and [mask] tokens among them."""
        source = batch["source"]
        places = source[:, :, None] == xp_of(source).arange(self.patches)
        x = F.matmul(Tensor(places.astype(x.data.dtype)), x)  # a patch may be the source of several places
        return self.masked(x, batch["kind"] == MASK)

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        return weighted_cross_entropy(outputs[0], batch["colour"], batch["weight"])

    def sums(self, outputs: Outputs, batch: Batch) -> dict[str, Array]:
        """The share of chosen patches whose colour is the most probable one."""
        right = (outputs[0].data.argmax(axis=-1) == batch["colour"]).mean(axis=-1)
        return {"colour_accuracy": (right * batch["weight"]).sum()}


def mean_colours(pixels: np.ndarray, patch: tuple[int, int], cell: tuple[int, int]) -> np.ndarray:
    """Means over the cells of every patch, both row by row: (B, height, width, C) -> (B, N, cells, C)."""
    batch, height, width, channels = pixels.shape
    (rows, columns), (down, across) = (
        (height // patch[0], width // patch[1]),
        (patch[0] // cell[0], patch[1] // cell[1]),
    )
    tiles = pixels.reshape(batch, rows, down, cell[0], columns, across, cell[1], channels).mean(axis=(3, 6))
    return tiles.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows * columns, down * across, channels)


def classes_of(colours: np.ndarray, bits: int) -> np.ndarray:
    """The number of a colour, (..., C) in 0..255 -> (...): the first bits of each channel, the first channel first."""
    levels = np.floor(colours / 2 ** (8 - bits)).astype(np.int64)
    return (levels * 2 ** (bits * np.arange(colours.shape[-1])[::-1])).sum(axis=-1)


def tiny(dtype: str = "float32") -> tuple[MaskedPatch, Dataset]:
    """The objective in small and 16 images, for tests."""
    shape = ViTConfig(
        image_size=(8, 8), patch_size=(2, 2), width=8, depth=2, heads=2, mlp_width=16, num_classes=0, channels=1,
        dropout=0.1, drop_path=0.1,
    )  # fmt: skip
    images = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 1), np.uint8)
    objective = MaskedPatch(MaskedPatchConfig(mask=0.6, other=0.2), ViT(shape, 0, dtype), 0, dtype)
    return objective, ArrayDataset(images, [0] * 16, ["any"], "noise")
