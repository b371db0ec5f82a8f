"""The Vision Transformer (Dosovitskiy et al. 2020), from image to logits.

B batch, N tokens, D width, C channels; images are (B, height, width, C), channels last.
"""

import functools

import numpy as np

from minivit import functional as F
from minivit.backend import Array
from minivit.models.config import ViTConfig
from minivit.models.head import Head
from minivit.models.hybrid import ResNetStem
from minivit.models.placed_attention import attention_layer
from minivit.models.positions import patch_positions, position_tables
from minivit.nn import MLP, Dropout, EncoderBlock, LayerNorm, Linear, Module, PatchEmbed
from minivit.nn import initialisers as init
from minivit.nn.layers import Rng, Tap
from minivit.nn.recompute import recompute
from minivit.tensor import Tensor


class ViT(Module):
    """The model of `config`, initialised as the published code does from `seed`.

    At the start the head is zero: all logits equal config.head_bias, and only the head has a gradient.
    seed=None draws nothing: kernels and embeddings are zeros that take no memory, to be counted or loaded.
    dtype: "float32" or "float64". recompute_blocks: set to True, blocks keep only their input for the backward pass and
    are computed again there (activation checkpointing): less memory, more time, the same result. Not with a tap.
    """

    recompute_blocks = False
    position_embedding: Tensor

    def __init__(self, config: ViTConfig, seed: int | None = 0, dtype: str = "float32"):
        rng = None if seed is None else np.random.default_rng(seed)
        self.config = config
        self.stem = None if config.stem is None else ResNetStem(config, rng, dtype)
        self.patch_embed = PatchEmbed(config.patch_size, config.map_channels, config.width, rng, dtype)
        for name, count in config.prefix_tokens.items():
            std = 0.0 if name == "class_token" else 0.02
            setattr(self, name, init.parameter(init.normal(rng, (1, count, config.width), std), dtype))
        vars(self).update(position_tables(config, rng, dtype))
        self.dropout = Dropout(config.dropout)
        self.blocks = [encoder_block(config, i, rng, dtype) for i in range(config.depth)]
        self.norm = LayerNorm(config.width, config.norm_eps, dtype)
        features = config.width
        if config.representation_size:
            self.pre_logits = Linear(features, config.representation_size, rng, dtype, weight=init.lecun_normal)
            features = config.representation_size
        if config.num_classes:
            self.head = Head(features, config.num_classes, rng, dtype, weight=init.zeros)
            self.head.bias.data += config.head_bias
        if config.num_classes and config.distillation_token:
            self.distillation_head = Head(features, config.num_classes, rng, dtype, weight=init.zeros)
        for name, tensor in self.named_parameters():
            tensor.name = name

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
        images = self.tensor(images)
        expected = (*self.config.image_size, self.config.channels)
        if images.shape[1:] != expected:
            raise ValueError(f"ViT: images are {images.shape}, expected (B, {', '.join(map(str, expected))})")
        x = self.dropout(self.embed(images), rng)
        if tap is not None:
            tap["embedded"] = x
        # without a tap, only the rows of the last block that the head reads
        read = 1 + self.config.distillation_token if self.config.classifier == "token" and tap is None else None
        return self.classify(self.encode(x, rng, tap, read), tap)

    def embed(self, images: Tensor) -> Tensor:
        """Eq. 1: z_0 = [x_class; x_p E] + E_pos.   (B, height, width, C) -> (B, N, D)."""
        x = self.patch_embed(images if self.stem is None else self.stem(images))
        batch, _, width = x.shape
        if (table := patch_positions(self)) is not None:
            x = x + table
        prefix = self.config.prefix_tokens.items()
        before = [F.broadcast_to(getattr(self, name), (batch, count, width)) for name, count in prefix]
        x = F.concat(*before, x, axis=1) if before else x
        everywhere = self.config.position == "learned" and not self.config.no_embed_class
        return x + self.position_embedding if everywhere else x

    def encode(self, x: Tensor, rng: Rng = None, tap: Tap = None, read: int | None = None) -> Tensor:
        """Blocks and last LayerNorm (with fc_norm, `classify` applies it) of any tokens: Eq. 2 to 4.   (B, N, D) -> the
        same, or (B, read, D): the last block computes only the first `read` rows.   tap: as in `forward`."""
        for i, block in enumerate(self.blocks):
            inner: Tap = None if tap is None else {}
            queries = read if i == self.config.depth - 1 else None
            if self.recompute_blocks and tap is None:
                x = recompute(functools.partial(block, queries=queries), x, block.parameters(), rng)
            else:
                x = block(x, rng, inner, queries)
            for name, value in (inner or {}).items():
                tap[f"block{i}/{name}"] = value  # type: ignore[index]
        return x if self.config.fc_norm else self.norm(x)

    def classify(self, encoded: Tensor, tap: Tap = None) -> Tensor:
        """What `encode` gives -> features (B, D or representation_size) -> logits, if there is a head. With a [class]
        token only its row is read, and that of a distillation token.   tap: as in `forward`."""
        if self.config.classifier == "token":
            features = encoded[:, :2].mean(axis=1) if self.config.distillation_token else encoded[:, 0]
        else:
            before = self.config.num_prefix_tokens
            features = (encoded[:, before:] if before else encoded).mean(axis=1)
        if self.config.fc_norm:
            features = self.norm(features)
        if self.config.representation_size:
            features = F.tanh(self.pre_logits(features))
        if tap is not None:
            tap.update(encoded=encoded, features=features)
        if self.config.num_classes and self.config.distillation_token:
            return (self.head(encoded[:, 0]) + self.distillation_head(encoded[:, 1])) * 0.5
        return self.head(features) if self.config.num_classes else features


def encoder_block(config: ViTConfig, i: int, rng: init.Rng, dtype: str) -> EncoderBlock:
    """Block i of the model of `config`."""
    attention = attention_layer(config, rng, dtype)
    mlp = MLP(config.width, config.mlp_width, rng, dtype, config.dropout, config.gelu)
    drop_path = config.drop_path * i / max(1, config.depth - 1)  # 0 at the first block, drop_path at the last
    return EncoderBlock(
        attention, mlp, config.width, dtype, config.dropout, drop_path, config.norm_eps, config.layer_scale
    )
