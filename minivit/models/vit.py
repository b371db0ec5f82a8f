"""The Vision Transformer (Dosovitskiy et al. 2020), from image to logits.

B batch, N tokens, D width, C channels; images are (B, height, width, C), channels last.
"""

import functools

import numpy as np

from minivit import functional as F
from minivit.backend import Array
from minivit.backend.arrays import asarray_like
from minivit.models.config import ViTConfig
from minivit.models.hybrid import ResNetStem
from minivit.models.posemb import sincos_2d
from minivit.nn import Dropout, EncoderBlock, LayerNorm, Linear, Module, PatchEmbed
from minivit.nn import initialisers as init
from minivit.nn.layers import Rng, Tap
from minivit.recompute import recompute
from minivit.tensor import Tensor


class ViT(Module):
    """The model of `config`, initialised as the published code does from `seed`.

    At the start the head is zero: all logits equal config.head_bias, and only the head has a gradient.
    seed=None draws nothing: kernels and embeddings are zeros that take no memory, to be counted or loaded.
    dtype: "float32" or "float64". recompute_blocks: set to True, blocks keep only their input for the backward pass and
    are computed again there (activation checkpointing): less memory, more time, the same result. Not with a tap.
    """

    recompute_blocks = False

    def __init__(self, config: ViTConfig, seed: int | None = 0, dtype: str = "float32"):
        rng = None if seed is None else np.random.default_rng(seed)
        self.config = config
        self.stem = None if config.stem is None else ResNetStem(config, rng, dtype)
        self.patch_embed = PatchEmbed(config.patch_size, config.map_channels, config.width, rng, dtype)  # type: ignore[arg-type]
        if config.classifier == "token":
            self.class_token = init.parameter(init.constant(0, (1, 1, config.width)), dtype)
        self._init_position(rng, dtype)
        self.dropout = Dropout(config.dropout)
        self.blocks = [
            EncoderBlock(
                config.width,
                config.heads,
                config.mlp_width,
                rng,
                dtype,
                dropout=config.dropout,
                attention_dropout=config.attention_dropout,
                # 0 at the first block, drop_path at the last
                drop_path=config.drop_path * i / max(1, config.depth - 1),
                gelu=config.gelu,
                norm_eps=config.norm_eps,
            )
            for i in range(config.depth)
        ]
        self.norm = LayerNorm(config.width, config.norm_eps, dtype)
        features = config.width
        if config.representation_size:
            self.pre_logits = Linear(features, config.representation_size, rng, dtype, weight=init.lecun_normal)
            features = config.representation_size
        if config.num_classes:
            self.head = Linear(features, config.num_classes, rng, dtype, weight=init.zeros)
            self.head.bias.data += config.head_bias
        for name, tensor in self.named_parameters():
            tensor.name = name

    def _init_position(self, rng: Rng, dtype: str) -> None:
        (rows, columns), width = self.config.grid, self.config.width
        if self.config.position == "learned":
            table = init.normal(rng, (1, self.config.num_tokens, width), std=0.02)
            self.position_embedding = init.parameter(table, dtype)
        elif self.config.position == "learned2d":
            self.row_embedding = init.parameter(init.normal(rng, (rows, 1, width // 2), std=0.02), dtype)
            self.column_embedding = init.parameter(init.normal(rng, (1, columns, width // 2), std=0.02), dtype)

    def forward(self, images: Tensor | Array, tap: Tap = None, rng: Rng = None) -> Tensor:
        """Logits (B, num_classes), or features (B, D or representation_size) if the model has no head.

        images: (B, height, width, C); an array is brought to the parameters' dtype and device, its
        values as they are (the published code scales pixels to -1..1, and so does `minivit.data.normalize`).
        tap: a dict that collects intermediate values by name: "embedded" (B, N, D) after positions and dropout,
        "block0/attention_weights" (B, H, N, N) and "block0/output" (B, N, D) for every block, "encoded" (B, N, D)
        after the last LayerNorm, "features" (B, D or representation_size). Without it the last block computes the
        [class] row alone, if that is all the head reads: the same logits to rounding, with dropout other masks.
        rng: generator for dropout and stochastic depth; needed in training mode if a rate is above 0.
        """
        if not isinstance(images, Tensor):
            images = Tensor(asarray_like(images, self.norm.scale.data))
        expected = (*self.config.image_size, self.config.channels)  # type: ignore[misc]
        if images.shape[1:] != expected:
            raise ValueError(f"ViT: images are {images.shape}, expected (B, {', '.join(map(str, expected))})")
        x = self.dropout(self.embed(images), rng)
        if tap is not None:
            tap["embedded"] = x
        for i, block in enumerate(self.blocks):
            inner: Tap = None if tap is None else {}
            only_class = self.config.classifier == "token" and i == self.config.depth - 1 and tap is None
            queries = 1 if only_class else None  # of the last block the head sees one row
            if self.recompute_blocks and tap is None:
                x = recompute(functools.partial(block, queries=queries), x, block.parameters(), rng)
            else:
                x = block(x, rng, inner, queries=queries)
            if tap is not None and inner is not None:
                tap.update({f"block{i}/{name}": value for name, value in inner.items()})
        encoded = self.norm(x)
        features = encoded[:, 0] if self.config.classifier == "token" else encoded.mean(axis=1)
        if self.config.representation_size:
            features = F.tanh(self.pre_logits(features))
        if tap is not None:
            tap.update(encoded=encoded, features=features)
        return self.head(features) if self.config.num_classes else features

    def embed(self, images: Tensor) -> Tensor:
        """Eq. 1: z_0 = [x_class; x_p E] + E_pos.   (B, height, width, C) -> (B, N, D)."""
        x = self.patch_embed(images if self.stem is None else self.stem(images))
        batch, _, width = x.shape
        # A table of the grid alone gives the [class] token, which is itself learned, no position.
        if self.config.position in ("sincos2d", "learned2d"):
            x = x + self._grid_positions()
        if self.config.classifier == "token":
            x = F.concat(F.broadcast_to(self.class_token, (batch, 1, width)), x, axis=1)
        return x + self.position_embedding if self.config.position == "learned" else x

    def _grid_positions(self) -> Tensor:
        """(rows * columns, D): the table of position "sincos2d" or "learned2d"."""
        (rows, columns), width = self.config.grid, self.config.width
        if self.config.position == "sincos2d":
            return Tensor(asarray_like(sincos_2d((rows, columns), width), self.norm.scale.data))
        half = (rows, columns, width // 2)
        by_column = F.broadcast_to(self.column_embedding, half)
        by_row = F.broadcast_to(self.row_embedding, half)
        return F.concat(by_column, by_row, axis=2).reshape(rows * columns, width)
