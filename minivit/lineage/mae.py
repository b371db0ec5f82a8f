"""MAE: masked autoencoders (He et al. 2021, "Masked Autoencoders Are Scalable Vision Learners", arXiv 2111.06377).

New against ViT: three of four patches are taken away before the encoder, which sees only the rest. A small decoder puts
a learned [mask] token in the place of each missing patch and predicts its pixels. With t_p the pixels of patch p,
normalised by their own mean and standard deviation, y_p the prediction, and M the missing patches,

    L = 1/|M| sum over p in M of mean((y_p - t_p)^2).

Source: facebookresearch/mae, models_mae.py. Both position tables are fixed, [sin c w, cos c w, sin r w, cos r w] with
w_i = 10000^(-i / (D/4)), c the column and r the row of a patch; the [class] token has a row of zeros. The encoder's is
added before patches are taken away. The variance of a patch is the unbiased one. The visible patches stay in the order
in which they were drawn. Against the published code: the kernels of the encoder are drawn as a ViT's, the patch
projection with variance 1 / (P P C) instead of 2 / (P P C + D), and queries, keys and values each for itself; [class]
and [mask] tokens do not decay.

B batch, N patches, V of them visible, D width of the encoder, E of the decoder, P patch size, C channels.
"""

import dataclasses
from typing import Any, ClassVar, Self

import numpy as np

from minivit import functional as F
from minivit.backend import Array, to_numpy
from minivit.data import ArrayDataset, Dataset
from minivit.errors import ConfigError
from minivit.lineage.pictures import completed, reconstructions
from minivit.models import ViT, ViTConfig
from minivit.nn import MLP, EncoderBlock, LayerNorm, Linear, Module, MultiHeadAttention, patchify
from minivit.nn import initialisers as init
from minivit.nn.layers import Rng
from minivit.tensor import Tensor, no_grad
from minivit.update.batch import Batch, size
from minivit.update.objective import Objective, Outputs

PARITY = "pixels, loss and gradients of the published code, normalised and raw targets"
PRESETS: dict[str, dict[str, Any]] = {
    "cifar10-mae": {
        "data": "cifar10",
        "objective": {"name": "mae", "width": 64, "depth": 2, "heads": 2, "mlp_width": 128},
        "model": {"patch_size": 4, "width": 96, "depth": 6, "heads": 3, "mlp_width": 192, "gelu": "erf"},
        "batch_size": 256,
        "epochs": 5,
        "lr": 1e-3,
        "beta2": 0.95,
        "flip": True,
        "eval_every": 390,
        "mean": (0.49, 0.48, 0.45),
        "std": 0.25,
    },
}
HOW = {"reconstructions": reconstructions}


@dataclasses.dataclass(frozen=True)
class MAEConfig:
    """masked: share of the patches that are removed. width, depth, heads, mlp_width: of the decoder. normalise: whether
    the pixels of a patch are normalised before the comparison. The defaults are the paper's."""

    masked: float = 0.75
    width: int = 512
    depth: int = 8
    heads: int = 16
    mlp_width: int = 2048
    normalise: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.masked < 1:
            raise ConfigError(f"masked is {self.masked}, expected a share of the patches, above 0 and below 1")
        for name in ("width", "depth", "heads", "mlp_width"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} of the decoder is {getattr(self, name)}, expected at least 1")
        if self.width % self.heads or self.width % 4:
            raise ConfigError(f"width {self.width} of the decoder is not a multiple of 4 and of its {self.heads} heads")


