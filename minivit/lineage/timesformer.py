"""TimeSformer (Bertasius et al. 2021, "Is Space-Time Attention All You Need for Video Understanding?", arXiv
2102.05095).

New against ViT: every frame of a clip is cut into patches, and attention is divided. In a block, a patch first attends
to the patches at its own place in all frames, then to those of its own frame. With x_{p,t} the patch at place p of
frame t,

    y_{p,t} = x_{p,t} + W MSA_time(LN(x_{p,1}), ..., LN(x_{p,T}))_t + b,
    z_{.,t} = y_{.,t} + MSA_space(LN(x_class), LN(y_{1,t}), ..., LN(y_{N,t})),   then the MLP,

so a patch has N + T + 1 scores instead of N T + 1. [class] does not attend in time. It enters the attention of every
frame, and the mean of its T results is added to it. A table for places is added to all tokens of a frame, a table for
times to patches only. `attention` may also be

    joint    all patches of all frames and [class] attend to each other
    space    frames know nothing of each other; the mean over frames is taken before the last LayerNorm

Source: facebookresearch/TimeSformer, timesformer/models/vit.py. Patches are in the order (place, time), time fastest. W
begins at zero in all blocks but the first, and so does the table of times. Without it a clip and its reverse look the
same; `time_std` draws it. The code starts from an ImageNet ViT, and there MSA_time and its LN are copies of those in
space (`from_vit`). Its other matrices begin with standard deviation 0.02, ours as a ViT's. Drop path leaves out single
places of a clip in time, single frames in space. In time it stands before W, so b survives. For other sizes the tables
are stretched by the nearest neighbour.

B batch, T frames, N places of a frame, D width, C channels of a frame.
"""

import dataclasses
import functools
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.backend import Array, to_numpy
from minivit.errors import ConfigError
from minivit.files.checks import at_least, epsilon, frames_share, heads_divide, one_of, patches_tile, rates
from minivit.files.fields import settle
from minivit.lineage.published import variant
from minivit.models import ViT
from minivit.models.config import Size
from minivit.models.families import Family
from minivit.models.head import Head
from minivit.nn import MLP, Dropout, EncoderBlock, LayerNorm, Linear, Module, MultiHeadAttention
from minivit.nn import initialisers as init
from minivit.nn.layers import Rng, Tap
from minivit.nn.tubelets import TubeletEmbed, frames_of
from minivit.tensor import Tensor

PARITY = "logits, blocks and gradients of the published code, also with stretched tables"
_BASE = {"width": 768, "depth": 12, "heads": 12, "frames": 8, "channels": 24, "num_classes": 400}
_SMALL: dict[str, Any] = {
    "image_size": 32, "patch_size": 8, "width": 64, "depth": 2, "heads": 4, "mlp_width": 128, "frames": 8,
    "time_std": 0.3,
}  # fmt: skip
VARIANTS: dict[str, dict[str, Any]] = {
    "timesformer": _BASE,
    "timesformer-joint": {**_BASE, "attention": "joint"},
    "timesformer-space": {**_BASE, "attention": "space"},
    "timesformer-hr": {**_BASE, "image_size": 448, "frames": 16, "channels": 48},
    "timesformer-l": {**_BASE, "frames": 96, "channels": 288},
    "timesformer-small32": _SMALL,
    "timesformer-small32-joint": {**_SMALL, "attention": "joint"},
    "timesformer-small32-space": {**_SMALL, "attention": "space"},
}
PRESETS: dict[str, dict[str, Any]] = {
    "clips-timesformer": {
        "data": "clips",
        "model": {"name": "timesformer", **_SMALL},
        "batch_size": 32,
        "steps": 1500,
        "lr": 2e-3,
        "warmup": 0.35,
        "eval_every": 500,
    },
}


@dataclasses.dataclass(frozen=True)
class TimeSformerConfig:
    """The shape of a TimeSformer. Raises ConfigError for parts that do not fit.

    frames: T; channels: of all frames together, T C. time_std: standard deviation of the table of times at the start, 0
    in published code. The rest: as in ViTConfig.
    """

    image_size: Size = Size(224)
    frames: int = 8
    patch_size: Size = Size(16)
    attention: str = "divided"
    width: int = 192
    depth: int = 12
    heads: int = 3
    mlp_width: int = 0
    num_classes: int = 1000
    channels: int = 24
    time_std: float = 0.0
    gelu: str = "erf"
    norm_eps: float = 1e-6
    qkv_bias: bool = True
    dropout: float = 0.0
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        settle(self)
        object.__setattr__(self, "mlp_width", self.mlp_width or 4 * self.width)
        at_least(self, 1, "frames", "width", "depth", "heads", "mlp_width", "channels")
        at_least(self, 0, "num_classes", "time_std")
        one_of(self, attention=("divided", "joint", "space"), gelu=("tanh", "erf"))
        rates(self, "dropout", "drop_path")
        epsilon(self)
        frames_share(self.channels, self.frames)
        patches_tile(self.image_size, self.patch_size)
        heads_divide(self.width, self.heads)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        (height, width), (down, across) = self.image_size, self.patch_size
        return height // down, width // across

    @property
    def num_tokens(self) -> int:
        """All tokens of a clip."""
        return self.grid[0] * self.grid[1] * self.frames + (self.frames if self.attention == "space" else 1)

    @property
    def description(self) -> str:
        """The model in a few words."""
        size = f"width {self.width}, depth {self.depth}, {self.heads} heads"
        return f"TimeSformer: {self.frames} frames, {self.attention}, {size}, {self.num_tokens} tokens"


