"""Visual Transformers: a few tokens in place of the last convolutions (Wu et al. 2020, "Visual Transformers:
Token-based Image Representation and Processing for Computer Vision", arXiv 2006.03677).

Before ViT, whose tokens are patches. Here L = 16 tokens gather the pixels of a feature map by content:

    tokeniser     T = softmax_HW(X W_A)^T X V, or from the second module on with W_A = (T_in W_TR)^T
    transformer   T' = T + softmax_L((T K)(T Q)^T) T,  T_out = T' + relu(T' F_1) F_2
    projector     X_out = X + softmax_L((X W_Q)(T_out W_K)^T) T_out W_P

The softmax of the tokeniser is over the *pixels*: a token is a weighted mean of pixels. The others are over the tokens.
There are no heads, no 1 / sqrt(Dh), no LayerNorm, and within the transformer no map of the values.

New against ResNet: the last stage works on 16 tokens, with the features of pixels refined by them. Against ViT: tokens
are not places, and the network before them is convolutional.

Source: the paper, equations 1 to 5; its code was never published. V and W_P, between C channels of pixels and D of
tokens, are not in the equations, which have one width for all; they are here where C and D differ. The paper replaces
the last 2, 3, 3 and 3 units of ResNet-18, 34, 50 and 101 by as many modules. The widths inside cannot be known: the
appendix has pseudo-code, as public copies repeat it, of another network than the equations', whose size is not the
published one either. Here they are those of the equations, so numbers of parameters are not the published ones.

B batch, HW pixels of the map, L tokens, C channels of the map, D of the tokens, E of queries and keys.
"""

import dataclasses
import functools
from typing import Any, ClassVar

import numpy as np

from minivit import functional as F
from minivit.lineage.published import variant
from minivit.lineage.residual import ResidualConfig, ResidualNetwork
from minivit.models.families import Family
from minivit.nn import Linear, Module
from minivit.nn import initialisers as init
from minivit.nn.bottleneck import ConvNorm, Root
from minivit.nn.layers import Tap
from minivit.tensor import Tensor

PARITY = "both tokenisers, transformer and projector, outputs and gradients of an independent reference"


class Tokeniser(Module):
    """Tokens as means of pixels.   x: (B, HW, C) -> (B, L, D).   previous: (B, L, D), the tokens that say what to look
    for; without them, and without `recurrent`, it is L learned filters."""

    def __init__(
        self, channels: int, width: int, tokens: int, rng: init.Rng, dtype: str = "float32", recurrent: bool = False
    ):
        fan = (width, channels) if recurrent else (channels, tokens)
        self.groups = Linear(*fan, rng, dtype, bias=False)  # W_TR, or W_A
        self.values = between(channels, width, rng, dtype)
        self.recurrent = recurrent

    def forward(self, x: Tensor, previous: Tensor | None = None, tap: Tap = None) -> Tensor:
        if self.recurrent:
            scores = x @ self.groups(previous).transpose(0, 2, 1)
        else:
            scores = self.groups(x)
        maps = F.softmax(scores, axis=1)  # (B, HW, L), over the pixels
        if tap is not None:
            tap["token_maps"] = maps
        means = maps.transpose(0, 2, 1) @ x
        return means if self.values is None else self.values(means)


class TokenTransformer(Module):
    """Attention among tokens, then two dense layers.   x: (B, L, D) -> (B, L, D)."""

    def __init__(self, width: int, attention: int, hidden: int, rng: init.Rng, dtype: str = "float32"):
        self.key, self.query = (Linear(width, attention, rng, dtype, bias=False) for _ in range(2))
        self.hidden = Linear(width, hidden, rng, dtype, bias=False)
        self.out = Linear(hidden, width, rng, dtype, bias=False)

    def forward(self, x: Tensor, tap: Tap = None) -> Tensor:
        x = x + F.softmax(self.key(x) @ self.query(x).transpose(0, 2, 1)) @ x
        if tap is not None:
            tap["tokens_after_attention"] = x
        return x + self.out(F.relu(self.hidden(x)))


