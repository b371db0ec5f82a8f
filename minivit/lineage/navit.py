"""NaViT (Dehghani et al. 2023, "Patch n' Pack: NaViT, a Vision Transformer for any Aspect Ratio and Resolution", arXiv
2307.06304).

New against ViT: images of any size and shape are packed one behind the other into one sequence of N tokens, as
examples are for language models, so a batch wastes little work on padding and no image is squeezed into a square. With
o_i the number of the image of token i, (y_i, x_i) its place there, and p_i its pixels,

    z_i = p_i E + e + Y[y_i] + X[x_i],     token i sees token j only if o_i = o_j,

and every image is pooled for itself. So a packed image gives the logits that it gets alone, to rounding. In training,
some tokens of an image are dropped before it is packed: then more images fit.

Source: the paper; its code was not published whole. LayerNorms have no shift, queries and keys an RMSNorm, and the only
biases are those of the patches, the pooling and the head. Padding has the number -1 and sees itself, so no row of the
softmax is empty. `pool` is "map", attention pooling as in the paper, or "gap", the mean over an image's tokens.
Positions are absolute and factorised; the paper's fractional ones (y_i over the number of rows) are not here, nor its
contrastive loss in chunks. Kernels are drawn as a ViT's.

S sequences, N tokens of each, M images of each, I images in all, D width, K classes.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minivit import functional as F
from minivit.backend import Array, xp_of
from minivit.errors import ConfigError
from minivit.files.checks import at_least, epsilon, heads_divide, one_of, patches_tile, rates
from minivit.files.fields import settle
from minivit.lineage.published import variant
from minivit.models.config import Size, variant_fields
from minivit.models.families import Family
from minivit.models.head import Head
from minivit.nn import Dropout, Linear, Module, RMSNorm, ScaleNorm, patchify
from minivit.nn import initialisers as init
from minivit.nn.attention_pool import AttentionPool
from minivit.nn.layers import Rng, Tap
from minivit.nn.masked import BiasFreeMLP, MaskedAttention, MaskedBlock, through
from minivit.tensor import Tensor

PARITY = "an independent implementation of the paper: three images in a pack, and each alone; outputs and gradients"
VARIANTS: dict[str, dict[str, Any]] = {f"navit-{name.lower()}16": variant_fields(f"{name}/16") for name in "SBL"}
VARIANTS["navit-mini"] = {  # for 32 x 32
    "image_size": 32, "patch_size": 4, "table": 16, "width": 96, "depth": 6, "heads": 3, "mlp_width": 192,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class NaViTConfig:
    """The shape of a NaViT. Raises ConfigError, in one line, for parts that do not fit.

    image_size: of `model(images)`; `packed` takes all sizes. table: rows and columns that have positions, the largest
    grid. pool: "map" or "gap".
    """

    image_size: Size = Size(224)
    patch_size: Size = Size(16)
    table: Size = Size(64)
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_width: int = 0
    num_classes: int = 1000
    channels: int = 3
    pool: str = "map"
    gelu: str = "tanh"
    norm_eps: float = 1e-6
    dropout: float = 0.0
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        settle(self)
        object.__setattr__(self, "mlp_width", self.mlp_width or 4 * self.width)
        at_least(self, 1, "width", "depth", "heads", "mlp_width", "channels")
        at_least(self, 0, "num_classes")
        heads_divide(self.width, self.heads)
        one_of(self, pool=("map", "gap"), gelu=("tanh", "erf"))
        rates(self, "dropout", "drop_path")
        epsilon(self)
        patches_tile(self.image_size, self.patch_size)
        (height, width), (down, across) = self.image_size, self.patch_size
        if height // down > self.table[0] or width // across > self.table[1]:
            raise ConfigError(
                f"images of {height // down}x{width // across} patches exceed the {self.table[0]}x{self.table[1]} "
                "places that have positions: choose a larger table"
            )

    @property
    def num_tokens(self) -> int:
        (height, width), (down, across) = self.image_size, self.patch_size
        return (height // down) * (width // across)

    @property
    def description(self) -> str:
        """The model in a few words."""
        return f"NaViT: width {self.width}, depth {self.depth}, {self.heads} heads, {self.num_tokens} tokens"


class Pack(NamedTuple):
    """Images in sequences.   patches: (S, N, P P C), places: (S, N, 2) of row and column, owners: (S, N), the number of
    an image in its sequence, -1 for padding. sequence, number: (I,), where each image went, in their given order."""

    patches: Array
    places: Array
    owners: Array
    sequence: Array
    number: Array


def pack(images: Sequence[Array], patch: tuple[int, int], length: int, drop: float = 0.0, rng: Any = None) -> Pack:
    """Put images (height, width, C) into sequences of `length` tokens: each into the first with room for it.

    drop: share of the tokens of every image that are left out at random by `rng`, a NumPy generator; at least one
    stays. Raises ValueError for an image that is longer than a sequence.
    """
    room: list[int] = []
    members: list[list[tuple[Array, Array]]] = []
    where = np.zeros((len(images), 2), np.int64)
    for i, image in enumerate(images):
        cut = patchify(Tensor(image[None]), patch).data[0]
        places = np.argwhere(np.ones((image.shape[0] // patch[0], image.shape[1] // patch[1])))
        if drop:
            stay = np.sort(rng.permutation(len(cut))[: max(1, round(len(cut) * (1 - drop)))])
            cut, places = cut[stay], places[stay]
        if len(cut) > length:
            raise ValueError(f"pack: image {i} has {len(cut)} tokens, a sequence {length}")
        chosen = next((s for s, free in enumerate(room) if free >= len(cut)), len(room))
        if chosen == len(room):
            room.append(length)
            members.append([])
        where[i] = chosen, len(members[chosen])
        room[chosen] -= len(cut)
        members[chosen].append((cut, places))
    patches = np.zeros((len(room), length, members[0][0][0].shape[-1]), members[0][0][0].dtype)
    all_places, owners = np.zeros((len(room), length, 2), np.int64), np.full((len(room), length), -1)
    for s, inside in enumerate(members):
        start = 0
        for m, (cut, places) in enumerate(inside):
            part = slice(start, start := start + len(cut))
            patches[s, part], all_places[s, part], owners[s, part] = cut, places, m
    return Pack(patches, all_places, owners, where[:, 0], where[:, 1])


def together(owners: Array) -> Array:
    """Which tokens see each other: those of one image, and padding itself.   (S, N) -> (S, 1, N, N)."""
    return owners[:, None, :, None] == owners[:, None, None, :]


class NaViT(Module):
    """The model of `config`; the head begins at zero. seed, dtype, recompute_blocks: as in `ViT`."""

    recompute_blocks = False

    def __init__(self, config: NaViTConfig, seed: int | None = 0, dtype: str = "float32"):
        rng = None if seed is None else np.random.default_rng(seed)
        self.config, width, (down, across) = config, config.width, config.patch_size
        self.patch_embed = Linear(down * across * config.channels, width, rng, dtype, weight=init.lecun_normal)
        self.row_embedding = init.parameter(init.normal(rng, (config.table[0], width), 0.02), dtype)
        self.column_embedding = init.parameter(init.normal(rng, (config.table[1], width), 0.02), dtype)
        self.dropout = Dropout(config.dropout)
        self.blocks = [self._block(i, rng, dtype) for i in range(config.depth)]
        self.norm = ScaleNorm(width, config.norm_eps, dtype)
        self.pool = None
        if config.pool == "map":
            self.pool = AttentionPool(width, config.heads, config.mlp_width, rng, dtype, config.gelu, config.norm_eps)
        if config.num_classes:
            self.head = Head(width, config.num_classes, rng, dtype, weight=init.zeros)
        for name, tensor in self.named_parameters():
            tensor.name = name

    def _block(self, i: int, rng: init.Rng, dtype: str) -> MaskedBlock:
        c = self.config
        q, k = (RMSNorm(c.width // c.heads, c.norm_eps, dtype) for _ in range(2))
        attention = MaskedAttention(c.width, c.heads, rng, dtype, qkv_bias=False, out_bias=False, q_norm=q, k_norm=k)
        mlp = BiasFreeMLP(c.width, c.mlp_width, rng, dtype, c.gelu)
        rate = c.drop_path * i / max(1, c.depth - 1)
        block = MaskedBlock(attention, mlp, c.width, dtype, c.dropout, rate)
        norms = [ScaleNorm(c.width, c.norm_eps, dtype) for _ in range(2)]
        block.norm1, block.norm2 = norms  # type: ignore[assignment]
        return block

    def forward(self, images: Tensor | Array, tap: Tap = None, rng: Rng = None) -> Tensor:
        """Logits (B, K), or features (B, D) without a head, of images (B, height, width, C) of one size, any that the
        patches divide: each is a sequence of its own. tap: as in `packed`."""
        images, (down, across) = self.tensor(images), self.config.patch_size
        rows, columns = images.shape[1] // down, images.shape[2] // across
        if rows > self.config.table[0] or columns > self.config.table[1]:
            raise ValueError(f"NaViT: of {rows}x{columns} patches, only {self.config.table} have positions")
        positions = self.row_embedding[:rows].reshape(rows, 1, -1) + self.column_embedding[:columns]
        x = self.patch_embed(patchify(images, (down, across))) + positions.reshape(rows * columns, -1)
        encoded = self._encode(x, None, tap, rng)
        features = self.pool(encoded)[:, 0] if self.pool else encoded.mean(axis=1)
        return self._answer(features, tap)

    def packed(self, given: Pack, tap: Tap = None, rng: Rng = None) -> Tensor:
        """Logits (I, K), or features (I, D), of packed images in the order in which they were given. tap: a dict that
        collects "embedded", "block0/output", ..., "encoded", (S, N, D), and "features"."""
        patches, xp = self.tensor(given.patches), xp_of(self.first_array())
        places, owners, sequence, number = (xp.asarray(x) for x in given[1:])
        y = F.embedding(self.row_embedding, places[..., 0])
        x = F.embedding(self.column_embedding, places[..., 1])
        encoded = self._encode(self.patch_embed(patches) + y + x, together(owners), tap, rng)
        numbers = xp.arange(int(number.max()) + 1)
        inside = owners[:, None, :] == numbers[:, None]  # (S, M, N)
        if self.pool:
            pooled = self.pool(encoded, inside[:, None], len(numbers))
        else:
            weights = inside / xp.maximum(inside.sum(axis=-1, keepdims=True), 1)
            pooled = Tensor(weights.astype(encoded.dtype)) @ encoded
        return self._answer(pooled[sequence, number], tap)

    def _encode(self, x: Tensor, mask: Array | None, tap: Tap, rng: Rng) -> Tensor:
        x = self.dropout(x, rng)
        if tap is not None:
            tap["embedded"] = x
        encoded = self.norm(through(self.blocks, x, rng, tap, self.recompute_blocks, mask=mask))
        if tap is not None:
            tap["encoded"] = encoded
        return encoded

    def _answer(self, features: Tensor, tap: Tap) -> Tensor:
        if tap is not None:
            tap["features"] = features
        return self.head(features) if self.config.num_classes else features


FAMILY = Family(NaViTConfig, NaViT, "navit-.*", functools.partial(variant, VARIANTS))
