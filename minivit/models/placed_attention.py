"""Attention that knows where tokens are by itself: the relative positions of the paper's appendix D.4, and RoPE.

Both take the place of a position embedding, in every block. Sources: Dosovitskiy et al. 2020, appendix D.4, relative
positions; no code was published, and the paper leaves open how the second term is scaled and shared. Here it is scaled
like the first, and each block has its own vectors, shared by its heads. Rotary positions: RoPE-ViT, "axial" (see
`minivit.models.rope`).
"""

from minivit import functional as F
from minivit.models.config import ViTConfig
from minivit.models.rope import Rope
from minivit.nn import Module, MultiHeadAttention
from minivit.nn import initialisers as init
from minivit.nn.attention import factors, note_weights
from minivit.nn.layers import Rng, Tap
from minivit.tensor import Tensor

ROPE_BASE = 100.0  # of RoPE-ViT: made for grids, which are much shorter than texts


class PlacedAttention(MultiHeadAttention):
    """Attention with changed queries and keys, or a bias on the scores.   x: (B, N, D) -> (B, N, D)."""

    def placed(self, x: Tensor) -> Tensor:
        """Queries or keys (B, N, D), changed by the places of their tokens."""
        return x

    def bias(self, q: Tensor) -> Tensor | None:
        """What is added to the scores after their division by sqrt(Dh): (B, H, M, N).   q: (B, M, D), of the first M
        tokens."""
        return None

    def forward(self, x: Tensor, rng: Rng = None, tap: Tap = None, queries: int | None = None) -> Tensor:
        """queries: only the first so many tokens ask, and have a row in the result: (B, queries, D)."""
        width = x.shape[-1]
        qkv = self.qkv(x)
        q, k, v = (qkv[..., i * width : (i + 1) * width] for i in range(3))
        q, k = self.placed(q), self.placed(k)
        q = q if queries is None else q[:, :queries]
        bias = self.bias(q)
        note_weights(tap, q, k, self.heads, bias)
        return self.out(F.attend(q, k, v, bias, heads=self.heads, keep=factors(self, q, k, rng)))


class RelativeAttention(PlacedAttention):
    """a_ij = (q_i . k_j + q_i . r_(i-j)) / sqrt(Dh): a learned vector r for each difference of two tokens' numbers.

    The difference is that of numbers in the sequence, so it is relative in one dimension: the last patch of a row and
    the first of the next differ by 1. offsets: (2 N - 1, Dh), row i - j + N - 1 is r_(i-j).
    """

    def __init__(self, tokens: int, width: int, heads: int, rng: init.Rng, dtype: str, dropout: float, qkv_bias: bool):
        super().__init__(width, heads, rng, dtype, dropout, qkv_bias)
        self.offsets = init.parameter(init.normal(rng, (2 * tokens - 1, width // heads), std=0.02), dtype)

    def bias(self, q: Tensor) -> Tensor:
        batch, asking, width = q.shape
        split = q.reshape(batch, asking, self.heads, width // self.heads).transpose(0, 2, 1, 3)
        by_offset = split @ self.offsets[::-1].transpose(1, 0)  # (B, H, M, 2 N - 1), of growing j - i
        return diagonals(by_offset) * (width // self.heads) ** -0.5


class RotaryAttention(PlacedAttention):
    """Queries and keys of patches are turned by angles that grow with row and column, those of other tokens are not."""

    def __init__(
        self,
        grid: tuple[int, int],
        width: int,
        heads: int,
        rng: init.Rng,
        dtype: str,
        dropout: float,
        qkv_bias: bool,
    ):
        super().__init__(width, heads, rng, dtype, dropout, qkv_bias)
        self.grid = grid
        self.rope = Rope("axial", width // heads, heads, 1, None, dtype, ROPE_BASE, x_first=True)

    def placed(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        angles = self.rope.angles(self.grid, 0, x.data)
        return self.rope(x.reshape(batch, tokens, self.heads, width // self.heads), angles).reshape(x.shape)


def diagonals(x: Tensor) -> Tensor:
    """(B, H, M, 2 N - 1) -> (B, H, M, N): y[i, j] = x[i, j - i + N - 1], for the first M of N tokens."""
    batch, heads, rows, columns = x.shape
    tokens = (columns + 1) // 2
    if tokens == 1:
        return x
    flat = x.reshape(batch, heads, rows * columns)[:, :, tokens - 1 : tokens - 1 + rows * (columns - 1)]
    if flat.shape[-1] < rows * (columns - 1):  # the last row of all tokens ends before the end of x's
        flat = F.pad(flat, ((0, 0), (0, 0), (0, rows * (columns - 1) - flat.shape[-1])))
    return flat.reshape(batch, heads, rows, columns - 1)[..., :tokens]


def attention_layer(config: ViTConfig, rng: init.Rng, dtype: str) -> Module:
    """The attention of a block: the paper's, or one with positions of its own."""
    rest = config.width, config.heads, rng, dtype, config.attention_dropout, config.qkv_bias
    if config.position == "relative":
        return RelativeAttention(config.num_tokens, *rest)
    if config.position == "rope":
        return RotaryAttention(config.grid, *rest)
    return MultiHeadAttention(*rest)