class Projector(Module):
    """Pixels refined by tokens.   x: (B, HW, C), tokens: (B, L, D) -> (B, HW, C)."""

    def __init__(self, channels: int, width: int, attention: int, rng: init.Rng, dtype: str = "float32"):
        self.query = Linear(channels, attention, rng, dtype, bias=False)
        self.key = Linear(width, attention, rng, dtype, bias=False)
        self.values = between(width, channels, rng, dtype)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        weights = F.softmax(self.query(x) @ self.key(tokens).transpose(0, 2, 1))  # (B, HW, L), over the tokens
        return x + weights @ (tokens if self.values is None else self.values(tokens))


def between(width: int, other: int, rng: init.Rng, dtype: str) -> Linear | None:
    """A map between two widths, none where they are equal."""
    return None if width == other else Linear(width, other, rng, dtype, bias=False)


class TokenModule(Module):
    """Tokeniser, transformer and projector.   x: (B, HW, C), previous tokens or None -> pixels, tokens (B, L, D)."""

    def __init__(self, config: "VisualTransformerConfig", recurrent: bool, rng: init.Rng, dtype: str):
        channels, width = config.map_channels, config.token_width
        self.tokeniser = Tokeniser(channels, width, config.tokens, rng, dtype, recurrent)
        self.transformer = TokenTransformer(width, config.attention_width, width, rng, dtype)
        self.projector = Projector(channels, width, config.attention_width, rng, dtype)

    def forward(self, x: Tensor, previous: Tensor | None, tap: Tap = None) -> tuple[Tensor, Tensor]:
        tokens = self.transformer(self.tokeniser(x, previous, tap), tap)
        return self.projector(x, tokens), tokens


@dataclasses.dataclass(frozen=True)
class VisualTransformerConfig(ResidualConfig):
    """The shape of a VT-ResNet. Raises ConfigError for parts that do not fit.

    units: of the convolutions, which end where the tokens begin. modules: of tokens. tokens L, token_width D,
    attention_width E.
    """

    halves: ClassVar[bool] = False

    units: tuple[int, ...] = (3, 4, 6)
    modules: int = 3
    tokens: int = 16
    token_width: int = 1024
    attention_width: int = 1024


VARIANTS: dict[str, dict[str, Any]] = {
    "vt-r50": {},
    "vt-r101": {"units": (3, 4, 23)},
    "vt-small32": {
        "units": (1, 1), "modules": 2, "tokens": 8, "token_width": 64, "attention_width": 32, "width": 8,
        "image_size": 32, "root": "3x3",
    },
}  # fmt: skip


class VisualTransformer(ResidualNetwork):
    """The model of `config`, initialised from `seed`; None draws nothing. The head reads the mean of the last
    tokens."""

    def __init__(self, config: VisualTransformerConfig, seed: int | None = 0, dtype: str = "float32"):
        rng = None if seed is None else np.random.default_rng(seed)

        def middle(channels: int, stage: int, stride: int) -> list[Module]:
            return [ConvNorm(3, channels, channels, rng, dtype, stride)]

        root = Root(config.root, config.channels, config.width, rng, dtype)
        super().__init__(config, root, middle, config.width, rng, dtype)
        self.modules = [TokenModule(config, i > 0, rng, dtype) for i in range(config.modules)]
        self.finish(config.token_width, rng, dtype)

    def features(self, x: Tensor, tap: Tap = None) -> Tensor:
        """The mean of the last tokens: (B, height, width, C) -> (B, D).   tap: also collects of each module "module0"
        (the pixels), "module0/tokens", "module0/token_maps" and "module0/tokens_after_attention"."""
        pixels, tokens = x.reshape(len(x.data), -1, x.shape[-1]), None
        for i, module in enumerate(self.modules):
            inside: dict[str, Any] = {}
            pixels, tokens = module(pixels, tokens, inside)
            if tap is not None:
                inside["tokens"] = tokens
                tap.update({f"module{i}": pixels, **{f"module{i}/{name}": value for name, value in inside.items()}})
        return tokens.mean(axis=1)  # type: ignore[union-attr]


FAMILY = Family(VisualTransformerConfig, VisualTransformer, "vt-.*", functools.partial(variant, VARIANTS))
