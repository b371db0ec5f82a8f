"""Attention that knows how far apart two tokens are: relative positions of the ViT paper, and ALiBi on a grid.

New against ViT: no position table. To the score of query i and key j is added, before the softmax,

    D.4       q_i . r_{i - j} / sqrt(Dh)     r learned, one vector for every offset of the flattened tokens
    ALiBi     -m_h |p_i - p_j|               nothing learned, p the place of a patch, m_h a slope for every head

Sources: Dosovitskiy et al. 2020, appendix D.4, "1-dimensional relative attention" (arXiv 2010.11929), whose code was
not published; Press et al. 2022 (arXiv 2108.12409) in one direction, CROMA (Fuller et al. 2023, arXiv 2311.00566) on a
grid.

The paper does not say whether the term is scaled, whether heads or layers share r, or which offset [class] has. Here it
is scaled unless `scaled` is False, heads share r unless `per_head`, each layer has its own, and [class] is token 0. The
offset from the end of a row of patches to the next row is 1, as if they were neighbours: that is why it is 1-D.

With the rows of q r^T in the order of growing j - i, row i of the scores is a stretch of N elements that begins one
place further to the left than that of row i - 1. So one reshape of the flattened rows puts all stretches below each
other, and no (N, N, Dh) array of vectors is needed.

Relative positions by a table (BEiT, Swin) stand in `models.relative` and are a choice of the system `modern`.

B batch, N tokens, D width, H heads, Dh width of a head.
"""

import dataclasses
import math

from minivit import functional as F
from minivit.files.checks import at_least, heads_divide
from minivit.models.kept import kept
from minivit.models.placed_attention import PlacedAttention, diagonals
from minivit.models.relative import alibi_bias
from minivit.nn import initialisers as init
from minivit.tensor import Tensor

PARITY = "slow references from the papers: scores, outputs, gradients, three readings of D.4"


@dataclasses.dataclass(frozen=True)
class RelativeConfig:
    """width D, heads H. tokens: N, [class] included. per_head: whether each head has its own r. scaled: whether the
    term of positions is divided by sqrt(Dh) too. qkv_bias, out_bias: whether the projections have biases."""

    width: int
    heads: int
    tokens: int
    per_head: bool = False
    scaled: bool = True
    qkv_bias: bool = True
    out_bias: bool = True

    def __post_init__(self) -> None:
        at_least(self, 1, "width", "heads", "tokens")
        heads_divide(self.width, self.heads)


class RelativeAttention(PlacedAttention):
    """Attention with relative positions in one dimension.   x: (B, N, D) -> (B, N, D).

    relative: (2 N - 1, Dh), or (2 N - 1, H, Dh) per head; row i - j + N - 1 is the vector of offset i - j.
    """

    def __init__(self, config: RelativeConfig, rng: init.Rng, dtype: str = "float32"):
        super().__init__(config.width, config.heads, rng, dtype, qkv_bias=config.qkv_bias)
        self.config = config
        shape = (2 * config.tokens - 1, *([config.heads] if config.per_head else []), config.width // config.heads)
        self.relative = init.parameter(init.normal(rng, shape, 0.02), dtype)
        if not config.out_bias:
            self.out.bias = None

    def bias(self, q: Tensor) -> Tensor:
        if q.shape[1] != self.config.tokens:
            raise ValueError(f"RelativeAttention: queries are {q.shape}, expected {self.config.tokens} tokens")
        scale = 1 / math.sqrt(self.config.width // self.heads)
        return self.by_offset(q) * (scale if self.config.scaled else 1.0)

    def by_offset(self, q: Tensor) -> Tensor:
        """q_i . r_{i - j} for all i and j: (B, H, N, N)."""
        batch, tokens, width = q.shape
        q = q.reshape(batch, tokens, self.heads, width // self.heads).transpose(0, 2, 1, 3)
        r = self.relative[::-1]  # of growing j - i
        r = r.transpose(1, 2, 0) if self.config.per_head else r.transpose(1, 0)
        return diagonals(F.matmul(q, r))


class AlibiAttention(PlacedAttention):
    """Attention whose scores sink with the distance of two patches.   x: (B, N, D) -> (B, N, D), N rows * columns."""

    def __init__(
        self, grid: tuple[int, int], width: int, heads: int, rng: init.Rng, dtype: str = "float32", bias: bool = True
    ):
        super().__init__(width, heads, rng, dtype, qkv_bias=bias)
        self.grid = grid
        if not bias:
            self.out.bias = None

    def bias(self, q: Tensor) -> Tensor:
        return Tensor(self.like(kept(alibi_bias, self.grid, self.heads, like=q.data)))
