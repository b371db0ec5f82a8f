"""ViViT: a Video Vision Transformer (Arnab et al. 2021, arXiv 2103.15691), models 1 and 2.

New against ViT: a clip is cut into tubelets, blocks of t x h x w pixels, and each becomes a token,

    z = vec(x[tubelet]) E + b,   E: (t h w C, D).

`attention` says who sees whom:

    joint        model 1: all S N tokens attend to each other, S^2 N^2 scores
    factorised   model 2: a ViT over the N tokens of every slice of t frames, the same for all slices; its S answers are
                 the sequence of a second, temporal ViT: S N^2 + S^2 scores
    frames       the baseline: the first ViT as in model 2, then the mean of its S answers, blind to their order

An answer is the [class] token, or with "gap" the mean over tokens. A trained ViT starts a ViViT (`from_vit`): its
kernel K (h, w, C, D) becomes E by "central", E[t // 2] = K and all other frames 0, or by "inflate", E[i] = K / t for
all i. So each token of a clip that stands still is that of the ViT. Model 1 gets the table of positions once for every
slice.

Source: google-research/scenic, projects/vivit (model.py, model_utils.py); Hugging Face's ViViT is model 1. GELU is the
tanh form, LayerNorm has epsilon 1e-6. Where the code differs: its central-frame initialiser for training from scratch
clears the columns of the kernel instead of its frames, while the way from a checkpoint is right. Its stochastic depth
does not divide by the rate of keeping; here it does. Models 3 and 4 are not here.

B batch, T frames, S = T / t slices, N tokens of a slice, D width, C channels of a frame.
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
from minivit.models.config import Size, variant_fields
from minivit.models.families import Family
from minivit.models.head import Head
from minivit.nn import MLP, Dropout, EncoderBlock, LayerNorm, Module, MultiHeadAttention
from minivit.nn import initialisers as init
from minivit.nn.layers import Rng, Tap
from minivit.nn.tubelets import TubeletEmbed, frames_of
from minivit.tensor import Tensor

PARITY = "Hugging Face's model 1; model 2 against a second implementation of scenic's: features, logits, gradients"
_B, _L = ({name: x for name, x in variant_fields(f"{size}/16").items() if name != "patch_size"} for size in "BL")
_LONG = {"frames": 32, "channels": 96, "num_classes": 400}
_SMALL = {"image_size": 32, "tubelet": (2, 8, 8), "width": 64, "depth": 3, "heads": 4, "mlp_width": 128, "frames": 8}
VARIANTS: dict[str, dict[str, Any]] = {
    "vivit-b16x2": {**_B, **_LONG},
    "vivit-b16x2-fe": {**_B, **_LONG, "attention": "factorised", "temporal_depth": 4},
    "vivit-l16x2-fe": {**_L, **_LONG, "attention": "factorised", "temporal_depth": 4},
    "vivit-small32": _SMALL,
    "vivit-small32-fe": {**_SMALL, "attention": "factorised", "depth": 2, "temporal_depth": 1},
    "vivit-small32-frames": {**_SMALL, "tubelet": (1, 8, 8), "attention": "frames"},  # two frames would show motion
}
PRESETS: dict[str, dict[str, Any]] = {
    "clips-vivit": {
        "data": "clips",
        "model": {"name": "vivit", **VARIANTS["vivit-small32-fe"]},
        "batch_size": 32,
        "steps": 1500,
        "lr": 2e-3,
        "warmup": 0.35,
        "eval_every": 500,
    },
}


@dataclasses.dataclass(frozen=True)
class ViViTConfig:
    """The shape of a ViViT. Raises ConfigError for parts that do not fit.

    frames: T; channels: of all frames together, T C. tubelet: t, h, w. depth, heads, mlp_width: of the only or spatial
    encoder; temporal_...: of the second one, 0 for the same. classifier: "token" or "gap". The rest: as in ViTConfig.
    """

    image_size: Size = Size(224)
    frames: int = 8
    tubelet: tuple[int, int, int] = (2, 16, 16)
    attention: str = "joint"
    width: int = 192
    depth: int = 12
    heads: int = 3
    mlp_width: int = 0
    temporal_depth: int = 4
    temporal_heads: int = 0
    temporal_mlp_width: int = 0
    num_classes: int = 1000
    channels: int = 24
    classifier: str = "token"
    gelu: str = "tanh"
    norm_eps: float = 1e-6
    qkv_bias: bool = True
    dropout: float = 0.0
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        settle(self)
        object.__setattr__(self, "mlp_width", self.mlp_width or 4 * self.width)
        at_least(self, 1, "frames", "width", "depth", "heads", "mlp_width", "temporal_depth", "channels")
        at_least(self, 0, "num_classes", "temporal_heads", "temporal_mlp_width")
        one_of(self, attention=("joint", "factorised", "frames"), classifier=("token", "gap"), gelu=("tanh", "erf"))
        rates(self, "dropout", "drop_path")
        epsilon(self)
        if min(self.tubelet) < 1 or self.frames % self.tubelet[0]:
            raise ConfigError(f"tubelets of {self.tubelet[0]} frames do not divide {self.frames} frames")
        frames_share(self.channels, self.frames)
        patches_tile(self.image_size, self.tubelet[1:])
        second = {"temporal_depth": 4, "temporal_heads": 0, "temporal_mlp_width": 0}
        for name, usual in second.items():  # configurations of the same model are equal
            own = getattr(self, name.removeprefix("temporal_"))
            if self.attention != "factorised" or (usual == 0 and getattr(self, name) == own):
                object.__setattr__(self, name, usual)
        heads_divide(self.width, self.heads)
        heads_divide(self.width, self.temporal_heads or self.heads)

    @property
    def grid(self) -> tuple[int, int, int]:
        """Slices, rows and columns of tubelets."""
        (height, width), (t, h, w) = self.image_size, self.tubelet
        return self.frames // t, height // h, width // w

    @property
    def num_tokens(self) -> int:
        """All tokens of a clip."""
        slices, rows, columns = self.grid
        token = int(self.classifier == "token")
        return slices * rows * columns + token * (1 if self.attention == "joint" else slices)

    @property
    def description(self) -> str:
        """The model in a few words."""
        size = f"width {self.width}, depth {self.depth}, {self.heads} heads"
        return f"ViViT: {self.frames} frames, {self.attention}, {size}, {self.num_tokens} tokens"


class Encoder(Module):
    """A ViT without its patches and its head: [class], positions, blocks, LayerNorm.   (B, N, D) -> (B, 1 + N, D)."""

    def __init__(
        self, config: ViViTConfig, tokens: int, depth: int, heads: int, hidden: int, rng: init.Rng, dtype: str
    ):
        width, eps = config.width, config.norm_eps
        if config.classifier == "token":
            self.class_token = init.parameter(init.constant(0, (1, 1, width)), dtype)
            tokens += 1
        self.position_embedding = init.parameter(init.normal(rng, (1, tokens, width), 0.02), dtype)
        self.dropout = Dropout(config.dropout)
        self.blocks = [
            EncoderBlock(
                MultiHeadAttention(width, heads, rng, dtype, qkv_bias=config.qkv_bias),
                MLP(width, hidden, rng, dtype, config.dropout, config.gelu),
                width, dtype, config.dropout, config.drop_path * i / max(1, depth - 1), eps,
            )
            for i in range(depth)
        ]  # fmt: skip
        self.norm = LayerNorm(width, eps, dtype)

    def forward(self, x: Tensor, rng: Rng = None, tap: Tap = None, before: str = "") -> Tensor:
        """before: what the names in `tap` begin with."""
        if hasattr(self, "class_token"):
            x = F.concat(F.broadcast_to(self.class_token, (x.shape[0], 1, x.shape[2])), x, axis=1)
        x = x + self.position_embedding
        seen: dict[str, Any] = {"embedded": x}
        x = self.dropout(x, rng)
        for i, block in enumerate(self.blocks):
            inner: Tap = None if tap is None else {}
            x = block(x, rng, inner)
            seen |= {f"block{i}/{name}": value for name, value in (inner or {}).items()}
        seen["encoded"] = encoded = self.norm(x)
        if tap is not None:
            tap.update({f"{before}{name}": value for name, value in seen.items()})
        return encoded

    def answer(self, encoded: Tensor) -> Tensor:
        """(B, 1 + N, D) -> (B, D): the [class] token, or the mean of all."""
        return encoded[:, 0] if hasattr(self, "class_token") else encoded.mean(axis=1)


class ViViT(Module):
    """The model of `config`; the head begins at zero. seed=None draws nothing."""

    def __init__(self, config: ViViTConfig, seed: int | None = 0, dtype: str = "float32"):
        rng = None if seed is None else np.random.default_rng(seed)
        self.config, (slices, rows, columns) = config, config.grid
        colours, joint = config.channels // config.frames, config.attention == "joint"
        self.embed = TubeletEmbed(config.tubelet, colours, config.width, rng, dtype)
        tokens, own = rows * columns * (slices if joint else 1), (config.depth, config.heads, config.mlp_width)
        self.encoder = Encoder(config, tokens, *own, rng, dtype)
        if config.attention == "factorised":
            second = config.temporal_depth, config.temporal_heads or own[1], config.temporal_mlp_width or own[2]
            self.temporal = Encoder(config, slices, *second, rng, dtype)
        if config.num_classes:
            self.head = Head(config.width, config.num_classes, rng, dtype, weight=init.zeros)
        for name, tensor in self.named_parameters():
            tensor.name = name

    def forward(self, images: Tensor | Array, tap: Tap = None, rng: Rng = None) -> Tensor:
        """Logits (B, num_classes), or features (B, D) without a head.

        images: (B, height, width, T C), frames as channels, or clips (B, T, height, width, C). tap: a dict that
        collects "tubelets" (B, S, N, D), "embedded", "block0/output", ..., "encoded" of the first encoder, the same of
        the second after "temporal/", its input "frame_features" (B, S, D), and "features" (B, D).
        """
        x = self.embed(frames_of(self.tensor(images), self.config.frames))
        batch, slices, tokens, width = x.shape
        seen: dict[str, Any] = {"tubelets": x}
        if self.config.attention == "joint":
            features = self.encoder.answer(self.encoder(x.reshape(batch, slices * tokens, width), rng, tap))
        else:
            each = self.encoder(x.reshape(batch * slices, tokens, width), rng, tap)
            seen["frame_features"] = x = self.encoder.answer(each).reshape(batch, slices, width)
            if self.config.attention == "factorised":
                features = self.temporal.answer(self.temporal(x, rng, tap, "temporal/"))
            else:
                features = x.mean(axis=1)
        if tap is not None:
            tap.update(seen, features=features)
        return self.head(features) if self.config.num_classes else features


def inflated(kernel: np.ndarray, frames: int, how: str) -> np.ndarray:
    """The kernel of a tubelet of `frames` frames from that of a patch.   (h, w, C, D) -> (t, h, w, C, D).

    how: "central", only frame t // 2 is not 0; or "inflate", the same for all frames, divided by t.
    """
    if how not in ("central", "inflate"):
        raise ConfigError(f'how is "{how}", expected central or inflate')
    found = np.zeros((frames, *kernel.shape), kernel.dtype)
    if how == "central":
        found[frames // 2] = kernel
    else:
        found[...] = kernel / frames
    return found


def from_vit(vit: ViT, how: str = "central", seed: int | None = 0, **fields: Any) -> ViViT:
    """A ViViT that starts from a trained ViT; a temporal encoder and the head are new.   how: as in `inflated`.
    fields: of ViViTConfig, beside the ViT's. Raises ConfigError for a ViT of another kind."""
    shape = vit.config
    if shape.position != "learned" or shape.stem or shape.num_prefix_tokens != (shape.classifier == "token"):
        raise ConfigError("a ViViT starts from a ViT with learned positions, and no tokens but [class] before them")
    same = ("image_size", "width", "depth", "heads", "mlp_width", "classifier", "gelu", "norm_eps", "qkv_bias")
    frames, t = fields.get("frames", 8), fields.pop("tubelet_frames", 2)
    known: dict[str, Any] = {name: getattr(shape, name) for name in same}
    known |= {"tubelet": (t, *shape.patch_size), "channels": shape.channels * frames, "num_classes": shape.num_classes}
    model = ViViT(ViViTConfig(**{**known, **fields}), seed, str(vit.patch_embed.projection.weight.dtype))
    state = {name: to_numpy(tensor.data) for name, tensor in vit.named_tensors()}
    kernel = state.pop("patch_embed.projection.weight").reshape(*shape.patch_size, shape.channels, shape.width)
    model.embed.projection.weight.data[...] = inflated(kernel, t, how).reshape(-1, shape.width)
    model.embed.projection.bias.data[...] = state.pop("patch_embed.projection.bias")
    own = {name.removeprefix("encoder."): tensor for name, tensor in model.named_tensors()}
    table, before = state.pop("position_embedding"), shape.num_prefix_tokens
    times = model.config.grid[0] if model.config.attention == "joint" else 1
    tiled = np.concatenate([table[:, :before], np.tile(table[:, before:], (1, times, 1))], axis=1)
    own["position_embedding"].data[...] = tiled
    for name, array in state.items():
        if name in own and not name.startswith("head"):
            own[name].data[...] = array
    return model


FAMILY = Family(ViViTConfig, ViViT, "vivit-.*", functools.partial(variant, VARIANTS))