class DividedBlock(EncoderBlock):
    """Attention in time, attention in space, MLP.   (B, 1 + N T, D) -> (B, 1 + N T, D)."""

    def __init__(self, config: TimeSformerConfig, first: bool, rng: init.Rng, dtype: str, **options: Any):
        width = config.width
        super().__init__(_attention(config, rng, dtype), _mlp(config, rng, dtype), width, dtype, **options)
        self.temporal_norm = LayerNorm(width, config.norm_eps, dtype)
        self.temporal_attention = _attention(config, rng, dtype)
        weight = init.xavier_uniform if first else init.zeros
        self.temporal_out = Linear(width, width, rng, dtype, weight=weight)

    def forward(self, x: Tensor, rng: Rng = None, tap: Tap = None, frames: int = 1) -> Tensor:  # type: ignore[override]
        token, x = x[:, :1], x[:, 1:]
        batch, tokens, width = x.shape
        places = tokens // frames
        y = self.temporal_norm(x.reshape(batch * places, frames, width))
        y = self.drop_path(self.dropout(self.temporal_attention(y, rng), rng), rng)
        x = x + self.temporal_out(y.reshape(batch, tokens, width))
        each = x.reshape(batch, places, frames, width).transpose(0, 2, 1, 3)
        copies = F.broadcast_to(token.reshape(batch, 1, 1, width), (batch, frames, 1, width))
        each = F.concat(copies, each, axis=2).reshape(batch * frames, 1 + places, width)
        y = self.drop_path(self.dropout(self.attention(self.norm1(each), rng, tap), rng), rng)
        y = y.reshape(batch, frames, 1 + places, width)
        in_order = y[:, :, 1:].transpose(0, 2, 1, 3).reshape(batch, tokens, width)
        x = F.concat(token + y[:, :, 0].mean(axis=1, keepdims=True), x + in_order, axis=1)
        x = x + self.drop_path(self.mlp(self.norm2(x), rng), rng)
        if tap is not None:
            tap["output"] = x
        return x


def _attention(config: TimeSformerConfig, rng: init.Rng, dtype: str) -> MultiHeadAttention:
    return MultiHeadAttention(config.width, config.heads, rng, dtype, qkv_bias=config.qkv_bias)


def _drawn(rng: init.Rng, fan_in: int, fan_out: int) -> np.ndarray:
    return init.normal(rng, (fan_in, fan_out), 0.02)


def _mlp(config: TimeSformerConfig, rng: init.Rng, dtype: str) -> MLP:
    return MLP(config.width, config.mlp_width, rng, dtype, config.dropout, config.gelu)


