"""BERT: an encoder that learns from words hidden from it (Devlin et al. 2018, "BERT: Pre-training of Deep Bidirectional
Transformers for Language Understanding", arXiv 1810.04805).

The encoder is that of the Transformer of 2017, LayerNorm after each branch, with GELU and with learned positions:

    z_0 = LN(word + position + type),   z' = LN(z + MSA(z)),   z'' = LN(z' + MLP(z')).

New: it is trained without labels, and then tuned. 15 % of the words are chosen. Of these, 80 % become [MASK], 10 %
become a random word, and 10 % stay as they are, so every word may have to be predicted. The loss is the mean cross
entropy over the chosen words. The logits are LN(GELU(W z)) times the table of words, transposed, plus a bias. The first
token is [CLS]. It stands for the whole, as in the ViT: tanh of a dense layer (the pooler) reads it, and in training it
says whether the second sentence follows the first. Types tell the sentences apart. The ViT took [CLS], GELU and learned
positions from here. MAE and BEiT hide patches as BERT hides words.

Source: google-research/bert, modeling.py. Its optimiser is Adam without the bias correction, and weight decay spares
biases and LayerNorms. Epsilon of LayerNorm is 1e-12. GELU is the exact one in Hugging Face's "gelu" and the tanh form
in modeling.py, which Hugging Face calls "gelu_new". Here each word is chosen independently of the others. The published
code makes its data beforehand, with a fixed share of each text.

B batch, N tokens, D width, H heads, F MLP width, V words.
"""

import dataclasses
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.backend import Array, xp_of
from minivit.errors import ConfigError
from minivit.files.checks import at_least, epsilon, heads_divide, one_of, rates
from minivit.files.fields import settle
from minivit.lineage.words import IGNORED, draw
from minivit.nn import MLP, Dropout, Embedding, LayerNorm, Linear, Module
from minivit.nn import initialisers as init
from minivit.nn.layers import Rng, Tap
from minivit.nn.masked import MaskedAttention
from minivit.nn.post_norm import PostNormBlock
from minivit.tensor import Tensor

PARITY = (
    "logits, loss, gradients and inner values of Hugging Face's model, with padding; published numbers of parameters"
)


@dataclasses.dataclass(frozen=True)
class BertConfig:
    """Those of BERT-base by default. positions: the longest text; types: of sentences. pooler, words_head, next_head:
    which of the parts after the encoder exist. gelu: "erf" or "tanh"."""

    vocabulary: int = 30_522
    positions: int = 512
    types: int = 2
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_width: int = 3072
    dropout: float = 0.1
    attention_dropout: float = 0.1
    gelu: str = "erf"
    norm_eps: float = 1e-12
    pooler: bool = True
    words_head: bool = True
    next_head: bool = False

    def __post_init__(self) -> None:
        settle(self)
        at_least(self, 1, "vocabulary", "positions", "types", "width", "depth", "heads", "mlp_width")
        heads_divide(self.width, self.heads)
        rates(self, "dropout", "attention_dropout")
        epsilon(self)
        one_of(self, gelu=("erf", "tanh"))
        if self.next_head and not self.pooler:
            raise ConfigError("next_head reads the pooler, so pooler cannot be false")

    @property
    def description(self) -> str:
        """The model in a few words."""
        return f"Bert: width {self.width}, depth {self.depth}, {self.heads} heads, {self.vocabulary:,} words"


