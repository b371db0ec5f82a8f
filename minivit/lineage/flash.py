"""FlashAttention-2: exact attention, one tile of the scores at a time (Dao 2023, "FlashAttention-2: Faster Attention
with Better Parallelism and Work Partitioning", arXiv 2307.08691; Dao et al. 2022, arXiv 2205.14135).

New against ViT: nothing in the result. The (M, N) matrices of scores and weights never exist. A tile of queries passes
over the tiles of keys and keeps, for each query, the largest score so far m, the sum l of exp(S - m), and the sum of
the values with these weights. A tile S = q k^T / sqrt(Dh) with a larger score rescales what is there:

    m' = max(m, max S),   l <- e^(m - m') l + sum e^(S - m'),   o <- e^(m - m') o + e^(S - m') v;   at the end o / l.

The way back keeps one number for each query, L = m + log l, and makes every tile of weights again:

    A = e^(S - L),   dv = A^T g,   dS = A (g v^T - <g, y>),   dq = dS k / sqrt(Dh),   dk = dS^T q / sqrt(Dh).

Source: Dao-AILab/flash-attention (CUDA), Algorithms 1 and 2 of the paper. The first version divided by l after every
tile, had the loop over keys outside, and stored m and l. `causal` aligns the ends of queries and keys, as the code does
from version 2.1: query i sees the keys j <= i + N - M. A query that sees nothing gets 0 and L = -inf. Tiles that are
wholly hidden are left out. In NumPy this saves memory, not time: a GPU gains because a tile stays in its fast memory.
The published code also draws dropout of the weights inside the tiles; this has none.

B batch, H heads, M queries, N keys, Dh width of a head.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from minivit.backend import Array, xp_of
from minivit.files.checks import at_least
from minivit.lineage.exchanged import only_plain
from minivit.models import ViT, ViTConfig
from minivit.models.config import variant_fields
from minivit.models.families import Family
from minivit.nn import HeadwiseAttention
from minivit.tensor import Tensor, lift

PARITY = "values, gradients and the state after every tile of a slow reference in another library"


@dataclasses.dataclass(frozen=True)
class FlashConfig(ViTConfig):
    """A ViT's, and the tiles: `tile_rows` queries by `tile_columns` keys. The weights have no dropout."""

    tile_rows: int = 64
    tile_columns: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(self, 1, "tile_rows", "tile_columns")
        only_plain(self, "FlashAttention")


def tiles(length: int, size: int) -> list[slice]:
    """Slices that cover 0..length-1; the last may be shorter."""
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


def flash_attention(
    q: Array, k: Array, v: Array, *, rows: int = 64, columns: int = 64, causal: bool = False, scale: float | None = None
):
    """y = softmax(scale q k^T) v in tiles of `rows` queries and `columns` keys.

    q: (B, H, M, Dh), k: (B, H, N, Dh), v: (B, H, N, E) -> y: (B, H, M, E). causal: see above. scale: 1 / sqrt(Dh)
    unless it is given. The vjp keeps q, k, v, y and L.
    """
    how: dict[str, Any] = {"rows": rows, "columns": columns, "causal": causal}
    how["scale"] = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    y, lse = forward(q, k, v, **how)

    def vjp(g):
        return backward(q, k, v, y, lse, g, **how)

    return y, vjp


attention = lift(flash_attention)


def forward(
    q: Array,
    k: Array,
    v: Array,
    *,
    rows: int,
    columns: int,
    scale: float,
    causal: bool = False,
    states: list[tuple[Array, Array]] | None = None,
) -> tuple[Array, Array]:
    """y (B, H, M, E) and L (B, H, M).   states: a list to which every tile adds m and l as they are after it, (B, H,
    rows) each; a tile that is left out adds them unchanged."""
    xp = xp_of(q)
    y, lse = xp.zeros((*q.shape[:-1], v.shape[-1]), q.dtype), xp.zeros(q.shape[:-1], q.dtype)
    for r in tiles(q.shape[2], rows):
        m, total = xp.full_like(lse[:, :, r], -math.inf), xp.zeros_like(lse[:, :, r])
        gathered = xp.zeros_like(y[:, :, r])
        for c in tiles(k.shape[2], columns):
            for s in scores(q, k, r, c, scale, causal):
                larger = xp.maximum(m, s.max(axis=-1))
                shift = finite(larger)  # a query that has seen nothing yet has -inf - -inf = NaN
                kept, e = xp.exp(m - shift), xp.exp(s - shift[..., None])
                total = kept * total + e.sum(axis=-1)
                gathered = kept[..., None] * gathered + e @ v[:, :, c]
                m = larger
            if states is not None:
                states.append((m, total))
        some = xp.where(total == 0, 1, total)
        y[:, :, r] = gathered / some[..., None]
        lse[:, :, r] = m + xp.log(some)
    return y, lse


