"""Relative positions on a grid of patches: what is added to the scores of attention, by the offset of two patches.

i is the patch that asks (a row of the scores), j the one that is looked at (a column); R rows and C columns of patches.

- A learned number for every offset and head (BEiT, arXiv 2106.08254; Swin): B[h, (y_i - y_j + R - 1)(2 C - 1) +
  (x_i - x_j + C - 1)]. With a [class] token, BEiT has three rows more: for [class] to patch, patch to [class], and
  [class] to [class].
- The same number by a small network of the offset's logarithm (after Swin V2, arXiv 2111.09883, as in timm).
- ALiBi in two dimensions (CROMA, arXiv 2311.00566): -m_h times the distance of the patches, nothing learned.

Scores are divided by sqrt(Dh) before any of these is added.
"""

import math

import numpy as np

from minivit import functional as F
from minivit.models.head import Head
from minivit.models.kept import kept
from minivit.models.rope import Grid, places
from minivit.nn import Linear, Module, windows
from minivit.nn import initialisers as init
from minivit.tensor import Tensor


def relative_index(grid: Grid, class_token: bool = False) -> np.ndarray:
    """(N, N): the row of the table for every pair of tokens, the one that asks first."""
    index = windows.relative_index(grid, np)
    if not class_token:
        return index
    offsets = table_rows(grid)
    index = np.pad(index, ((1, 0), (1, 0)), constant_values=offsets)  # [class] to patch
    index[1:, 0], index[0, 0] = offsets + 1, offsets + 2
    return index


def table_rows(grid: Grid, class_token: bool = False) -> int:
    """The number of different offsets."""
    return (2 * grid[0] - 1) * (2 * grid[1] - 1) + 3 * class_token


class RelativeTable(Module):
    """A learned number for every offset and head -> (H, N, N).   table: (offsets, H), 0 at the start, as in BEiT."""

    def __init__(self, grid: Grid, heads: int, class_token: bool = False, dtype: str = "float32"):
        self.grid, self.class_token = grid, class_token
        self.table = init.parameter(init.constant(0, (table_rows(grid, class_token), heads)), dtype)

    def forward(self) -> Tensor:
        index = kept(relative_index, self.grid, self.class_token, like=self.table.data)
        return F.embedding(self.table, index).transpose(2, 0, 1)


def log_offsets(grid: Grid, swin: bool = False) -> np.ndarray:
    """(offsets, 2): the logarithm of |dy| and |dx|, with their signs, in the order of the table.

    ln(1 + |d|), or with `swin` log_8(1 + 8 |d| / (side - 1)), at most 1.06 for any grid.
    """
    sides = [np.arange(-(n - 1), n).astype(float) for n in grid]
    if swin:
        sides = [8 * d / max(1, n - 1) for d, n in zip(sides, grid, strict=True)]
    d = np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).reshape(-1, 2)
    return np.sign(d) * np.log1p(np.abs(d)) / (math.log(8) if swin else 1)


class RelativeMLP(Module):
    """A number for every offset and head by a network of two layers -> (H, N, N).

    swin: the logarithms and the end of Swin V2, 16 sigmoid(...), the second layer without bias. Tokens before the
    patches get 0. timm drops hidden features of this network in training, at a rate of 0.125; here none are.
    """

    def __init__(
        self,
        grid: Grid,
        heads: int,
        rng: init.Rng,
        dtype: str = "float32",
        hidden: int = 128,
        before: int = 0,
        swin: bool = False,
    ):
        self.grid, self.before, self.swin = grid, before, swin
        self.hidden = Linear(2, hidden, rng, dtype)
        self.out = Head(hidden, heads, rng, dtype, bias=not swin)  # in full precision, as all scores

    def forward(self) -> Tensor:
        offsets = self.like(kept(log_offsets, self.grid, self.swin, like=self.hidden.weight.data))
        bias = self.out(F.relu(self.hidden(Tensor(offsets))))
        bias = F.sigmoid(bias) * 16 if self.swin else bias
        index = kept(relative_index, self.grid, like=offsets)
        bias = F.embedding(bias, index).transpose(2, 0, 1)
        return F.pad(bias, ((0, 0), (self.before, 0), (self.before, 0))) if self.before else bias


def distances(grid: Grid) -> np.ndarray:
    """(N, N): the Euclidean distance of the patches, in patches."""
    y, x = places(grid)
    return np.hypot(y[:, None] - y, x[:, None] - x)


def alibi_slopes(heads: int) -> np.ndarray:
    """(H,): s, s^2, ... with s = 2^(-8 / H) for a power of two. Otherwise those of the next lower power of two, then
    every second one of the next higher (Press et al. 2022, arXiv 2108.12409)."""
    lower = 2 ** int(math.log2(heads))
    more = 2.0 ** (-8 / (2 * lower) * np.arange(1, 2 * lower, 2))
    return np.concatenate([2.0 ** (-8 / lower * np.arange(1, lower + 1)), more[: heads - lower]])


def alibi_bias(grid: Grid, heads: int) -> np.ndarray:
    """(H, N, N): -m_h times the distance."""
    return -alibi_slopes(heads)[:, None, None] * distances(grid)
