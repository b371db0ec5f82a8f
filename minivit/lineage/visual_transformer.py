"""Visual Transformers: a few tokens in place of the last convolutions (Wu et al. 2020, "Visual Transformers: Token-based
Image Representation and Processing for Computer Vision", arXiv 2006.03677).

Before ViT, whose tokens are patches. Here L = 16 tokens gather the pixels of a feature map by content:

    tokeniser     T = softmax_HW(X W_A)^T X V, or from the second module on with W_A = (T_in W_TR)^T
    transformer   T' = T + softmax_L((T K)(T Q)^T) T,  T_out = T' + relu(T' F_1) F_2
    projector     X_out = X + softmax_L((X W_Q)(T_out W_K)^T) T_out W_P

The softmax of the tokeniser is over the *pixels*: a token is a weighted mean of pixels. The others are over the tokens.
There are no heads, no 1 / sqrt(Dh), no LayerNorm, and within the transformer no map of the values.

New against ResNet: the last stage works on 16 tokens, with the features of pixels refined by them. Against ViT: tokens
are not places, and the network before them is convolutional.

Source: the paper, equations 1 to 5; its code was never published. V and W_P, between C channels of pixels and D of
tokens, are not in the equations, which have one width for both; they are needed where the widths differ.

B batch, HW pixels of the map, L tokens, C channels of the map, D of the tokens, E of queries and keys.
"""

import dataclasses
import re
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.backend import Array
from minivit.errors import ConfigError
from minivit.files.fields import settle
from minivit.models.config import Size
from minivit.models.head import Head
from minivit.nn import BatchNorm, Conv, Linear, Module
from minivit.nn import initialisers as init
from minivit.nn.layers import Rng, Tap
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
        self.values = Linear(channels, width, rng, dtype, bias=False)
        self.recurrent = recurrent

    def forward(self, x: Tensor, previous: Tensor | None = None, tap: Tap = None) -> Tensor:
        if self.recurrent:
            scores = x @ self.groups(previous).transpose(0, 2, 1)
        else:
            scores = self.groups(x)
        maps = F.softmax(scores, axis=1)  # (B, HW, L), over the pixels
        if tap is not None:
            tap["token_maps"] = maps
        return self.values(maps.transpose(0, 2, 1) @ x)


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
        self.values = Linear(width, channels, rng, dtype, bias=False)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        weights = F.softmax(self.query(x) @ self.key(tokens).transpose(0, 2, 1))  # (B, HW, L), over the tokens
        return x + weights @ self.values(tokens)
