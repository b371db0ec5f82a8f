"""Maps cut into windows, and attention inside them by content and by place (Swin, Liu et al. 2021).

B batch, R x C places of a map, M places of a window, nW windows of a map, D features. A window is (rows, columns).
xp: the array library, numpy or cupy.
"""

from typing import Any

from minivit import functional as F
from minivit.backend import Array, xp_of
from minivit.nn import initialisers as init
from minivit.nn.layers import Linear
from minivit.nn.module import Module
from minivit.tensor import Tensor

Pair = tuple[int, int]


class WindowAttention(Module):
    """Attention inside windows, with a bias per distance.   x: (B nW, M, D) -> the same shape.

    head_width: features of a head, D / heads unless it is given.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        window: Pair,
        rng: init.Rng,
        dtype: str = "float32",
        qkv_bias: bool = True,
        head_width: int | None = None,
    ):
        self.heads, self.window = heads, window
        inner = heads * (head_width or width // heads)
        self.qkv = Linear(width, 3 * inner, rng, dtype, weight=init.three_xavier, bias=qkv_bias)
        distances = (2 * window[0] - 1) * (2 * window[1] - 1)
        self.relative_bias = init.parameter(init.normal(rng, (distances, heads), 0.02), dtype)
        self.out = Linear(inner, width, rng, dtype)

    def forward(self, x: Tensor, apart: Array | None = None) -> Tensor:
        """apart: (nW, M, M), where two places of a window must not see each other; None: nowhere."""
        qkv, inner = self.qkv(x), self.out.weight.shape[0]
        q, k, v = (qkv[..., i * inner : (i + 1) * inner] for i in range(3))
        bias = self.position_bias(xp_of(x.data))
        if apart is not None:
            against = apart[:, None].astype(x.dtype) * -100
            bias = bias + xp_of(x.data).tile(against, (len(x.data) // len(apart), 1, 1, 1))
        return self.out(F.attend(q, k, v, bias, heads=self.heads))

    def position_bias(self, xp: Any) -> Tensor:
        """The number for every pair of places of a window: (H, M, M)."""
        return self.relative_bias[relative_index(self.window, xp)].transpose(2, 0, 1)


def windows(x: Tensor, window: Pair) -> Tensor:
    """(B, R, C, D) -> (B nW, M, D): the windows of an image one after another, row by row, as their places."""
    (batch, rows, columns, width), (high, wide) = x.shape, window
    x = x.reshape(batch, rows // high, high, columns // wide, wide, width).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch * (rows // high) * (columns // wide), high * wide, width)


def whole(x: Tensor, window: Pair, size: Pair) -> Tensor:
    """(B nW, M, D) -> (B, R, C, D), the inverse of `windows` for a map of R x C places."""
    (rows, columns), (high, wide) = size, window
    x = x.reshape(-1, rows // high, columns // wide, high, wide, x.shape[-1])
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(-1, rows, columns, x.shape[-1])


def relative_index(window: Pair, xp: Any) -> Array:
    """(M, M): the row of the table of relative biases for each pair of places, the asking one first."""
    place = xp.arange(window[0] * window[1])
    y, x = place // window[1], place % window[1]
    down, across = y[:, None] - y[None], x[:, None] - x[None]
    return (down + window[0] - 1) * (2 * window[1] - 1) + across + window[1] - 1


def regions_apart(size: Pair, window: Pair, shift: Pair, xp: Any) -> Array:
    """(nW, M, M): whether one of two places of a window came round an edge of a map that was rolled by `shift`, and the
    other did not."""
    rows, columns = (xp.arange(n) >= n - s for n, s in zip(size, shift, strict=True))  # the last s came round
    grid = size[0] // window[0], window[0], size[1] // window[1], window[1]
    region = (2 * rows[:, None] + columns[None]).reshape(grid).transpose(0, 2, 1, 3).reshape(-1, window[0] * window[1])
    return region[:, :, None] != region[:, None]
