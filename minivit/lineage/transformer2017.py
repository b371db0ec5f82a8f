"""The Transformer (Vaswani et al. 2017, "Attention Is All You Need", arXiv 1706.03762), from which the ViT descends.

    z' = LN(z + MSA(z)),   z'' = LN(z' + W_2 max(0, W_1 z' + b_1) + b_2),   no LayerNorm at the end.

Against it the ViT normalises before each branch, has a LayerNorm at the end, GELU, learned positions and a [class]
token. Normalising after the branch keeps the gradient of the last layers large at the start, whatever the depth (Xiong
et al. 2020, arXiv 2002.04745), so training needs a warm-up: `rate`. With norm="pre" the same parameters make a layer
that normalises before. Positions are not learned: feature 2i of place p is sin(p / 10000^(2i / D)), feature 2i + 1 its
cosine; sines and cosines alternate. Embedded words are multiplied by sqrt(D) before the positions are added.

The decoder has a third branch between the two, which attends to the encoder's result, and its own attention is causal.
One table embeds both languages and, transposed, makes the logits.

Source: tensorflow/tensor2tensor and torch.nn.Transformer. They differ: tensor2tensor has epsilon 1e-6, sines in the
first half of the features and cosines in the second, and normalises before the branches in later versions; torch has
epsilon 1e-5 and a LayerNorm at the end of both stacks by default, which the paper does not mention. `norm_eps` and
`final_norm` are fields. Dropout is on branches and on sums of embeddings, as in the paper; torch also drops attention
weights and hidden features.

For images, `PatchTransformer` takes patches for words: a mean over the encoder's tokens and a linear head classify.

B batch, M and N tokens, D width, H heads, F MLP width, V words, C channels, P patch size.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from minivit import functional as F
from minivit.backend import Array, xp_of
from minivit.files.checks import at_least, epsilon, heads_divide, one_of, patches_tile, rates
from minivit.files.fields import settle
from minivit.models.config import Size, variant_fields
from minivit.models.families import Family
from minivit.models.head import Head
from minivit.nn import CrossAttention, Dropout, Embedding, LayerNorm, Linear, Module, PatchEmbed
from minivit.nn import initialisers as init
from minivit.nn.layers import Rng, Tap
from minivit.nn.masked import MaskedAttention
from minivit.nn.post_norm import PostNormBlock
from minivit.tensor import Tensor

PARITY = "values and gradients of torch.nn's encoder, with padding"


@dataclasses.dataclass(frozen=True)
class Transformer2017Config:
    """width D, depth, heads H and mlp_width F of the layers, the paper's base model by default; dropout. norm: "post"
    or "pre"; final_norm: a LayerNorm after the last layer, which pre-norm layers need; act: "relu" or "gelu".

    vocabulary: words V of a `Transformer`. image_size, patch_size, channels, num_classes: of a `PatchTransformer`.
    """

    width: int = 512
    depth: int = 6
    heads: int = 8
    mlp_width: int = 2048
    dropout: float = 0.1
    norm: str = "post"
    final_norm: bool = False
    act: str = "relu"
    norm_eps: float = 1e-6
    vocabulary: int = 0
    image_size: Size = Size(224)
    patch_size: Size = Size(16)
    channels: int = 3
    num_classes: int = 1000

    def __post_init__(self) -> None:
        settle(self)
        one_of(self, norm=("post", "pre"), act=("relu", "gelu"))
        at_least(self, 1, "width", "depth", "heads", "mlp_width", "channels")
        at_least(self, 0, "num_classes", "vocabulary")
        epsilon(self)
        heads_divide(self.width, self.heads)
        rates(self, "dropout")
        patches_tile(self.image_size, self.patch_size)

    @property
    def num_tokens(self) -> int:
        """N: patches of an image."""
        return math.prod(self.image_size) // math.prod(self.patch_size)

    @property
    def description(self) -> str:
        """The model in a few words."""
        kind = f"{self.norm}-norm, width {self.width}, depth {self.depth}, {self.heads} heads"
        return f"Transformer of 2017: {kind}, {self.num_tokens} tokens"


def sinusoids(length: int, width: int, base: float = 10_000.0) -> np.ndarray:
    """The table of positions (N, D): sin, cos, sin, cos, ... with D / 2 frequencies; an odd width ends with a sine."""
    angles = np.arange(length)[:, None] / base ** (np.arange(0, width, 2) / width)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1).reshape(length, -1)[:, :width]


def rate(step: int, width: int = 512, warmup: int = 4000) -> float:
    """The paper's learning rate of update `step`, counted from 1: it rises linearly, then falls as 1 / sqrt(step)."""
    return width**-0.5 * min(step**-0.5, step * warmup**-1.5)


