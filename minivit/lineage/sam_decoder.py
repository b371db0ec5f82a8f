"""Prompts and the mask decoder of SAM (see `minivit.lineage.sam`).

B images, P prompts of an image, T tokens, R x C map, N = R C places, E channels, M masks.
"""

import dataclasses
import math
from typing import Any

from minivit import functional as F
from minivit.backend import Array, xp_of
from minivit.errors import ConfigError
from minivit.files.checks import at_least, epsilon, one_of
from minivit.files.fields import settle
from minivit.lineage.windowed import Enlarge
from minivit.nn import Conv, LayerNorm, Linear, Module
from minivit.nn import initialisers as init
from minivit.nn.layers import Tap
from minivit.tensor import Tensor

KINDS = 4  # of places: background, foreground, the upper left and the lower right corner of a box
NOT_A_POINT = -1


@dataclasses.dataclass(frozen=True)
class SAMConfig:
    """depth, heads, mlp_width: of the decoder; narrowing: by which its attention to and from images is narrower inside.
    iou_width, iou_depth: of the network that gives scores. mask_channels: of the network that reads a mask. masks: M.
    prompts: P in training. clicks: the most of a prompt there. whole: whether a shape counts with its covered parts,
    which makes clicks ambiguous.
    single: train the first mask alone. blind: prompts are not seen; the last two are controls. spread: the deviation of
    the numbers of G; smaller maps want a smaller one. scored: whose scores learn, "best", the mask's that learns, or
    "all".
    """

    depth: int = 2
    heads: int = 8
    mlp_width: int = 2048
    narrowing: int = 2
    iou_width: int = 256
    iou_depth: int = 3
    mask_channels: int = 16
    masks: int = 3
    prompts: int = 2
    clicks: int = 1
    whole: bool = False
    single: bool = False
    blind: bool = False
    spread: float = 1.0
    scored: str = "best"
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        settle(self)
        at_least(
            self, 1, "depth", "heads", "mlp_width", "narrowing", "iou_width", "iou_depth", "masks", "prompts", "clicks"
        )
        at_least(self, 4, "mask_channels")
        one_of(self, scored=("best", "all"))
        if not self.spread > 0:
            raise ConfigError(f"spread is {self.spread}, expected a number above 0")
        epsilon(self)


