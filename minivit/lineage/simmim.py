"""SimMIM (Xie et al. 2021, "SimMIM: A Simple Framework for Masked Image Modeling", arXiv 2111.09886).

New against ViT: large squares of an image, `unit` pixels wide, are hidden behind a learned [mask] token e_M. All tokens
go through the encoder, and one matrix makes the pixels y of each patch from its feature. With x the pixels of the
image, M the masked ones, counted once for all C channels,

    L = 1/(C (|M| + 1e-5)) sum over pixels in M and channels of |x - y|.

Against MAE: hidden patches stay in the sequence, so the encoder works four times as much as on a quarter of them, but
there is no decoder; pixels are not normalised by patch; the error is absolute. The order of the outputs is that of
PixelShuffle, number c P^2 + i P + j for row i, column j and channel c.

Source: microsoft/SimMIM, models/simmim.py and data/data_simmim.py. Its ViT is BEiT's encoder (relative positions that
all blocks share, no table of absolute ones); here it is that, as the model `modern`, or a ViT. Its Swin is not here.
The code averages over the masked pixels of the batch, and hides ceil(masked * squares) squares of each image. Kernels
begin as a ViT's, and the [mask] token, which decays there, does not decay.

B batch, N patches, D width, P patch size, C channels.
"""

import dataclasses
import math
from typing import Any, ClassVar

import numpy as np

from minivit import functional as F
from minivit.backend import Array
from minivit.data import ArrayDataset, Dataset
from minivit.errors import ConfigError
from minivit.files.checks import at_least
from minivit.lineage.masked_tokens import MaskedTokens, weights
from minivit.lineage.pictures import completed, reconstructions
from minivit.models import ViT, ViTConfig
from minivit.nn import Linear, patchify
from minivit.nn.layers import Rng
from minivit.tensor import Tensor, no_grad
from minivit.update.batch import Batch, size
from minivit.update.objective import Outputs

PARITY = "reconstruction, loss and gradients of the published equation with a ViT"
EPS = 1e-5  # added to the number of masked pixels
PRESETS: dict[str, dict[str, Any]] = {
    "cifar10-simmim": {
        "data": "cifar10",
        "objective": {"name": "simmim", "unit": 8},
        "model": {
            "patch_size": 4,
            "width": 96,
            "depth": 4,
            "heads": 3,
            "mlp_width": 192,
            "gelu": "erf",
            "position": "rope",
        },
        "batch_size": 256,
        "epochs": 3,
        "lr": 1e-3,
        "flip": True,
        "eval_every": 390,
        "mean": (0.49, 0.48, 0.45),
        "std": 0.25,
    },
}
HOW = {"reconstructions": reconstructions}


@dataclasses.dataclass(frozen=True)
class SimMIMConfig:
    """masked: share of the squares to hide. unit: their side in pixels. The defaults are the paper's."""

    masked: float = 0.6
    unit: int = 32

    def __post_init__(self) -> None:
        at_least(self, 1, "unit")
        if not 0 < self.masked <= 1:
            raise ConfigError(f"masked is {self.masked}, expected a share of the squares, above 0, at most 1")


class SimMIM(MaskedTokens):
    """Predicts the pixels of masked squares.

    batch: images (B, height, width, C); mask (B, N), true where a patch is hidden; weight (B, N), see `weights`.
    """

    Config: ClassVar[type] = SimMIMConfig
    columns = ("images",)
    title = "SimMIM"

    def __init__(self, config: SimMIMConfig, encoder: Any, seed: int | None = 0, dtype: str = "float32"):
        super().__init__(config, encoder, seed, dtype)
        shape = encoder.config
        self.patch: tuple[int, int] = shape.patch_size
        for side, patch in zip(shape.image_size, self.patch, strict=True):
            if config.unit % patch or side % config.unit:
                size = f"{self.patch[0]}x{self.patch[1]}"
                raise ConfigError(
                    f"unit is {config.unit}, expected a multiple of the patch size {size} that divides the image size"
                )
        self.squares = shape.image_size[0] // config.unit, shape.image_size[1] // config.unit
        self.decoder = Linear(shape.width, self.patch[0] * self.patch[1] * shape.channels, self.rng, dtype)

    def draw(self, batch: Batch, step: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        rows, columns = self.squares
        order = rng.random((size(batch), rows * columns)).argsort(axis=1).argsort(axis=1)
        squares = (order < math.ceil(rows * columns * self.config.masked)).reshape(-1, rows, columns)
        unit = self.config.unit
        mask = squares.repeat(unit // self.patch[0], axis=1).repeat(unit // self.patch[1], axis=2)
        mask = mask.reshape(len(mask), -1)
        return {"mask": mask, "weight": self.weights(mask)}

    def weights(self, mask: np.ndarray) -> np.ndarray:
        """Weights (B, N) of the sums of |x - y| over patches."""
        pixels = self.patch[0] * self.patch[1]
        return weights(mask, EPS / pixels) / (pixels * self.network.config.channels)

    def forward(self, batch: Batch, rng: Rng = None) -> Outputs:
        return (self.decoder(self.encode(batch["images"], lambda x: self.masked(x, batch["mask"]), rng)),)

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        error = self.shuffled(patchify(self.tensor(batch["images"]), self.patch)) - outputs[0]
        error = F.maximum(error, -error).sum(axis=-1) * self.tensor(batch["weight"])
        return error.sum(axis=1).mean()

    def shuffled(self, patches: Tensor) -> Tensor:
        """Pixels (B, N, P P C) in the order (row, column, channel) -> in the order (channel, row, column)."""
        batch, count, pixels = patches.shape
        channels = self.network.config.channels
        return patches.reshape(batch, count, -1, channels).transpose(0, 1, 3, 2).reshape(batch, count, pixels)

    def in_rows(self, outputs: Array) -> Array:
        """The inverse of `shuffled`, of an array."""
        batch, count, pixels = outputs.shape
        channels = self.network.config.channels
        return outputs.reshape(batch, count, channels, -1).transpose(0, 1, 3, 2).reshape(batch, count, pixels)

    shown = completed

    def paint(self, batch: Batch) -> tuple[Array, Array]:
        """Patches (B, N, P P C) of the images, with the masked ones 0, and with the predictions in their place."""
        with no_grad(), self.evaluating():
            predicted = self.in_rows(self(batch)[0].data)
        true, hidden = patchify(self.tensor(batch["images"]), self.patch).data, batch["mask"][:, :, None]
        return true * ~hidden, true * ~hidden + predicted * hidden


def tiny(dtype: str = "float32") -> tuple[SimMIM, Dataset]:
    """The objective in small and 16 images, for tests."""
    shape = ViTConfig(
        image_size=(8, 8), patch_size=(2, 2), width=8, depth=2, heads=2, mlp_width=16, num_classes=0, channels=1,
        dropout=0.1, drop_path=0.1,
    )  # fmt: skip
    images = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 1), np.uint8)
    return SimMIM(SimMIMConfig(0.5, 4), ViT(shape, 0, dtype), 0, dtype), ArrayDataset(
        images, [0] * 16, ["any"], "noise"
    )