class FeedForward(Module):
    """Two dense layers with a ReLU (or GELU) between.   x: (B, N, D) -> (B, N, F) -> (B, N, D)."""

    def __init__(self, config: Transformer2017Config, rng: init.Rng, dtype: str):
        self.hidden = Linear(config.width, config.mlp_width, rng, dtype)
        self.out = Linear(config.mlp_width, config.width, rng, dtype)
        self.act = config.act

    def forward(self, x: Tensor, rng: Rng = None) -> Tensor:
        x = self.hidden(x)
        return self.out(F.relu(x) if self.act == "relu" else F.gelu(x, "erf"))


class PreNormBlock(PostNormBlock):
    """The parameters of PostNormBlock, normalising before each branch: z' = z + MSA(LN(z)), z'' = z' + MLP(LN(z'))."""

    def forward(self, x: Tensor, rng: Rng = None, tap: Tap = None, mask: Array | None = None) -> Tensor:
        x = x + self.dropout(self.attention(self.norm1(x), rng, tap, mask=mask), rng)
        x = x + self.dropout(self.mlp(self.norm2(x), rng), rng)
        if tap is not None:
            tap["output"] = x
        return x


class Encoder(Module):
    """Layers of self-attention.   x: (B, N, D) -> (B, N, D)."""

    def __init__(self, config: Transformer2017Config, rng: init.Rng, dtype: str = "float32"):
        self.layers = [layer(config, rng, dtype) for _ in range(config.depth)]
        self.norm = LayerNorm(config.width, config.norm_eps, dtype) if config.final_norm else None

    def forward(self, x: Tensor, rng: Rng = None, tap: Tap = None, padding: Array | None = None) -> Tensor:
        """padding: (B, N), True where there is no word. No query looks there; what the padding itself asks for is
        computed, and means nothing. tap: collects "layer0/..." of each layer."""
        mask = None if padding is None else ~padding[:, None, None, :]
        for i, block in enumerate(self.layers):
            inner: Tap = None if tap is None else {}
            x = block(x, rng, inner, mask)
            if tap is not None:
                tap.update({f"layer{i}/{name}": value for name, value in (inner or {}).items()})
        return self.norm(x) if self.norm else x


def layer(config: Transformer2017Config, rng: init.Rng, dtype: str) -> PostNormBlock:
    """One layer of the encoder."""
    attention = MaskedAttention(config.width, config.heads, rng, dtype)
    kind = PostNormBlock if config.norm == "post" else PreNormBlock
    mlp = FeedForward(config, rng, dtype)
    return kind(attention, mlp, config.width, dtype, config.dropout, config.norm_eps)


