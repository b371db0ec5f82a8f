"""The Q-Former of BLIP-2: BERT's layers with learned queries, which also attend to an image (Li et al. 2023, arXiv
2301.12597). `blip2.py` trains it.

Source: salesforce/LAVIS, Qformer.py. Queries have no positions. They go through the LayerNorm of the embeddings as
words do.

B batch, N tokens of the image encoder, C their width, M queries, T words of a text, D width of the Q-Former.
"""

import dataclasses
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.backend import Array, xp_of
from minivit.files.checks import at_least, epsilon, heads_divide, one_of, positive, rates
from minivit.files.fields import settle
from minivit.lineage import words
from minivit.nn import MLP, CrossAttention, Dropout, Embedding, LayerNorm, Linear, Module
from minivit.nn import initialisers as init
from minivit.nn.layers import Rng, Tap
from minivit.nn.masked import MaskedAttention
from minivit.tensor import Tensor


@dataclasses.dataclass(frozen=True)
class QFormerConfig:
    """queries: M. cross_every: layers 0, cross_every, 2 cross_every ... attend to the image. text: whether words have
    MLPs and tables; in stage 2 they do not. vocabulary, positions: of words. deviation: of the first
    values; small widths need a larger one. The defaults are the paper's."""

    queries: int = 32
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_width: int = 3072
    cross_every: int = 2
    text: bool = True
    vocabulary: int = 30_523
    positions: int = 512
    dropout: float = 0.1
    attention_dropout: float = 0.1
    gelu: str = "erf"
    norm_eps: float = 1e-12
    deviation: float = 0.02

    def __post_init__(self) -> None:
        settle(self)
        counts = "queries width depth heads mlp_width cross_every vocabulary positions"
        at_least(self, 1, *counts.split())
        heads_divide(self.width, self.heads)
        rates(self, "dropout", "attention_dropout")
        epsilon(self)
        positive(self, "deviation")
        one_of(self, gelu=("erf", "tanh"))


class Layer(Module):
    """One layer of the Q-Former.   [queries; words] (B, M + T, D), patches (B, N, C) -> (B, M + T, D)."""

    def __init__(self, config: QFormerConfig, crosses: bool, context_width: int, dtype: str):
        width, heads, drop, eps = config.width, config.heads, config.attention_dropout, config.norm_eps
        self.attention = MaskedAttention(width, heads, None, dtype, drop)
        self.norm1 = LayerNorm(width, eps, dtype)
        self.cross: Any = CrossAttention(width, heads, context_width, None, dtype, drop) if crosses else None
        self.cross_norm: Any = LayerNorm(width, eps, dtype) if crosses else None
        self.query_mlp = MLP(width, config.mlp_width, None, dtype, gelu=config.gelu)
        self.query_norm = LayerNorm(width, eps, dtype)
        self.mlp: Any = MLP(width, config.mlp_width, None, dtype, gelu=config.gelu) if config.text else None
        self.norm2: Any = LayerNorm(width, eps, dtype) if config.text else None
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, queries: int, context: Tensor | None, mask: Array | None, rng: Rng = None) -> Tensor:
        """queries: how many of the tokens are queries, the first ones. mask: as of `MaskedAttention`."""

        def branch(y: Tensor, of: Tensor, norm: Module) -> Tensor:
            return norm(y + self.dropout(of, rng))

        x = branch(x, self.attention(x, rng, mask=mask), self.norm1)
        asking, text = x[:, :queries], x[:, queries:]
        if queries and self.cross is not None:
            asking = branch(asking, self.cross(asking, context, rng), self.cross_norm)
        if queries:
            asking = branch(asking, self.query_mlp(asking, rng), self.query_norm)
        if text.shape[1]:
            text = branch(text, self.mlp(text, rng), self.norm2)
        return F.concat(asking, text, axis=1) if queries and text.shape[1] else asking if queries else text


class QFormer(Module):
    """Patches, words or both -> a row for each query and word. Matrices, tables and queries begin as in BERT. seed=None
    draws nothing."""

    def __init__(self, config: QFormerConfig, context_width: int, seed: int | None = 0, dtype: str = "float32"):
        self.config, width = config, config.width
        self.queries = init.parameter(init.constant(0, (config.queries, width)), dtype)
        if config.text:
            self.words = Embedding(config.vocabulary, width, None, dtype)
            self.positions = Embedding(config.positions, width, None, dtype)
        self.norm = LayerNorm(width, config.norm_eps, dtype)
        self.dropout = Dropout(config.dropout)
        every = config.cross_every
        self.layers = [Layer(config, i % every == 0, context_width, dtype) for i in range(config.depth)]
        if seed is not None:
            words.draw(self, np.random.default_rng((seed, 2)), config.deviation)

    def forward(
        self,
        context: Tensor | None = None,
        ids: Array | None = None,
        seen: Array | None = None,
        causal: bool = False,
        rng: Rng = None,
        tap: Tap = None,
    ) -> Tensor:
        """(B, M + T, D): of the queries if there is a context (B, N, C), then of the words if there are ids (B, T).

        seen: (B, T), 0 for padding, at which nothing looks. causal: queries do not look at words, nor words at later
        ones. tap: collects "layer0" and so on, (B, M + T, D).
        """
        parts = []
        if context is not None:
            parts.append(F.broadcast_to(self.queries, (len(context), *self.queries.shape)))
        if ids is not None:
            parts.append(self.words(ids) + self.positions.table[: ids.shape[1]])
        count = 0 if context is None else self.config.queries
        mask = None if ids is None else self.mask(ids, seen, count, causal)
        x = self.dropout(self.norm(F.concat(*parts, axis=1) if len(parts) > 1 else parts[0]), rng)
        for i, layer in enumerate(self.layers):
            x = layer(x, count, context, mask, rng)
            if tap is not None:
                tap[f"layer{i}"] = x
        return x

    @staticmethod
    def mask(ids: Array, seen: Array | None, queries: int, causal: bool) -> Array:
        """What may look at what: booleans (B, 1, M + T, M + T), or (B, 1, 1, M + T) where all look at the same."""
        xp = xp_of(ids)
        shown = xp.ones(ids.shape, dtype=bool) if seen is None else seen != 0
        shown = xp.concatenate([xp.ones((len(ids), queries), dtype=bool), shown], axis=1)[:, None, None, :]
        if not causal:
            return shown
        tokens = shown.shape[-1]
        before = xp.tri(tokens, dtype=bool)
        before[:queries, :queries] = True
        return shown & before


class Prefix(Module):
    """Stage 2: patches (B, N, C) -> the first M inputs of a language model (B, M, W), whose words follow them."""

    def __init__(self, qformer: QFormer, width: int, rng: init.Rng, dtype: str = "float32"):
        self.qformer = qformer
        self.projection = Linear(qformer.config.width, width, rng, dtype)

    def forward(self, patches: Tensor, rng: Rng = None) -> Tensor:
        return self.projection(self.qformer(patches, rng=rng))