def positions(grid: tuple[int, int], width: int) -> np.ndarray:
    """The fixed table (1, 1 + N, D): zeros for the [class] token, then a row for each patch."""
    y, x = np.mgrid[: grid[0], : grid[1]].reshape(2, -1, 1).astype(float)
    w = 10_000.0 ** -(np.arange(width // 4) / (width // 4))
    table = np.concatenate([np.sin(x * w), np.cos(x * w), np.sin(y * w), np.cos(y * w)], axis=1)
    return np.concatenate([np.zeros((1, width)), table])[None]


class Decoder(Module):
    """Encoded visible tokens and the place of every patch -> pixels.   (B, 1 + V, D), (B, N) -> (B, N, P P C)."""

    def __init__(self, config: MAEConfig, encoder: ViTConfig, rng: init.Rng, dtype: str):
        width, (rows, columns) = config.width, encoder.patch_size
        self.embed = Linear(encoder.width, width, rng, dtype)
        self.mask_token = init.parameter(init.normal(rng, (1, 1, width), 0.02), dtype)
        self.positions = Tensor(positions(encoder.grid, width).astype(dtype))
        self.blocks = []
        for _ in range(config.depth):
            attention = MultiHeadAttention(width, config.heads, rng, dtype, qkv_bias=encoder.qkv_bias)
            mlp = MLP(width, config.mlp_width, rng, dtype, gelu=encoder.gelu)
            self.blocks.append(EncoderBlock(attention, mlp, width, dtype, norm_eps=encoder.norm_eps))
        self.norm = LayerNorm(width, encoder.norm_eps, dtype)
        self.pixels = Linear(width, rows * columns * encoder.channels, rng, dtype)

    def forward(self, encoded: Tensor, back: Array, rng: Rng = None) -> Tensor:
        """back: for every patch, its place among the V visible ones and the N - V [mask] tokens behind them."""
        hidden = self.in_place(self.embed(encoded), back)
        for block in self.blocks:
            hidden = block(hidden, rng)
        return self.pixels(self.norm(hidden))[:, 1:]

    def in_place(self, x: Tensor, back: Array) -> Tensor:
        """(B, 1 + V, E) -> (B, 1 + N, E): every token in the place of its patch, [mask] tokens elsewhere, positions
        added to all."""
        batch, visible, width = x.shape
        masks = F.broadcast_to(self.mask_token, (batch, back.shape[1] + 1 - visible, width))
        patches = F.select(F.concat(x[:, 1:], masks, axis=1), back)
        return F.concat(x[:, :1], patches, axis=1) + self.positions


class MAE(Objective):
    """Predicts the pixels of the removed patches.

    batch: images (B, height, width, C); order (B, N), a permutation of the patches whose first V stay visible; back (B,
    N), the inverse permutation. The fixed position table replaces the encoder's, and a [class] token of zeros is drawn
    anew: with its position of zeros it would be a constant, where LayerNorm has a derivative of 1000.
    """

    Config: ClassVar[type] = MAEConfig
    columns = ("images",)

    def __init__(self, config: MAEConfig, encoder: ViT, seed: int | None = 0, dtype: str = "float32"):
        if not isinstance(encoder, ViT):
            raise ConfigError(f"MAE needs a ViT, but the model is a {type(encoder).__name__}")
        shape = encoder.config
        if not shape.prefix_tokens.keys() == {"class_token"} or shape.position != "learned" or shape.no_embed_class:
            raise ConfigError("MAE needs a ViT with a [class] token, no others, and one position table for all")
        if shape.stem or shape.fc_norm:
            raise ConfigError("MAE needs a ViT without a stem, whose last LayerNorm comes before any mean over patches")
        if shape.width % 4:
            raise ConfigError(f"width is {shape.width}, expected a multiple of 4 for sines and cosines of x and y")
        if config.normalise and shape.patch_size == (1, 1) and shape.channels == 1:
            raise ConfigError("patches of a single number have no variance: set normalise=false")
        self.config, self.network = config, encoder
        self.patches = shape.grid[0] * shape.grid[1]
        self.visible = int(self.patches * (1 - config.masked))
        if not 0 < self.visible < self.patches:
            raise ConfigError(f"masked is {config.masked}: of {self.patches} patches {self.visible} would stay visible")
        rng = None if seed is None else np.random.default_rng((seed, 1))
        encoder.position_embedding.data[...] = encoder.like(positions(shape.grid, shape.width))
        encoder.position_embedding.requires_grad = False
        token: Tensor = vars(encoder)["class_token"]
        if not to_numpy(token.data).any():
            token.data[...] = encoder.like(init.normal(rng, (1, 1, shape.width), 0.02))
        self.decoder = Decoder(config, shape, rng, dtype)

    @classmethod
    def build(cls, config: MAEConfig, given: Any) -> Self:
        """The objective of a run.   given: a `lineage.Given`."""
        return cls(config, given.encoder(), given.seed, given.dtype)

    @property
    def encoder(self) -> ViT:
        return self.network

    @property
    def tokens(self) -> int:
        """The tokens of the encoder, plus those of the decoder weighted by their cost."""
        own, shape = self.config, self.network.config
        return self.visible + 1 + (self.patches + 1) * own.width * own.depth // (shape.width * shape.depth)

    def draw(self, batch: Batch, step: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        order = rng.random((size(batch), self.patches)).argsort(axis=1)
        return {"order": order, "back": order.argsort(axis=1)}

    def forward(self, batch: Batch, rng: Rng = None) -> Outputs:
        return (self.decoder(self.network.encode(self.embed(batch), rng), batch["back"], rng),)

    def embed(self, batch: Batch) -> Tensor:
        """The [class] token and the visible patches, with their positions: (B, 1 + V, D)."""
        x = self.network.embed(self.tensor(batch["images"]))
        return F.concat(x[:, :1], F.select(x[:, 1:], batch["order"][:, : self.visible]), axis=1)

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        missing = batch["order"][:, self.visible :]
        error = F.select(outputs[0] - self.targets(batch["images"]), missing)
        return (error * error).mean()

    def targets(self, images: Array | Tensor) -> Tensor:
        """The pixels of every patch, normalised if the config says so: (B, N, P P C)."""
        pixels = patchify(self.tensor(images), self.network.config.patch_size)
        if not self.config.normalise:
            return pixels
        mean, deviation = statistics(pixels)
        return (pixels - mean) / deviation

    shown = completed

    def paint(self, batch: Batch) -> tuple[Array, Array]:
        """Patches (B, N, P P C) of the images, with the missing ones 0, and with the predictions in their place.
        Predictions of normalised pixels use the mean and deviation of the true patch, which are not predicted."""
        with no_grad(), self.evaluating():
            (predicted,) = self(batch)
            true = patchify(self.tensor(batch["images"]), self.network.config.patch_size)
            if self.config.normalise:
                mean, deviation = statistics(true)
                predicted = predicted * deviation + mean
        seen = (batch["back"] < self.visible)[:, :, None]
        return true.data * seen, true.data * seen + predicted.data * ~seen


def statistics(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every patch, (B, N, P P C) -> (B, N, 1) each."""
    variance = F.var(pixels, axis=-1, keepdims=True, ddof=1)
    return pixels.mean(axis=-1, keepdims=True), F.sqrt(variance + 1e-6)


def tiny(dtype: str = "float32") -> tuple[MAE, Dataset]:
    """The objective in small and 16 images, for tests."""
    shape = ViTConfig(
        image_size=(8, 8), patch_size=(2, 2), width=8, depth=2, heads=2, mlp_width=16, num_classes=0, channels=1,
        dropout=0.1, drop_path=0.1,
    )  # fmt: skip
    config = MAEConfig(masked=0.5, width=8, depth=1, heads=2, mlp_width=16)
    images = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 1), np.uint8)
    return MAE(config, ViT(shape, 0, dtype), 0, dtype), ArrayDataset(images, [0] * 16, ["any"], "noise")
