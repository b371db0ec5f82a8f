"""The encoder of DINOv2 (Oquab et al. 2023, "DINOv2: Learning Robust Visual Features without Supervision", arXiv
2304.07193), with registers (Darcet et al. 2023, "Vision Transformers Need Registers", arXiv 2309.16588). Its training
is in `dinov2_objective`.

New against ViT, with s1 and s2 learned factors per feature, which begin at 1e-5:

    x <- x + s1 attention(LN(x)),   x <- x + s2 mlp(LN(x)),
    mlp(x) = (silu(x G) * x V) W   in the largest model, with F = 8 ceil(floor(2/3 4 D) / 8) hidden features,
    tokens: [class], R registers, patches.

Registers are put in after positions were added, so they have none, and nobody reads them. A masked patch is replaced by
one learned token, before positions. The table of positions is resized to the grid of the images.

Source: facebookresearch/dinov2, models/vision_transformer.py and layers/; transformers, Dinov2 and
Dinov2WithRegisters. They resize the table differently, see `METHODS`. Against the published code: kernels begin as in a
ViT, the mask token at zero as there; drop path draws for every image, there it takes a subset of the batch. A
classifier reads the [class] token and the mean over patches, side by side, as the published linear classifiers do.

B batch, N tokens, D width, F width of the MLP, K classes.
"""

import dataclasses
import functools
import math
import re
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.backend import Array
from minivit.errors import ConfigError, meant, shown
from minivit.files.checks import at_least, heads_divide, one_of, patches_tile, rates
from minivit.files.fields import settle
from minivit.models import positions
from minivit.models.config import Size
from minivit.models.families import Family
from minivit.models.head import Head
from minivit.nn import MLP, Dropout, EncoderBlock, LayerNorm, Module, MultiHeadAttention, PatchEmbed
from minivit.nn import initialisers as init
from minivit.nn.layers import Rng, Tap
from minivit.nn.recompute import recompute
from minivit.nn.swiglu import SwiGLU
from minivit.tensor import Tensor

PARITY = "tokens and gradients of transformers; losses, gradients and centres of a reference of the published training"
PRESETS: dict[str, dict[str, Any]] = {
    "cifar10-dinov2": {
        "data": "cifar10",
        "objective": {
            "name": "dinov2", "outputs": 1024, "hidden": 256, "bottleneck": 64, "separate_heads": True,
            "patch_outputs": 256, "patch_bottleneck": 64, "local_crops": 4, "local_size": 16,
            "global_scale": (0.5, 1.0), "local_scale": (0.2, 0.5), "momentum": 0.99, "freeze_last": 0.05,
            "teacher_temperature": 0.04, "patch_rate": 1.0,
        },
        "model": {
            "name": "dinov2", "image_size": 32, "patch_size": 8, "width": 64, "depth": 4, "heads": 4, "mlp_width": 128,
            "layer_scale": 1.0,
        },
        "batch_size": 32, "steps": 300, "lr": 1e-3, "warmup": 0.1, "weight_decay": 0.04, "final_weight_decay": 0.2,
        "clip_norm": 3.0, "flip": True, "eval_every": 300, "mean": (0.49, 0.48, 0.45), "std": 0.25,
    },
}  # fmt: skip
METHODS = {  # of resizing the table -> method of `F.resize`, and whether the scale is DINO's, (cells + 0.1) / grid
    "offset": ("bicubic", True),  # the published code without registers
    "size": ("bicubic", False),  # transformers without registers
    "antialias": ("bicubic_antialias", False),  # both with registers
}
SIZES = {"s": (384, 12, 6), "b": (768, 12, 12), "l": (1024, 24, 16), "g": (1536, 40, 24)}  # width, depth, heads
MINI = {"image_size": 32, "patch_size": 4, "width": 96, "depth": 6, "heads": 3, "mlp_width": 192, "layer_scale": 0.1}