def backward(
    q: Array, k: Array, v: Array, y: Array, lse: Array, g: Array, *, rows: int, columns: int, scale: float, causal: bool
) -> tuple[Array, Array, Array]:
    """dq, dk, dv from the outputs of `forward` and the gradient of y."""
    xp = xp_of(q)
    dq, dk, dv = xp.zeros_like(q), xp.zeros_like(k), xp.zeros_like(v)
    inner, shift = delta(g, y), finite(lse)
    for c in tiles(k.shape[2], columns):
        for r in tiles(q.shape[2], rows):
            for s in scores(q, k, r, c, scale, causal):
                a = xp.exp(s - shift[:, :, r, None])
                dv[:, :, c] += a.swapaxes(-1, -2) @ g[:, :, r]
                ds = a * (g[:, :, r] @ v[:, :, c].swapaxes(-1, -2) - inner[:, :, r, None])
                dq[:, :, r] += scale * (ds @ k[:, :, c])
                dk[:, :, c] += scale * (ds.swapaxes(-1, -2) @ q[:, :, r])
    return dq, dk, dv


def delta(g: Array, y: Array) -> Array:
    """<g, y> of every query, (B, H, M): equal to <dA, A>, for which a whole row of weights would be needed."""
    return (g * y).sum(axis=-1)


def scores(q: Array, k: Array, r: slice, c: slice, scale: float, causal: bool) -> Iterator[Array]:
    """One tile of scale q k^T, with -inf where the query may not look; nothing if that is everywhere."""
    xp, ahead = xp_of(q), k.shape[2] - q.shape[2]
    if causal and c.start > r.stop - 1 + ahead:
        return
    s = scale * (q[:, :, r] @ k[:, :, c].swapaxes(-1, -2))
    if causal and c.stop - 1 > r.start + ahead:
        seen = xp.arange(c.start, c.stop) <= xp.arange(r.start, r.stop)[:, None] + ahead
        s = xp.where(seen, s, -math.inf)
    yield s


def finite(x: Array) -> Array:
    """`x` with 0 for -inf."""
    return xp_of(x).where(x == -math.inf, 0, x)


class FlashAttention(HeadwiseAttention):
    """MultiHeadAttention in tiles: the same parameters, and the same result to rounding."""

    rows, columns = 64, 64

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attention(q, k, v, rows=self.rows, columns=self.columns)


class Flash(ViT):
    """A ViT whose attention works in tiles. Its parameters, names and results are the ViT's."""

    def __init__(self, config: FlashConfig, seed: int | None = 0, dtype: str = "float32"):
        super().__init__(config, seed, dtype)
        for block in self.blocks:
            size = {"rows": config.tile_rows, "columns": config.tile_columns}
            block.attention = FlashAttention.instead_of(block.attention, **size)


def weights(q: np.ndarray, k: np.ndarray, scale: float, causal: bool = False) -> np.ndarray:
    """All weights at once, (B, H, M, N): what the tiles avoid, to compare with. Rows of 0 where nothing is seen."""
    (s,) = list(scores(q, k, slice(0, q.shape[2]), slice(0, k.shape[2]), scale, causal)) or [np.full((1,), -math.inf)]
    e = np.exp(s - finite(s.max(axis=-1, keepdims=True)))
    return e / np.maximum(e.sum(axis=-1, keepdims=True), 1)


def fields(name: str) -> dict[str, Any]:
    """The fields for "flash-Ti/16": those of the ViT of that name."""
    return variant_fields(name.partition("-")[2])


FAMILY = Family(FlashConfig, Flash, r"flash-.+", fields)