class DecoderLayer(Module):
    """Causal self-attention, attention to the encoder's result, MLP, each with its LayerNorm.   x: (B, M, D), memory:
    (B, N, D) -> (B, M, D)."""

    def __init__(self, config: Transformer2017Config, rng: init.Rng, dtype: str = "float32"):
        width = config.width
        self.attention = MaskedAttention(width, config.heads, rng, dtype)
        self.norm1 = LayerNorm(width, config.norm_eps, dtype)
        self.cross = CrossAttention(width, config.heads, width, rng, dtype)
        self.norm2 = LayerNorm(width, config.norm_eps, dtype)
        self.mlp = FeedForward(config, rng, dtype)
        self.norm3 = LayerNorm(width, config.norm_eps, dtype)
        self.dropout = Dropout(config.dropout)
        self.first = config.norm == "pre"

    def forward(self, x: Tensor, memory: Tensor, rng: Rng = None, seen: Array | None = None) -> Tensor:
        """seen: which tokens of the encoder may be looked at, (B, 1, 1, N)."""
        before = xp_of(x.data).tri(x.shape[1], dtype=bool)
        x = self._add(self.norm1, x, lambda y: self.attention(y, rng, mask=before), rng)
        x = self._add(self.norm2, x, lambda y: self.cross(y, memory, rng, mask=seen), rng)
        return self._add(self.norm3, x, lambda y: self.mlp(y, rng), rng)

    def _add(self, norm: LayerNorm, x: Tensor, branch: Callable[[Tensor], Tensor], rng: Rng) -> Tensor:
        if self.first:
            return x + self.dropout(branch(norm(x)), rng)
        return norm(x + self.dropout(branch(x), rng))


class Transformer(Module):
    """Sentences of one language -> logits of the next word in the other.   (B, N) and (B, M) -> (B, M, V)."""

    def __init__(self, config: Transformer2017Config, seed: int | None = 0, dtype: str = "float32"):
        rng = None if seed is None else np.random.default_rng(seed)
        self.config = config
        self.words = Embedding(config.vocabulary, config.width, rng, dtype, std=config.width**-0.5)
        self.dropout = Dropout(config.dropout)
        self.encoder = Encoder(config, rng, dtype)
        self.layers = [DecoderLayer(config, rng, dtype) for _ in range(config.depth)]
        self.norm = LayerNorm(config.width, config.norm_eps, dtype) if config.final_norm else None

    def forward(self, source: Array, target: Array, padding: Array | None = None, rng: Rng = None) -> Tensor:
        """padding: (B, N), True where the source has no word. `target` begins with a start word."""
        memory = self.encoder(self.embed(source, rng), rng, padding=padding)
        x = self.embed(target, rng)
        for block in self.layers:
            x = block(x, memory, rng, None if padding is None else ~padding[:, None, None, :])
        return (self.norm(x) if self.norm else x) @ self.words.table.T

    def embed(self, ids: Array, rng: Rng = None) -> Tensor:
        """Vectors of words times sqrt(D), and positions: (B, N) -> (B, N, D)."""
        places = self.like(sinusoids(ids.shape[1], self.config.width))
        return self.dropout(self.words(ids) * self.config.width**0.5 + places, rng)


class PatchTransformer(Module):
    """The encoder as a classifier of images, with patches for words. The head is zero at the start.   (B, height,
    width, C) -> logits (B, K), or features (B, D) without a head."""

    def __init__(self, config: Transformer2017Config, seed: int | None = 0, dtype: str = "float32"):
        rng = None if seed is None else np.random.default_rng(seed)
        self.config = config
        self.patch_embed = PatchEmbed(config.patch_size, config.channels, config.width, rng, dtype)
        self.positions = Tensor(sinusoids(config.num_tokens, config.width).astype(dtype))
        self.dropout = Dropout(config.dropout)
        self.encoder = Encoder(config, rng, dtype)
        if config.num_classes:
            self.head = Head(config.width, config.num_classes, rng, dtype, weight=init.zeros)
        for name, tensor in self.named_parameters():
            tensor.name = name

    def forward(self, images: Tensor | Array, tap: Tap = None, rng: Rng = None) -> Tensor:
        """tap: collects "embedded", "layer0/..." of each layer, "encoded" and "features"."""
        x = self.dropout(self.patch_embed(self.tensor(images)) + self.positions, rng)
        encoded = self.encoder(x, rng, tap)
        features = encoded.mean(axis=1)
        if tap is not None:
            tap.update(embedded=x, encoded=encoded, features=features)
        return self.head(features) if self.config.num_classes else features


def fields(name: str) -> dict:
    """The fields for "transformer2017-Ti/4", with the sizes of the ViT of that name."""
    return variant_fields(name.partition("-")[2])


FAMILY = Family(Transformer2017Config, PatchTransformer, r"transformer2017-.+", fields)
