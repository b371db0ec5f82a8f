"""Things that own parameters: Module and the layers of a Transformer encoder."""

from minivit.nn.attention import CausalAttention, CrossAttention
from minivit.nn.batch_norm import BatchNorm
from minivit.nn.convolution import Conv
from minivit.nn.embedding import Embedding
from minivit.nn.headwise import HeadwiseAttention
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
from minivit.nn.rms_norm import RMSNorm, ScaleNorm
from minivit.nn.swiglu import SwiGLU

__all__ = [
    "MLP", "BatchNorm", "CausalAttention", "Conv", "CrossAttention", "DropPath", "Dropout", "Embedding",
    "EncoderBlock", "HeadwiseAttention", "LayerNorm", "Linear", "Module", "MultiHeadAttention", "PatchEmbed", "RMSNorm",
    "ScaleNorm", "SwiGLU", "patchify",
]  # fmt: skip
