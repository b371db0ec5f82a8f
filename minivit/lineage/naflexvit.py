"""NaFlexViT (Tschannen et al. 2025, "SigLIP 2", arXiv 2502.14786): images keep their shape, as in NaViT, and one table
of positions serves all grids, as in FlexiViT.

New against ViT: an image is resized to about as many patches as the sequence has places, at its own ratio of sides. A
batch holds patches (B, N, P P C), the row and column of each (B, N, 2), and which are real (B, N): short sequences are
filled up with zeros. Image b with a grid of R x C gets the position table T, (h, w, D), resized to its grid,

    x_b[i] = p_b[i] E + e + (A_R T A_C^T)[y_i, x_i],     scores s_ij += 0 if i and j are real, else the least number,

and features are a mean over the real patches alone. So an image gives the same logits in every batch, to rounding.

Source: huggingface/pytorch-image-models, timm/models/naflexvit.py; its order of a patch is (row, column, channel). The
table is resized by PyTorch's bicubic with antialiasing, which has a = -0.5 in both directions; without antialiasing it
would be -0.75. Factorised positions, one table for rows and one for columns (NaViT), are resized linearly. With
`aspect` both axes are stretched alike, to the longer side, and cut. Where a query sees nobody, as padding does, all
scores are the least number and so equal: it reads the mean of all values. With minus infinity they would be 0/0, and
NaN times a gradient of 0 is NaN. The two norms are apart: `norm` before the pooling, `fc_norm` after it. RoPE, which
that file also offers, is not here. Against the published code: kernels are drawn as a ViT's.

B batch, N places of a sequence, D width, K classes, R x C the grid of an image.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.backend import Array, to_numpy, xp_of
from minivit.backend.resizing import METHODS
from minivit.errors import ConfigError
from minivit.files.checks import at_least, epsilon, heads_divide, one_of, patches_tile, positive, rates
from minivit.files.fields import settle
from minivit.lineage.published import variant
from minivit.models.config import Size
from minivit.models.families import Family
from minivit.models.head import Head
from minivit.nn import MLP, Dropout, LayerNorm, Linear, Module, patchify
from minivit.nn import initialisers as init
from minivit.nn.attention_pool import AttentionPool
from minivit.nn.layers import Rng, Tap
from minivit.nn.masked import MaskedAttention, MaskedBlock, through
from minivit.tensor import Tensor

PARITY = "padded and alone, positions learned and factorised, in timm: outputs, gradients, matrices"
_BASE: dict[str, Any] = {"layer_scale": 1e-5, "register_tokens": 4}
VARIANTS: dict[str, dict[str, Any]] = {
    "naflexvit-b16-gap": _BASE,
    "naflexvit-b16-par-gap": {**_BASE, "aspect": True},
    "naflexvit-b16-parfac-gap": {**_BASE, "aspect": True, "positions": "factorised"},
    "naflexvit-b16-map": {"layer_scale": 1e-5, "register_tokens": 1, "classifier": "map", "norm": True,
                          "fc_norm": False},
    "naflexvit-mini": {"image_size": 32, "patch_size": 4, "base_grid": 8, "width": 96, "depth": 6, "heads": 3,
                       "mlp_width": 192, "gelu": "tanh"},
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class NaFlexViTConfig:
    """The shape of a NaFlexViT. Raises ConfigError, in one line, for parts that do not fit.

    image_size: of `model(images)`; `padded` takes any. base_grid: of the position table. positions: "learned",
    "factorised" or "none". resize: of the learned table, of `backend.resizing`; "bicubic" is what timm calls
    grid_sample. classifier: "gap", "token", "map" (attention pooling), "max" or "gapmax", the mean of both.
    pool_prefix: whether tokens before the patches are pooled with them. pool_heads, pool_mlp_width: of attention
    pooling; 0 for those of a block. pre_norm: a norm before the blocks, and a patch projection without bias. key_mask:
    padding is hidden only as a key, and attends itself.
    """

    image_size: Size = Size(384)
    patch_size: Size = Size(16)
    base_grid: Size = Size(16)
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_width: int = 0
    num_classes: int = 1000
    channels: int = 3
    positions: str = "learned"
    resize: str = "bicubic_antialias"
    aspect: bool = False
    class_token: bool = False
    register_tokens: int = 0
    classifier: str = "gap"
    pool_prefix: bool = False
    pool_heads: int = 0
    pool_mlp_width: int = 0
    norm: bool = False
    fc_norm: bool = True
    pre_norm: bool = False
    key_mask: bool = False
    qkv_bias: bool = True
    qk_norm: bool = False
    layer_scale: float | None = None
    gelu: str = "erf"
    norm_eps: float = 1e-6
    dropout: float = 0.0
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        settle(self)
        object.__setattr__(self, "mlp_width", self.mlp_width or 4 * self.width)
        at_least(self, 1, "width", "depth", "heads", "mlp_width", "channels")
        one_of(
            self,
            positions=("learned", "factorised", "none"),
            classifier=("gap", "token", "map", "max", "gapmax"),
            gelu=("tanh", "erf"),
            resize=METHODS,
        )
        patches_tile(self.image_size, self.patch_size)
        for heads in (self.heads, self.pool_heads or 1):
            heads_divide(self.width, heads)
        if self.classifier == "token" and not self.class_token:
            raise ConfigError('classifier "token" needs class_token')
        rates(self, "dropout", "drop_path")
        at_least(self, 0, "num_classes", "register_tokens", "pool_heads", "pool_mlp_width")
        epsilon(self)
        positive(self, layer_scale="none")

    @property
    def before(self) -> int:
        """The number of tokens before the patches."""
        return self.class_token + self.register_tokens

    @property
    def num_tokens(self) -> int:
        (height, width), (down, across) = self.image_size, self.patch_size
        return (height // down) * (width // across) + self.before

    @property
    def description(self) -> str:
        """The model in a few words."""
        return f"NaFlexViT: width {self.width}, depth {self.depth}, {self.heads} heads, {self.num_tokens} tokens"


def filled(images: Sequence[Array], patch: tuple[int, int], length: int = 0) -> tuple[Array, Array, Array]:
    """Images (height, width, C) of several sizes as one batch: patches (B, N, P P C), places (B, N, 2) of row and
    column, real (B, N). N is `length`, or that of the largest image. Raises ValueError for one that is larger."""
    cut = [patchify(Tensor(image[None]), patch).data[0] for image in images]
    length = length or max(len(x) for x in cut)
    if max(len(x) for x in cut) > length:
        raise ValueError(f"filled: an image has {max(len(x) for x in cut)} patches, the sequence {length} places")
    patches = np.zeros((len(cut), length, cut[0].shape[-1]), cut[0].dtype)
    places, real = np.zeros((len(cut), length, 2), np.int64), np.zeros((len(cut), length), bool)
    for b, (image, x) in enumerate(zip(images, cut, strict=True)):
        patches[b, : len(x)], real[b, : len(x)] = x, True
        places[b, : len(x)] = np.argwhere(np.ones((image.shape[0] // patch[0], image.shape[1] // patch[1])))
    return patches, places, real


class NaFlexViT(Module):
    """The model of `config`; the head begins at zero. seed, dtype, recompute_blocks: as in `ViT`."""

    recompute_blocks = False

    def __init__(self, config: NaFlexViTConfig, seed: int | None = 0, dtype: str = "float32"):
        rng = None if seed is None else np.random.default_rng(seed)
        self.config, width, eps = config, config.width, config.norm_eps
        (down, across), (rows, columns) = config.patch_size, config.base_grid
        fan_in = down * across * config.channels
        self.patch_embed = Linear(fan_in, width, rng, dtype, weight=init.lecun_normal, bias=not config.pre_norm)
        shapes: dict[str, tuple[int, ...]] = {
            **({"class_token": (1, 1, width)} if config.class_token else {}),
            **({"register_tokens": (1, config.register_tokens, width)} if config.register_tokens else {}),
            **({"position_embedding": (1, rows, columns, width)} if config.positions == "learned" else {}),
        }
        if config.positions == "factorised":
            shapes |= {"row_embedding": (1, rows, width), "column_embedding": (1, columns, width)}
        for name, shape in shapes.items():
            setattr(self, name, init.parameter(init.normal(rng, shape, 0.02), dtype))
        self.dropout = Dropout(config.dropout)
        self.pre_norm = LayerNorm(width, eps, dtype) if config.pre_norm else None
        self.blocks = [self._block(i, rng, dtype) for i in range(config.depth)]
        self.norm = LayerNorm(width, eps, dtype) if config.norm else None
        pool = config.pool_heads or config.heads, config.pool_mlp_width or config.mlp_width
        with_pool = config.classifier == "map"
        self.pool = AttentionPool(width, *pool, rng, dtype, config.gelu, eps) if with_pool else None
        self.fc_norm = LayerNorm(width, eps, dtype) if config.fc_norm else None
        if config.num_classes:
            self.head = Head(width, config.num_classes, rng, dtype, weight=init.zeros)
        for name, tensor in self.named_parameters():
            tensor.name = name

    def _block(self, i: int, rng: init.Rng, dtype: str) -> MaskedBlock:
        c = self.config
        q, k = (LayerNorm(c.width // c.heads, c.norm_eps, dtype) if c.qk_norm else None for _ in range(2))
        attention = MaskedAttention(c.width, c.heads, rng, dtype, qkv_bias=c.qkv_bias, q_norm=q, k_norm=k)
        mlp = MLP(c.width, c.mlp_width, rng, dtype, c.dropout, c.gelu)
        rate = c.drop_path * i / max(1, c.depth - 1)
        return MaskedBlock(attention, mlp, c.width, dtype, c.dropout, rate, c.norm_eps, c.layer_scale)

    def forward(self, images: Tensor | Array, tap: Tap = None, rng: Rng = None) -> Tensor:
        """Logits (B, K), or features (B, D) without a head, of images (B, height, width, C) of one size, any that the
        patches divide."""
        images, (down, across) = self.tensor(images), self.config.patch_size
        grid = images.shape[1] // down, images.shape[2] // across
        x = self.patch_embed(patchify(images, (down, across)))
        table = self.table(grid)
        return self._encode(x if table is None else x + table, None, tap, rng)

    def padded(
        self, patches: Tensor | Array, places: Array, real: Array | None = None, tap: Tap = None, rng: Rng = None
    ) -> Tensor:
        """The same of images of several sizes in one batch, as from `filled`.   patches: (B, N, P P C), places: (B, N,
        2), real: (B, N) booleans, None if all are. The patches of an image come first, row by row. tap: a dict that
        collects "embedded" and "block0/output" ..., (B, N, D) with the tokens before the patches, "encoded" and
        "features"."""
        x = self.patch_embed(self.tensor(patches))
        grids = [(int(rows), int(columns)) for rows, columns in to_numpy(places).max(axis=1) + 1]
        if self.config.positions != "none":
            tables = {grid: self._fitted(grid, x.shape[1]) for grid in set(grids)}
            x = x + F.concat(*(tables[grid] for grid in grids), axis=0)
        return self._encode(x, real, tap, rng)

    def table(self, grid: tuple[int, int]) -> Tensor | None:
        """The positions of a grid, (1, R C, D)."""
        config, (rows, columns), width = self.config, grid, self.config.width
        size = (max(grid), max(grid)) if config.aspect else grid
        if config.positions == "none":
            return None
        if config.positions == "learned":
            table = F.resize(vars(self)["position_embedding"], size, config.resize)
        else:
            down, across = vars(self)["row_embedding"], vars(self)["column_embedding"]
            by_row = F.resize(down.reshape(1, -1, 1, width), (size[0], 1), "bilinear")
            table = by_row + F.resize(across.reshape(1, 1, -1, width), (1, size[1]), "bilinear")
        return table[:, :rows, :columns].reshape(1, rows * columns, width)

    def _fitted(self, grid: tuple[int, int], length: int) -> Tensor:
        """The positions of a grid at the beginning of a sequence, zeros behind them."""
        table = self.table(grid)
        assert table is not None
        missing = length - table.shape[1]
        return F.pad(table, ((0, 0), (0, missing), (0, 0))) if missing > 0 else table[:, :length]

    def _encode(self, x: Tensor, real: Array | None, tap: Tap, rng: Rng) -> Tensor:
        """Patches with positions -> logits."""
        config, batch = self.config, len(x.data)
        tokens = [vars(self)[name] for name in ("class_token", "register_tokens") if name in vars(self)]
        before = [F.broadcast_to(token, (batch, *token.shape[1:])) for token in tokens]
        x = F.concat(*before, x, axis=1) if before else x
        xp = xp_of(x.data)
        everyone = None
        if real is not None:
            everyone = xp.concatenate([xp.ones((batch, config.before), bool), xp.asarray(real)], axis=1)
        bias = None if everyone is None else hiding(everyone, config.key_mask, x.data)
        x = self.dropout(x, rng)
        if tap is not None:
            tap["embedded"] = x
        x = self.pre_norm(x) if self.pre_norm else x
        x = through(self.blocks, x, rng, tap, self.recompute_blocks, bias)
        encoded = self.norm(x) if self.norm else x
        features = self._pooled(encoded, everyone)
        features = self.fc_norm(features) if self.fc_norm else features
        if tap is not None:
            tap.update(encoded=encoded, features=features)
        return self.head(features) if config.num_classes else features

    def _pooled(self, x: Tensor, real: Array | None) -> Tensor:
        """(B, N, D) -> (B, D): of the real patches."""
        if self.config.classifier == "token":
            return x[:, 0]
        start = 0 if self.config.pool_prefix else self.config.before
        x, real = x[:, start:] if start else x, real if real is None else real[:, start:]
        if self.pool:
            return self.pool(x, None if real is None else real[:, None, None])[:, 0]
        xp = xp_of(x.data)
        real = xp.ones(x.shape[:2], bool) if real is None else real
        weights = (real / xp.maximum(real.sum(axis=1, keepdims=True), 1)).astype(x.dtype)
        mean = (x * weights[:, :, None]).sum(axis=1)
        if self.config.classifier == "gap":
            return mean
        largest = F.max(F.where(real[:, :, None], x, xp.finfo(x.dtype).min), axis=1)
        return largest if self.config.classifier == "max" else (mean + largest) * 0.5


def hiding(real: Array, key_mask: bool, like: Array) -> Tensor:
    """What is added to scores so that nobody sees padding: (B, 1, N, N), or (B, 1, 1, N) if only keys count."""
    xp = xp_of(like)
    seen = real[:, None, None, :] if key_mask else real[:, None, None, :] & real[:, None, :, None]
    return Tensor(xp.where(seen, 0, xp.finfo(like.dtype).min).astype(like.dtype))


FAMILY = Family(NaFlexViTConfig, NaFlexViT, "naflexvit-.*", functools.partial(variant, VARIANTS))