class Bert(Module):
    """Words -> their encodings. The heads are methods: `words`, `pooled`, `follows`.

    Matrices and tables begin normal with deviation 0.02, cut off at two deviations. seed=None draws nothing.
    """

    def __init__(self, config: BertConfig, seed: int | None = 0, dtype: str = "float32"):
        rng = None  # everything is drawn at the end
        self.config, width = config, config.width
        self.words = Embedding(config.vocabulary, width, rng, dtype)
        self.positions = Embedding(config.positions, width, rng, dtype)
        self.types = Embedding(config.types, width, rng, dtype)
        self.norm = LayerNorm(width, config.norm_eps, dtype)
        self.dropout = Dropout(config.dropout)
        self.blocks = []
        for _ in range(config.depth):
            attention = MaskedAttention(width, config.heads, rng, dtype, config.attention_dropout)
            mlp = MLP(width, config.mlp_width, rng, dtype, gelu=config.gelu)
            self.blocks.append(PostNormBlock(attention, mlp, width, dtype, config.dropout, config.norm_eps))
        if config.pooler:
            self.pooler = Linear(width, width, rng, dtype)
        if config.words_head:
            self.transform = Linear(width, width, rng, dtype)
            self.transform_norm = LayerNorm(width, config.norm_eps, dtype)
            self.words_bias = init.parameter(init.constant(0, (config.vocabulary,)), dtype)
        if config.next_head:
            self.next = Linear(width, 2, rng, dtype)
        for name, tensor in self.named_parameters():
            tensor.name = name
        if seed is not None:
            draw(self, np.random.default_rng(seed))

    def forward(
        self,
        ids: Array,
        types: Array | None = None,
        seen: Array | None = None,
        rng: Rng = None,
        tap: Tap = None,
    ) -> Tensor:
        """Words (B, N) -> (B, N, D).   types: (B, N), all 0 by default. seen: (B, N), 0 for padding, at which no word
        looks; what the padding itself asks for is computed, and means nothing. tap: collects "embedded", and
        "block0/..." of each block."""
        x = self.embed(ids, types, rng)
        mask = None if seen is None else (seen != 0)[:, None, None, :]
        if tap is not None:
            tap["embedded"] = x
        for i, block in enumerate(self.blocks):
            inner: Tap = None if tap is None else {}
            x = block(x, rng, inner, mask)
            if tap is not None:
                tap.update({f"block{i}/{name}": value for name, value in (inner or {}).items()})
        return x

    def embed(self, ids: Array, types: Array | None = None, rng: Rng = None) -> Tensor:
        """The sum of three tables, normalised: (B, N) -> (B, N, D). Raises ValueError for too long a text."""
        length = ids.shape[1]
        if length > self.config.positions:
            raise ValueError(f"Bert: the text has {length} words, the table of positions {self.config.positions}")
        types = xp_of(ids).zeros_like(ids) if types is None else types
        x = self.words(ids) + self.types(types) + self.positions.table[:length]
        return self.dropout(self.norm(x), rng)

    def pooled(self, encoded: Tensor) -> Tensor:
        """What [CLS] says of the whole: (B, N, D) -> (B, D)."""
        return F.tanh(self.pooler(encoded[:, 0]))

    def transformed(self, encoded: Tensor) -> Tensor:
        """What is compared with the table of words: (B, N, D) -> (B, N, D)."""
        return self.transform_norm(F.gelu(self.transform(encoded), self.config.gelu))

    def logits(self, encoded: Tensor) -> Tensor:
        """Of every word at every place: (B, N, D) -> (B, N, V)."""
        return self.transformed(encoded) @ self.words.table.T + self.words_bias

    def follows(self, encoded: Tensor) -> Tensor:
        """Logits of "the second sentence follows" (0) and "it does not" (1): (B, N, D) -> (B, 2)."""
        return self.next(self.pooled(encoded))


def hide(
    ids: np.ndarray, rng: np.random.Generator, mask: int, vocabulary: int, never: Any = (), share: float = 0.15
) -> tuple[np.ndarray, np.ndarray]:
    """Words for training, and their labels: each word is chosen with probability `share`.   ids: (B, N); mask: the
    number of [MASK]; never: words that are not chosen, such as [CLS], [SEP] and padding."""
    chosen = (rng.random(ids.shape) < share) & ~np.isin(ids, list(never))
    lot = rng.random(ids.shape)
    other = np.where(lot < 0.8, mask, np.where(lot < 0.9, rng.integers(0, vocabulary, ids.shape), ids))
    return np.where(chosen, other, ids), np.where(chosen, ids, IGNORED)


def decays(name: str, parameter: Tensor) -> bool:
    """Whether weight decay applies to a parameter, as in the published code: not to biases and LayerNorms."""
    return parameter.ndim >= 2
