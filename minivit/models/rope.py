"""Rotary positions (RoPE) on a grid of patches, in four published forms.

Every pair of features of a query or key is turned by an angle that grows with the position of its token. Since the
scalar product of vectors turned by a and b depends on b - a alone, a score knows how far apart two patches are. Values
are not turned, and neither are the tokens before the patches ([class], registers).

With y the row and x the column of a patch, Dh the width of a head and i = 0 .. Dh/4 - 1, the angles of a token are

    EVA-02           [y f_i; x f_i],  f_i = 10000^(-4 i / Dh), y and x stretched to the grid of pre-training
    RoPE-ViT axial   [x f_i; y f_i],  f_i = 100^(-4 i / Dh)
    RoPE-ViT mixed   x f_j + y g_j,   f and g learned, j = 0 .. Dh/2 - 1, of every head of every block
    DINOv3           2 pi [v f_i; u f_i],  f_i = 100^(-4 i / Dh), v and u the row and column between -1 and 1

A pair is features 2 j and 2 j + 1, in DINOv3 features j and Dh/2 + j. Both orders of features are equally good, but
weights are tied to theirs. So they are to the order of x and y.

Sources: Su et al. 2021 (RoFormer, arXiv 2104.09864); EVA-02, arXiv 2303.11331; RoPE-ViT, arXiv 2403.13298 and
naver-ai/rope-vit; DINOv3, arXiv 2508.10104. Tables are made in float64; those of published code are float32.
"""

import math

import numpy as np

from minivit import functional as F
from minivit.backend import Array
from minivit.models.kept import kept
from minivit.nn import Module
from minivit.nn import initialisers as init
from minivit.tensor import Tensor

BASES = {"axial": 10_000.0, "mixed": 10.0, "dinov3": 100.0}  # usual ones of the forms
Grid = tuple[int, int]


def places(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of every patch: (N,) each."""
    y, x = np.mgrid[: grid[0], : grid[1]].reshape(2, -1).astype(float)
    return y, x


def axial_angles(
    grid: Grid, width: int, base: float = 10_000.0, x_first: bool = False, trained: Grid | None = None, first: float = 0
) -> np.ndarray:
    """(N, 1, width / 2): half of the pairs turn with the row, the others with the column.

    width: of a head. trained: the grid of pre-training, to which rows and columns are stretched. first: number of the
    first row and column.
    """
    y, x = (place + first for place in places(grid))
    if trained is not None:
        y, x = y / grid[0] * trained[0], x / grid[1] * trained[1]
    return _both(x, y, width, base) if x_first else _both(y, x, width, base)


def dinov3_angles(grid: Grid, width: int, base: float = 100.0) -> np.ndarray:
    """(N, 1, width / 2): the same, but the grid spans -1 to 1 on each axis, whatever its size."""
    y, x = (2 * (place + 0.5) / side - 1 for place, side in zip(places(grid), grid, strict=True))
    return 2 * math.pi * _both(y, x, width, base)


def _both(a: np.ndarray, b: np.ndarray, width: int, base: float) -> np.ndarray:
    f = base ** -(np.arange(width // 4) / (width // 4))
    return np.concatenate([a[:, None] * f, b[:, None] * f], axis=1)[:, None]


def mixed_places(grid: Grid, x_first: bool = True) -> np.ndarray:
    """(2, N, 1, 1): column and row of every patch, by which the two learned frequencies are multiplied."""
    y, x = places(grid)
    return np.stack([x, y] if x_first else [y, x])[:, :, None, None]


def mixed_frequencies(rng: init.Rng, depth: int, heads: int, width: int, base: float = 10.0) -> np.ndarray:
    """(2, depth, heads, width / 2), at the start: axes at right angles, turned at random in every head."""
    if rng is None:
        return init.constant(0, (2, depth, heads, width // 2))
    size = base ** -(np.arange(width // 4) / (width // 4))
    turn = rng.uniform(0, 2 * math.pi, (depth, heads, 1))
    axes = turn, turn + math.pi / 2
    return np.stack([np.concatenate([size * f(t) for t in axes], axis=-1) for f in (np.cos, np.sin)])


class Rope(Module):
    """The angles of a model's blocks, and queries and keys turned by them.

    kind: "axial" (EVA-02 and RoPE-ViT), "mixed" or "dinov3". width: of a head, a multiple of 4. depth: of the model;
    only "mixed" has parameters, and other angles in each block. base, x_first, trained, first: as in `axial_angles`;
    base None is the usual one of the kind. halves: whether a pair is features j and Dh/2 + j.
    """

    def __init__(
        self,
        kind: str,
        width: int,
        heads: int,
        depth: int,
        rng: init.Rng,
        dtype: str = "float32",
        base: float | None = None,
        x_first: bool = False,
        trained: Grid | None = None,
        first: float = 0.0,
        halves: bool = False,
    ):
        self.kind, self.width, self.halves = kind, width, halves
        self.base = BASES[kind] if base is None else base
        self.x_first, self.trained, self.first = x_first, trained, first
        if kind == "mixed":
            self.frequencies = init.parameter(mixed_frequencies(rng, depth, heads, width, self.base), dtype)

    def angles(self, grid: Grid, block: int, like: Array) -> Array | Tensor:
        """The angles of a block: (N, 1, Dh/2) for all heads alike, or (N, H, Dh/2), a Tensor, if they are learned.
        like: an array of the device."""
        if self.kind == "mixed":
            f, g = self.frequencies[0, block], self.frequencies[1, block]
            x, y = self.like(kept(mixed_places, grid, self.x_first, like=like))
            return f * Tensor(x) + g * Tensor(y)
        if self.kind == "dinov3":
            return kept(dinov3_angles, grid, self.width, self.base, like=like)
        trained = None if self.trained is None else tuple(self.trained)
        return kept(axial_angles, grid, self.width, self.base, self.x_first, trained, self.first, like=like)

    def forward(self, x: Tensor, angles: Array | Tensor) -> Tensor:
        """Queries or keys (B, M + N, H, Dh), of which the last N are turned, those of patches."""
        before = x.shape[1] - angles.shape[0]
        rotate = turn if isinstance(angles, Tensor) else F.rotate
        turned = rotate(x[:, before:], angles, self.halves)
        return F.concat(x[:, :before], turned, axis=1)


def turn(x: Tensor, angles: Tensor, halves: bool = False) -> Tensor:
    """`F.rotate` with angles that learn.   x: (..., 2 P), angles: broadcast to (..., P)."""
    pairs = x.shape[-1] // 2
    cos, sin = F.cos(angles), F.sin(angles)
    a, b = (x[..., :pairs], x[..., pairs:]) if halves else (x[..., 0::2], x[..., 1::2])
    first, second = a * cos - b * sin, a * sin + b * cos
    if halves:
        return F.concat(first, second, axis=-1)
    one = (*first.shape, 1)
    return F.concat(first.reshape(one), second.reshape(one), axis=-1).reshape(x.shape)
