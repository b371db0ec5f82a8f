"""A small causal language model in the style of Llama (Touvron et al. 2023, "LLaMA: Open and Efficient Foundation
Language Models", arXiv 2302.13971): the decoder of LLaVA and Flamingo.

    x = x + W_o attend(R q, R k, v) of RMSNorm(x),   x = x + W_d (silu(W_g h) * W_u h) with h = RMSNorm(x)

R turns features i and i + d/2 of a head, at position p, by the angle p theta^(-2i/d), d being the width of a head.
There are no biases. With fewer heads of keys and values than of queries (grouped-query attention), head h of the
queries reads head h // (H / G) of the keys. A token sees itself and those before it, and never padding.

Source: transformers, modeling_llama.py. Meta's own code turns features 2i and 2i + 1; there the rows of the weights
stand in another order, so the result is the same.

B batch, N tokens, W width, H heads of queries, G heads of keys, d = W / H, V words.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.backend import Array, xp_of
from minivit.errors import ConfigError
from minivit.files.checks import at_least, epsilon, heads_divide, positive
from minivit.lineage.masked_tokens import weighted_cross_entropy
from minivit.nn import Embedding, Linear, Module, SwiGLU
from minivit.nn import initialisers as init
from minivit.nn.layers import Tap
from minivit.nn.rms_norm import RMSNorm
from minivit.tensor import Tensor

IGNORED = -100  # the label of a token that is not to be predicted
Before = Callable[[int, Tensor], Tensor]


@dataclasses.dataclass(frozen=True)
class LlamaConfig:
    """vocabulary: number of token ids. width, mlp_width, depth, heads. kv_heads: of keys and values (0: as many as
    heads). head_width: (0: width / heads). theta: base of the angles. tied: whether the logits use the table of words.
    deviation: of matrices and tables at first. The defaults are those of Llama with 7 billion parameters."""

    vocabulary: int = 32_000
    width: int = 4096
    mlp_width: int = 11_008
    depth: int = 32
    heads: int = 32
    kv_heads: int = 0
    head_width: int = 0
    norm_eps: float = 1e-5
    theta: float = 10_000.0
    tied: bool = False
    deviation: float = 0.02

    def __post_init__(self) -> None:
        at_least(self, 1, "vocabulary", "width", "mlp_width", "depth", "heads")
        at_least(self, 0, "kv_heads", "head_width", "deviation")
        positive(self, "theta")
        epsilon(self)
        if not self.head_width:
            heads_divide(self.width, self.heads)
            object.__setattr__(self, "head_width", self.width // self.heads)
        object.__setattr__(self, "kv_heads", self.kv_heads or self.heads)
        if self.heads % self.kv_heads:
            raise ConfigError(f"kv_heads is {self.kv_heads}, expected a divisor of heads {self.heads}")
        if self.head_width % 2:
            raise ConfigError(f"heads are {self.head_width} features wide, expected an even number: RoPE turns pairs")


class Attention(Module):
    """Causal attention with positions in queries and keys.   (B, N, W) -> (B, N, W)."""

    def __init__(self, config: LlamaConfig, rng: init.Rng, dtype: str):
        self.config = config
        wide, narrow = config.heads * config.head_width, config.kv_heads * config.head_width
        self.query = Linear(config.width, wide, rng, dtype, bias=False)
        self.key = Linear(config.width, narrow, rng, dtype, bias=False)
        self.value = Linear(config.width, narrow, rng, dtype, bias=False)
        self.out = Linear(wide, config.width, rng, dtype, bias=False)

    def forward(self, x: Tensor, turn: Array, mask: Array) -> Tensor:
        """turn: angles (N, 1, d / 2). mask: as of `ops.attend`."""
        heads = self.config.heads
        q = F.rotate(self._by_head(self.query(x)), turn, halves=True)
        k = F.rotate(self._by_head(self.key(x)), turn, halves=True)
        v = self._by_head(self.value(x))
        q = q.reshape(*x.shape[:2], -1)
        return self.out(F.attend(q, self._shared(k), self._shared(v), heads=heads, mask=mask))

    def _by_head(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], -1, self.config.head_width)

    def _shared(self, x: Tensor) -> Tensor:
        """Each head of keys or values once for every head of queries: (B, N, G, d) -> (B, N, H d)."""
        batch, tokens, count, width = x.shape
        times = self.config.heads // count
        if times > 1:
            x = F.broadcast_to(x.reshape(batch, tokens, count, 1, width), (batch, tokens, count, times, width))
        return x.reshape(batch, tokens, count * times * width)


class Layer(Module):
    """(B, N, W) -> (B, N, W)."""

    def __init__(self, config: LlamaConfig, rng: init.Rng, dtype: str):
        self.norm1 = RMSNorm(config.width, config.norm_eps, dtype)
        self.attention = Attention(config, rng, dtype)
        self.norm2 = RMSNorm(config.width, config.norm_eps, dtype)
        self.mlp = SwiGLU(config.width, config.mlp_width, rng, dtype, bias=False)

    def forward(self, x: Tensor, turn: Array, mask: Array, tap: Tap = None) -> Tensor:
        """tap: "attention" (B, N, W), what attention adds."""
        y = self.attention(self.norm1(x), turn, mask)
        if tap is not None:
            tap["attention"] = y
        x = x + y
        return x + self.mlp(self.norm2(x))


class Llama(Module):
    """Embedded tokens -> logits of the next ones.   (B, N, W) -> (B, N, V). seed=None draws nothing."""

    def __init__(self, config: LlamaConfig, seed: int | None = 0, dtype: str = "float32"):
        self.config, rng = config, None
        self.words = Embedding(config.vocabulary, config.width, rng, dtype)
        self.layers = [Layer(config, rng, dtype) for _ in range(config.depth)]
        self.norm = RMSNorm(config.width, config.norm_eps, dtype)
        self.head: Any = None if config.tied else Linear(config.width, config.vocabulary, rng, dtype, bias=False)
        if seed is not None:
            draw(self, np.random.default_rng((seed, 4)), config.deviation)

    def forward(self, x: Tensor, seen: Array | None = None, tap: Tap = None, before: Before | None = None) -> Tensor:
        """seen: (B, N), 0 for padding. before: called with (i, x) ahead of layer i; gives the layer's input.
        tap: "layer0/attention", "layer0/output" and so on, "encoded" (B, N, W)."""
        turn, mask = self.angles(x), visible(x, seen)
        for i, layer in enumerate(self.layers):
            inner: Tap = None if tap is None else {}
            x = layer(x if before is None else before(i, x), turn, mask, inner)
            if tap is not None:
                tap.update({f"layer{i}/{name}": value for name, value in (inner or {}).items()})
                tap[f"layer{i}/output"] = x
        x = self.norm(x)
        if tap is not None:
            tap["encoded"] = x
        return F.linear(x, self.words.table.T) if self.head is None else self.head(x)

    def angles(self, x: Tensor) -> Array:
        """(N, 1, d / 2), for positions 0 ... N - 1."""
        xp = xp_of(x.data)
        return angles(xp.arange(x.shape[1]), self.config.head_width, self.config.theta)[:, None]


def angles(positions: Array, width: int, theta: float) -> Array:
    """p theta^(-2i/d).   (...), d -> (..., d / 2)."""
    return positions[..., None] * theta ** (-2 * xp_of(positions).arange(width // 2) / width)


def visible(x: Tensor, seen: Array | None) -> Array:
    """What a token sees: (N, N), or (B, 1, N, N) with padding."""
    before = xp_of(x.data).tri(x.shape[1], dtype=bool)
    return before if seen is None else before & (seen != 0)[:, None, None, :]


def draw(module: Module, rng: np.random.Generator, deviation: float) -> None:
    """Draw all matrices and tables from a normal distribution."""
    for _, tensor in module.named_parameters():
        if tensor.ndim == 2:
            tensor.data[...] = init.normal(rng, tensor.shape, deviation)


def shares(labels: np.ndarray) -> np.ndarray:
    """Weights (B, N - 1) that make the mean over examples a mean over all tokens of the batch that are to be
    predicted. labels: (B, N), IGNORED for the others."""
    counted = labels[:, 1:] != IGNORED
    return counted * (len(labels) / max(1, counted.sum()))


def next_token_loss(logits: Tensor, labels: Array, weight: Array) -> Tensor:
    """Row n of the logits (B, N, V) answers for label n + 1 of (B, N).   weight: from `shares`."""
    return weighted_cross_entropy(logits[:, :-1], labels[:, 1:], weight)


def right(logits: Tensor, labels: Array, weight: Array) -> Array:
    """The weighted number of tokens that are the most probable ones."""
    return ((logits.data[:, :-1].argmax(axis=-1) == labels[:, 1:]) * weight).sum()