@dataclasses.dataclass(frozen=True)
class DINOv2Config:
    """The shape of the encoder. Raises ConfigError for parts that do not fit.

    Fields of ViTConfig's names mean what they mean there. mlp: "gelu" or "swiglu". mlp_width: default 4 D, with SwiGLU
    two thirds of it, rounded up to a multiple of 8. mask_token: whether there is one. layer_scale: None for none.
    resize: of the table of positions, one of `METHODS`. drop_path: the same in all blocks.
    """

    image_size: Size = Size(518)
    patch_size: Size = Size(14)
    width: int = 384
    depth: int = 12
    heads: int = 6
    mlp_width: int = 0
    num_classes: int = 1000
    channels: int = 3
    mlp: str = "gelu"
    gelu: str = "erf"
    norm_eps: float = 1e-6
    register_tokens: int = 0
    mask_token: bool = True
    layer_scale: float | None = 1e-5
    qkv_bias: bool = True
    resize: str = "offset"
    dropout: float = 0.0
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        settle(self)
        one_of(self, mlp=("gelu", "swiglu"), gelu=("tanh", "erf"), resize=METHODS)
        usual = 4 * self.width if self.mlp == "gelu" else 8 * math.ceil(4 * self.width * 2 // 3 / 8)
        object.__setattr__(self, "mlp_width", self.mlp_width or usual)
        at_least(self, 1, "width", "depth", "heads", "mlp_width", "channels")
        at_least(self, 0, "num_classes", "register_tokens")
        patches_tile(self.image_size, self.patch_size)
        heads_divide(self.width, self.heads)
        rates(self, "dropout", "drop_path")
        if not 0 < self.norm_eps < 1:
            raise ConfigError(f"norm_eps is {self.norm_eps}, expected 0 < norm_eps < 1")
        if self.layer_scale is not None and not 0 < self.layer_scale < math.inf:
            raise ConfigError(f"layer_scale is {self.layer_scale}, expected a positive number, or None for none")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.image_size[0] // self.patch_size[0], self.image_size[1] // self.patch_size[1]

    @property
    def num_tokens(self) -> int:
        """N: the [class] token, registers, patches."""
        return 1 + self.register_tokens + self.grid[0] * self.grid[1]

    @property
    def description(self) -> str:
        """The model in a few words."""
        registers = f"{self.register_tokens} registers, " * bool(self.register_tokens)
        return (
            f"DINOv2: {registers}width {self.width}, depth {self.depth}, {self.heads} heads, {self.num_tokens} tokens"
        )


def resized(table: Tensor, old: tuple[int, int], new: tuple[int, int], method: str) -> Tensor:
    """A table of positions (1, 1 + N, D) for another grid (rows, columns); the row of [class] stays.   method: of
    `METHODS`."""
    kind, offset = METHODS[method]
    scale = ((new[0] + 0.1) / old[0], (new[1] + 0.1) / old[1]) if offset else None
    return positions.resized(table, old, new, kind, 1, scale)


class DINOv2Network(Module):
    """The model of `config`; the head begins at zero. seed, dtype, recompute_blocks: as in `ViT`."""

    recompute_blocks = False
    mask_token: Tensor
    register_tokens: Tensor

    def __init__(self, config: DINOv2Config, seed: int | None = 0, dtype: str = "float32"):
        rng = None if seed is None else np.random.default_rng(seed)
        self.config, width = config, config.width
        self.patch_embed = PatchEmbed(config.patch_size, config.channels, width, rng, dtype)
        self.class_token = init.parameter(init.normal(rng, (1, 1, width), 1e-6), dtype)
        if config.register_tokens:
            shape = 1, config.register_tokens, width
            self.register_tokens = init.parameter(init.normal(rng, shape, 1e-6), dtype)
        if config.mask_token:
            self.mask_token = init.parameter(init.constant(0, (1, width)), dtype)
        rows = 1 + config.grid[0] * config.grid[1]
        self.position_embedding = init.parameter(init.normal(rng, (1, rows, width), 0.02), dtype)
        self.dropout = Dropout(config.dropout)
        self.blocks = [self._block(config, rng, dtype) for _ in range(config.depth)]
        self.norm = LayerNorm(width, config.norm_eps, dtype)
        if config.num_classes:
            self.head = Head(2 * width, config.num_classes, rng, dtype, weight=init.zeros)
        for name, tensor in self.named_parameters():
            tensor.name = name

    @staticmethod
    def _block(config: DINOv2Config, rng: init.Rng, dtype: str) -> EncoderBlock:
        width, hidden, rate = config.width, config.mlp_width, config.dropout
        attention = MultiHeadAttention(width, config.heads, rng, dtype, qkv_bias=config.qkv_bias)
        mlp: Module = SwiGLU(width, hidden, rng, dtype, rate)
        if config.mlp == "gelu":
            mlp = MLP(width, hidden, rng, dtype, rate, config.gelu)
        return EncoderBlock(attention, mlp, width, dtype, rate, config.drop_path, config.norm_eps, config.layer_scale)

    def forward(self, images: Tensor | Array, tap: Tap = None, rng: Rng = None) -> Tensor:
        """Logits (B, K), or the [class] token (B, D) without a head.   images: (B, height, width, C), of any size that
        patches tile. tap: as in `ViT`."""
        tokens = self.tokens(images, None, tap, rng)
        features = tokens[:, 0]
        if tap is not None:
            tap["features"] = features
        if not self.config.num_classes:
            return features
        return self.head(F.concat(features, self.patches(tokens).mean(axis=1), axis=-1))

    def tokens(self, images: Tensor | Array, mask: Array | None = None, tap: Tap = None, rng: Rng = None) -> Tensor:
        """All tokens after the last LayerNorm, (B, N, D).   mask: (B, patches), not 0 where the mask token stands in
        place of a patch."""
        x = self.dropout(self.embed(self.tensor(images), mask), rng)
        if tap is not None:
            tap["embedded"] = x
        for i, block in enumerate(self.blocks):
            inner: Tap = None if tap is None else {}
            run = functools.partial(block, tap=inner)
            again = self.recompute_blocks and tap is None
            x = recompute(run, x, block.parameters(), rng) if again else run(x, rng)
            for name, value in (inner or {}).items():
                tap[f"block{i}/{name}"] = value  # type: ignore[index]
        x = self.norm(x)
        if tap is not None:
            tap["encoded"] = x
        return x

    def embed(self, images: Tensor, mask: Array | None = None) -> Tensor:
        """(B, height, width, C) -> (B, N, D), before the first block.   mask: as in `tokens`."""
        batch, height, wide, _ = images.shape
        patch, x = self.config.patch_size, self.patch_embed(images)
        if mask is not None:
            x = F.where(mask.astype(bool)[..., None], self.mask_token, x)
        x = F.concat(F.broadcast_to(self.class_token, (batch, 1, x.shape[-1])), x, axis=1)
        grid = height // patch[0], wide // patch[1]
        x = x + resized(self.position_embedding, self.config.grid, grid, self.config.resize)
        if not self.config.register_tokens:
            return x
        registers = F.broadcast_to(self.register_tokens, (batch, *self.register_tokens.shape[1:]))
        return F.concat(x[:, :1], registers, x[:, 1:], axis=1)

    def patches(self, tokens: Tensor) -> Tensor:
        """The tokens of patches: (B, N, D) -> (B, patches, D)."""
        return tokens[:, 1 + self.config.register_tokens :]


def fields(name: str) -> dict[str, Any]:
    """The fields of DINOv2Config for a published name, "dinov2_vits14" or "dinov2_vits14_reg", or for "dinov2-mini"
    or "dinov2-mini-reg", for images of 32 pixels. Raises ConfigError for another."""
    known = [f"dinov2_vit{size}14{end}" for size in SIZES for end in ("", "_reg")] + ["dinov2-mini", "dinov2-mini-reg"]
    if name not in known:
        raise ConfigError(f'unknown model "{shown(name)}"{meant(name, known)}; known: {", ".join(known)}')
    registers = {"register_tokens": 4, "resize": "antialias"} if name.endswith("reg") else {}
    if "mini" in name:
        return {**MINI, **registers}
    size = re.sub("dinov2_vit(.)14.*", r"\1", name)
    mlp = {"mlp": "swiglu"} if size == "g" else {}
    return {**dict(zip(("width", "depth", "heads"), SIZES[size], strict=True)), **mlp, **registers}


FAMILY = Family(DINOv2Config, DINOv2Network, r"dinov2[-_].*", fields)
