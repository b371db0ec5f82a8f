"""Things that own parameters: Module and the layers of a Transformer encoder."""

from minivit.nn.batch_norm import BatchNorm
from minivit.nn.convolution import Conv
from minivit.nn.layers import (
    MLP,
    Dropout,
    DropPath,
    EncoderBlock,
    LayerNorm,
    Linear,
    MultiHeadAttention,
    PatchEmbed,
    patchify,
)
from minivit.nn.module import Module

__all__ = [
    "MLP", "BatchNorm", "Conv", "DropPath", "Dropout", "EncoderBlock", "LayerNorm", "Linear", "Module",
    "MultiHeadAttention", "PatchEmbed", "patchify",
]  # fmt: skip