class PromptEncoder(Module):
    """Places in an image, and masks, as vectors."""

    def __init__(self, config: SAMConfig, width: int, rng: init.Rng, dtype: str):
        self.gaussian = Tensor(init.normal(rng, (2, width // 2), config.spread).astype(dtype))
        self.kinds = init.parameter(init.normal(rng, (KINDS, width), 1.0), dtype)
        self.not_a_point = init.parameter(init.normal(rng, (1, width), 1.0), dtype)
        self.no_mask = init.parameter(init.normal(rng, (1, width), 1.0), dtype)
        narrow, wide = config.mask_channels // 4, config.mask_channels
        self.conv1 = Conv(2, 1, narrow, rng, dtype, 2, 0)
        self.norm1 = LayerNorm(narrow, 1e-6, dtype)
        self.conv2 = Conv(2, narrow, wide, rng, dtype, 2, 0)
        self.norm2 = LayerNorm(wide, 1e-6, dtype)
        self.conv3 = Conv(1, wide, width, rng, dtype, 1, 0)

    def code(self, shares: Tensor) -> Tensor:
        """Sines and cosines of places (x, y), in shares of the image: (..., 2) -> (..., E)."""
        angles = F.linear(shares * 2 - 1, self.gaussian) * (2 * math.pi)
        return F.concat(F.sin(angles), F.cos(angles), axis=angles.ndim - 1)

    def places(self, points: Array, kinds: Array, image_size: tuple[int, int]) -> Tensor:
        """points: (B, P, T, 2) pixels (x, y); kinds: (B, P, T) 0 to 3, -1 for a token that is no point, less for one
        whose vector is 0.   Returns (B, P, T, E)."""
        height, width = image_size
        xp = xp_of(self.kinds.data)
        size = self.like(xp.arange(2) * (height - width) + width)  # (width, height), made on the device
        code = self.code(Tensor((self.like(points) + 0.5) / size))
        known, none = (self.like(x[..., None]) for x in (kinds >= 0, kinds == NOT_A_POINT))
        one_hot = self.like(kinds[..., None] == xp.arange(KINDS))
        own = F.linear(Tensor(one_hot), self.kinds) + F.linear(Tensor(none), self.not_a_point)
        return code * Tensor(known) + own

    def grid(self, rows: int, columns: int) -> Tensor:
        """The code of the centre of every place of a map: (1, N, E)."""
        xp = xp_of(self.kinds.data)
        place = xp.arange(rows * columns)
        shares = xp.stack([(place % columns + 0.5) / columns, (place // columns + 0.5) / rows], axis=-1)
        return self.code(Tensor(self.like(shares[None])))

    def masks(self, masks: Tensor) -> Tensor:
        """(B, Q, 4R, 4C) logits -> (B, Q, R, C, E)."""
        batch, count, rows, columns = masks.shape
        x = self.conv1(masks.reshape(batch * count, rows, columns, 1))
        x = self.conv2(F.gelu(self.norm1(x), form="erf"))
        x = self.conv3(F.gelu(self.norm2(x), form="erf"))
        return x.reshape(batch, count, *x.shape[1:])


class Attention(Module):
    """Attention of queries to keys, narrower inside.   q: (B, T, E), k, v: (B, N, E) -> (B, T, E)."""

    def __init__(self, width: int, inner: int, heads: int, rng: init.Rng, dtype: str):
        self.heads = heads
        self.query, self.key, self.value = (Linear(width, inner, rng, dtype) for _ in range(3))
        self.out = Linear(inner, width, rng, dtype)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return self.out(F.attend(self.query(q), self.key(k), self.value(v), heads=self.heads))


class TwoWayBlock(Module):
    """Tokens attend to themselves and to the image, then the image to the tokens; a norm after each sum.

    first: whether it is the first block, in which tokens attend to themselves without positions and without a
    shortcut.
    """

    def __init__(self, config: SAMConfig, width: int, first: bool, rng: init.Rng, dtype: str):
        self.first, inner = first, width // config.narrowing
        self.own = Attention(width, width, config.heads, rng, dtype)
        self.norm1 = LayerNorm(width, config.norm_eps, dtype)
        self.to_image = Attention(width, inner, config.heads, rng, dtype)
        self.norm2 = LayerNorm(width, config.norm_eps, dtype)
        self.hidden = Linear(width, config.mlp_width, rng, dtype)
        self.shown = Linear(config.mlp_width, width, rng, dtype)
        self.norm3 = LayerNorm(width, config.norm_eps, dtype)
        self.to_tokens = Attention(width, inner, config.heads, rng, dtype)
        self.norm4 = LayerNorm(width, config.norm_eps, dtype)

    def forward(self, tokens: Tensor, image: Tensor, at: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
        """tokens: (B, T, E), image: (B, N, E); at, grid: their positions, which values do not get."""
        if self.first:
            tokens = self.own(tokens, tokens, tokens)
        else:
            placed = tokens + at
            tokens = tokens + self.own(placed, placed, tokens)
        tokens = self.norm1(tokens)
        tokens = self.norm2(tokens + self.to_image(tokens + at, image + grid, image))
        tokens = self.norm3(tokens + self.shown(F.relu(self.hidden(tokens))))
        return tokens, self.norm4(image + self.to_tokens(image + grid, tokens + at, tokens))


class Perceptron(Module):
    """Matrices with a ReLU between.   (..., E) -> (..., outputs)."""

    def __init__(self, width: int, hidden: int, outputs: int, depth: int, rng: init.Rng, dtype: str):
        sides = [width, *[hidden] * (depth - 1), outputs]
        self.layers = [Linear(sides[i], sides[i + 1], rng, dtype) for i in range(depth)]

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


class MaskDecoder(Module):
    """An image and the tokens of prompts -> masks, and how good each is."""

    def __init__(self, config: SAMConfig, width: int, rng: init.Rng, dtype: str):
        self.count = config.masks + 1
        self.iou_token = init.parameter(init.normal(rng, (1, width), 1.0), dtype)
        self.mask_tokens = init.parameter(init.normal(rng, (self.count, width), 1.0), dtype)
        self.layers = [TwoWayBlock(config, width, i == 0, rng, dtype) for i in range(config.depth)]
        self.last = Attention(width, width // config.narrowing, config.heads, rng, dtype)
        self.norm = LayerNorm(width, 1e-5, dtype)
        self.enlarge1 = Enlarge(width, width // 4, rng, dtype)
        self.enlarge_norm = LayerNorm(width // 4, 1e-6, dtype)
        self.enlarge2 = Enlarge(width // 4, width // 8, rng, dtype)
        self.iou = Perceptron(width, config.iou_width, self.count, config.iou_depth, rng, dtype)
        self.masks = [Perceptron(width, width, width // 8, 3, rng, dtype) for _ in range(self.count)]

    def forward(self, image: Tensor, prompts: Tensor, grid: Tensor, tap: Tap = None) -> tuple[Tensor, Tensor]:
        """image: (B, P, R, C, E), with masks; prompts: (B, P, T, E); grid: (1, N, E).

        Returns all masks (B, P, 1 + M, 4R, 4C), the one for clear prompts first, and their scores (B, P, 1 + M).
        """
        batch, count, rows, columns, width = image.shape
        own = F.concat(self.iou_token, self.mask_tokens, axis=0)
        own = F.broadcast_to(own.reshape(1, *own.shape), (batch * count, *own.shape))
        at = F.concat(own, prompts.reshape(batch * count, prompts.shape[2], width), axis=1)
        x, tokens = image.reshape(batch * count, rows * columns, width), at
        for layer in self.layers:
            tokens, x = layer(tokens, x, at, grid)
        tokens = self.norm(tokens + self.last(tokens + at, x + grid, x))
        y = F.gelu(self.enlarge_norm(self.enlarge1(x.reshape(batch * count, rows, columns, width))), form="erf")
        y = self.enlarge2(y)
        if tap is not None:
            tap.update(tokens=tokens, image=x, enlarged=y)
        y = F.gelu(y, form="erf").reshape(batch * count, 16 * rows * columns, width // 8)
        kernels = [own(tokens[:, 1 + i : 2 + i]) for i, own in enumerate(self.masks)]
        masks = F.concat(*kernels, axis=1) @ y.transpose(0, 2, 1)
        scores = self.iou(tokens[:, 0]).reshape(batch, count, self.count)
        return masks.reshape(batch, count, self.count, 4 * rows, 4 * columns), scores


def prompts(points: Array | None, labels: Array | None, boxes: Array | None) -> tuple[Any, Any]:
    """Points (B, P, n, 2) with labels (B, P, n), and boxes (B, P, 4) as x0, y0, x1, y1: all as places (B, P, T, 2) of
    kinds (B, P, T). Points without a box are followed by a token that is no point."""
    places, kinds = [], []
    if points is not None and labels is not None:
        places.append(points)
        kinds.append(labels)
    if boxes is not None:
        xp, (batch, count, _) = xp_of(boxes), boxes.shape
        places.append(boxes.reshape(batch, count, 2, 2))
        kinds.append(xp.broadcast_to(xp.asarray([2, 3]), (batch, count, 2)))
    else:
        xp = xp_of(places[0])
        places.append(xp.zeros_like(places[0][:, :, :1]))
        kinds.append(xp.full_like(kinds[0][:, :, :1], NOT_A_POINT))
    xp = xp_of(places[0])
    return xp.concatenate(places, axis=2), xp.concatenate(kinds, axis=2)