class TimeSformer(Module):
    """The model of `config`; the head is drawn. seed=None draws nothing."""

    def __init__(self, config: TimeSformerConfig, seed: int | None = 0, dtype: str = "float32"):
        rng = None if seed is None else np.random.default_rng(seed)
        self.config, width = config, config.width
        colours, places = config.channels // config.frames, config.grid[0] * config.grid[1]
        self.embed = TubeletEmbed((1, *config.patch_size), colours, width, rng, dtype)
        self.class_token = init.parameter(init.normal(rng, (1, 1, width), 0.02), dtype)
        self.position_embedding = init.parameter(init.normal(rng, (1, 1 + places, width), 0.02), dtype)
        if config.attention != "space":
            self.time_embedding = init.parameter(init.normal(rng, (1, config.frames, width), config.time_std), dtype)
        self.dropout = Dropout(config.dropout)
        self.blocks: list[Any] = []
        for i in range(config.depth):
            rate = config.drop_path * i / max(1, config.depth - 1)
            options: Any = {"dropout": config.dropout, "drop_path": rate, "norm_eps": config.norm_eps}
            if config.attention == "divided":
                self.blocks.append(DividedBlock(config, i == 0, rng, dtype, **options))
            else:
                parts = _attention(config, rng, dtype), _mlp(config, rng, dtype)
                self.blocks.append(EncoderBlock(*parts, width, dtype, **options))
        self.norm = LayerNorm(width, config.norm_eps, dtype)
        if config.num_classes:
            self.head = Head(width, config.num_classes, rng, dtype, weight=_drawn)
        for name, tensor in self.named_parameters():
            tensor.name = name

    def forward(self, images: Tensor | Array, tap: Tap = None, rng: Rng = None) -> Tensor:
        """Logits (B, num_classes), or features (B, D) without a head.

        images: (B, height, width, T C), frames as channels, or clips (B, T, height, width, C) of any size and length.
        tap: a dict that collects "embedded", "block0/output", ... (B, 1 + N T, D), in "space" (B T, 1 + N, D),
        "encoded" and "features" (B, D).
        """
        clips = frames_of(self.tensor(images), self.config.frames)
        batch, frames = clips.shape[:2]
        x = self.embedded(clips, rng)
        seen: dict[str, Any] = {"embedded": x}
        divided = {"frames": frames} if self.config.attention == "divided" else {}
        for i, block in enumerate(self.blocks):
            inner: Tap = None if tap is None else {}
            x = block(x, rng, inner, **divided)
            seen |= {f"block{i}/{name}": value for name, value in (inner or {}).items()}
        if self.config.attention == "space":
            x = x.reshape(batch, frames, *x.shape[1:]).mean(axis=1)
        encoded = self.norm(x)
        features = encoded[:, 0]
        if tap is not None:
            tap.update(seen, encoded=encoded, features=features)
        return self.head(features) if self.config.num_classes else features

    def embedded(self, clips: Tensor, rng: Rng = None) -> Tensor:
        """The tokens before the first block.   (B, T, height, width, C) -> (B, 1 + N T, D); "space" (B T, 1 + N, D)."""
        x = self.embed(clips)
        batch, frames, places, width = x.shape
        grid = clips.shape[2] // self.config.patch_size[0], clips.shape[3] // self.config.patch_size[1]
        token = F.broadcast_to(self.class_token + self.position_embedding[:, :1], (batch, 1, width))
        x = x + self.positions(grid)
        if self.config.attention == "space":
            token = F.broadcast_to(token.reshape(batch, 1, 1, width), (batch, frames, 1, width))
            x = F.concat(token, x, axis=2).reshape(batch * frames, 1 + places, width)
            return self.dropout(x, rng)
        x = x.transpose(0, 2, 1, 3) + nearest(self.time_embedding, frames)
        return self.dropout(F.concat(token, x.reshape(batch, places * frames, width), axis=1), rng)

    def positions(self, grid: tuple[int, int]) -> Tensor:
        """The table of places for a grid.   (1, N, D)."""
        table, own = self.position_embedding[:, 1:], self.config.grid
        if grid == own:
            return table
        rows, columns = (np.arange(m) * n // m for n, m in zip(own, grid, strict=True))
        return table[:, (rows[:, None] * own[1] + columns).reshape(-1)]


def nearest(table: Tensor, rows: int) -> Tensor:
    """A table stretched to so many rows by the nearest neighbour.   (1, n, D) -> (1, m, D): row i is i n / m."""
    own = table.shape[1]
    return table if rows == own else table[:, np.arange(rows) * own // rows]


def from_vit(vit: ViT, seed: int | None = 0, **fields: Any) -> TimeSformer:
    """A TimeSformer that starts from a trained ViT: attention in time is a copy of that in space, with W at zero in all
    blocks but the first, and the head is new.   fields: of TimeSformerConfig, beside the ViT's. Raises ConfigError."""
    shape = vit.config
    if shape.position != "learned" or shape.stem or shape.prefix_tokens.keys() != {"class_token"} or shape.fc_norm:
        raise ConfigError("a TimeSformer starts from a ViT with a [class] token, no others, and learned positions")
    same = ("image_size", "patch_size", "width", "depth", "heads", "mlp_width", "gelu", "norm_eps", "qkv_bias")
    known: dict[str, Any] = {name: getattr(shape, name) for name in same} | {"num_classes": shape.num_classes}
    known["channels"] = shape.channels * fields.get("frames", 8)
    dtype = str(vit.patch_embed.projection.weight.dtype)
    model = TimeSformer(TimeSformerConfig(**{**known, **fields}), seed, dtype)
    state = {name: to_numpy(tensor.data) for name, tensor in vit.named_tensors()}
    for name, tensor in model.named_tensors():
        source = name.replace("embed.projection", "patch_embed.projection") if name.startswith("embed.") else name
        source = source.replace("temporal_attention", "attention").replace("temporal_norm", "norm1")
        if source in state and not name.startswith("head"):
            tensor.data[...] = state[source]
    return model


FAMILY = Family(TimeSformerConfig, TimeSformer, "timesformer.*", functools.partial(variant, VARIANTS))
