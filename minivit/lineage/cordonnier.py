"""Attention as convolution (Cordonnier, Loukas & Jaggi 2019, "On the Relationship between Self-Attention and
Convolutional Layers", arXiv 1911.03584).

Before ViT. Theorem 1: attention with one head for each of the K x K places of a kernel can be any K x K convolution.
Head h looks only at places. With d = (place of the key) - (place of the query), its centre D_h and its sharpness a_h,
its score is v_h r_d with the quadratic encoding of relative places

    r_d = (|d|^2, d_1, d_2),  v_h = -a_h (1, -2 D_h1, -2 D_h2),  so  v_h r_d = -a_h (|d - D_h|^2 - |D_h|^2),

and for large a_h the softmax over all pixels is 1 at d = D_h. Then  y = sum over h of A_h x W_h + b  with W_h the slice
of the kernel at D_h. Queries and keys have weight 0: the content of the pixels does not matter.

How large: the nearest wrong keys are one pixel from the right one, at most four, each of weight e^-a. So a row of A_h
differs from the right one by 8 e^-a (the sum of absolute differences, to first order), and the error falls as e^-a. In
float64 a = 46 leaves nothing but rounding. The gradient of a_h falls as well.

At the border the limit is a convolution with the *edge repeated*, not with zeros around: where the place p + D_h lies
outside the image, the nearest key is the pixel at the edge next to it, and it is the only nearest one.

New against convolution: centres and sharpness are learned, so a head may look anywhere. Against ViT: content plays no
part, and places are relative.

Source: the paper, and epfml/attention-cnn, models/bert.py. As there, the matrices W_h of all heads are one linear map
of their results side by side; a_h is s_h^2 / 2 with s_h the learned `spread`, drawn near 1; blocks normalise after the
sum; patches of 2x2 pixels are the places; and the head reads the mean over them. The code also has full matrices in
place of s_h (there `attention_isotropic_gaussian` is false), which are not here. Against the code: kernels are drawn as
in a ViT, and there is no dropout.

B batch, N places of an image, H heads, C and E channels, D width.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.backend import Array, xp_of
from minivit.errors import ConfigError
from minivit.files.checks import at_least, epsilon
from minivit.files.fields import settle
from minivit.lineage.published import variant
from minivit.models.config import Size
from minivit.models.families import Family
from minivit.models.head import Head
from minivit.nn import MLP, LayerNorm, Linear, Module, patchify
from minivit.nn import initialisers as init
from minivit.nn.layers import Rng, Tap
from minivit.tensor import Tensor

PARITY = "the construction of Theorem 1 at five sharpnesses, and the convolutions"


class QuadraticAttention(Module):
    """Attention by place alone.   x: (B, height, width, C) -> (B, height, width, E).

    centres: (H, 2), row and column of D_h. spread: (H,), sqrt(2 a_h). values: a map of the heads' results side by side,
    (H C, E).
    """

    def __init__(self, channels: int, filters: int, heads: int, rng: init.Rng, dtype: str = "float32"):
        self.centres = init.parameter(init.normal(rng, (heads, 2), 2.0), dtype)
        self.spread = init.parameter(1 + init.normal(rng, (heads,), 0.01), dtype)
        self.values = Linear(heads * channels, filters, rng, dtype)

    def forward(self, x: Tensor, tap: Tap = None) -> Tensor:
        batch, height, width, channels = x.shape
        weights = self.weights(height, width)
        if tap is not None:
            tap["attention_weights"] = weights
        places = height * width
        by_place = x.reshape(batch, places, channels).transpose(1, 0, 2).reshape(places, -1)
        seen = weights.reshape(-1, places) @ by_place  # one product for all heads and images: (H N, B C)
        by_image = seen.reshape(-1, places, batch, channels).transpose(2, 1, 0, 3)
        return self.values(by_image.reshape(batch, height, width, -1))

    def weights(self, height: int, width: int) -> Tensor:
        """A: (H, N, N), the same for all images."""
        r = self.like(encoding(height, width, xp_of(self.spread.data)))  # (N, N, 3)
        sharpness = self.spread[:, None] * self.spread[:, None] * 0.5
        v = F.concat(-sharpness, self.centres * sharpness * 2.0, axis=1)  # (H, 3)
        scores = (v[:, None, None] * r).sum(axis=-1)  # no matrix product: bfloat16 has too few digits for |d|^2
        return F.softmax(scores)  # which subtracts the largest of a row: they may be in the thousands


def encoding(height: int, width: int, xp: Any = np) -> Array:
    """r of every query and key: (N, N, 3)."""
    places = xp.stack(xp.meshgrid(xp.arange(height), xp.arange(width), indexing="ij"), axis=-1).reshape(-1, 2)
    d = places[None] - places[:, None]
    return xp.concatenate([(d * d).sum(axis=-1, keepdims=True), d], axis=-1)


def as_convolution(
    kernel: np.ndarray, bias: np.ndarray, sharpness: float, centres: Sequence[Sequence[int]] | None = None
) -> QuadraticAttention:
    """The layer of Theorem 1.   kernel: (rows, columns, C, E) -> one head for each place in it, row by row, or for each
    of `centres`."""
    rows, columns, channels, filters = kernel.shape
    middle = np.array([(rows - 1) // 2, (columns - 1) // 2])
    places = np.argwhere(np.ones((rows, columns))) if centres is None else np.asarray(centres) + middle
    layer = QuadraticAttention(channels, filters, len(places), None, str(kernel.dtype))
    layer.centres.data[...] = places - middle
    layer.spread.data[...] = math.sqrt(2 * sharpness)
    layer.values.weight.data[...] = np.concatenate([kernel[row, column] for row, column in places])
    layer.values.bias.data[...] = bias
    return layer


def bound(sharpness: float) -> float:
    """How far a row of A is from the right one, to first order: four neighbours, each e^-a too heavy, and their sum
    missing in the right place."""
    return 2 * 4 * math.exp(-sharpness)


@dataclasses.dataclass(frozen=True)
class CordonnierConfig:
    """The shape of the network for images. Raises ConfigError for parts that do not fit.

    patch: side of the patches, whose pixels are one place. width D, depth, heads, mlp_width. norm_eps: of LayerNorm.
    """

    image_size: Size = Size(32)
    patch: int = 2
    width: int = 400
    depth: int = 6
    heads: int = 9
    mlp_width: int = 512
    num_classes: int = 10
    channels: int = 3
    norm_eps: float = 1e-12

    def __post_init__(self) -> None:
        settle(self)
        at_least(self, 1, "patch", "width", "depth", "heads", "mlp_width", "channels")
        at_least(self, 0, "num_classes")
        epsilon(self)
        if self.image_size[0] % self.patch or self.image_size[1] % self.patch:
            raise ConfigError(f"image_size is {self.image_size}, expected multiples of the patch {self.patch}")

    @property
    def num_tokens(self) -> int:
        """N, weighted by the cost of a head that attends with D features."""
        return self.image_size[0] * self.image_size[1] // self.patch**2 * max(1, self.heads // 3)

    @property
    def description(self) -> str:
        """The model in a few words."""
        return f"quadratic attention: {self.depth} blocks, width {self.width}, {self.heads} heads"


class Block(Module):
    """x = LN(x + attention(x) W),  x = LN(x + MLP(x)).   (B, height, width, D) -> the same shape."""

    def __init__(self, config: CordonnierConfig, rng: init.Rng, dtype: str):
        width = config.width
        self.attention = QuadraticAttention(width, width, config.heads, rng, dtype)
        self.out = Linear(width, width, rng, dtype)
        self.norm1 = LayerNorm(width, config.norm_eps, dtype)
        self.mlp = MLP(width, config.mlp_width, rng, dtype, gelu="erf")
        self.norm2 = LayerNorm(width, config.norm_eps, dtype)

    def forward(self, x: Tensor, tap: Tap = None) -> Tensor:
        x = self.norm1(x + self.out(self.attention(x, tap)))
        return self.norm2(x + self.mlp(x))


class Cordonnier(Module):
    """The network of `config`, initialised from `seed`; None draws nothing. Its head begins at zero."""

    def __init__(self, config: CordonnierConfig, seed: int | None = 0, dtype: str = "float32"):
        rng = None if seed is None else np.random.default_rng(seed)
        self.config = config
        self.embed = Linear(config.patch**2 * config.channels, config.width, rng, dtype)
        self.blocks = [Block(config, rng, dtype) for _ in range(config.depth)]
        classes = config.num_classes
        self.head = Head(config.width, classes, rng, dtype, weight=init.zeros) if classes else None
        for name, tensor in self.named_parameters():
            tensor.name = name

    def forward(self, images: Tensor | Array, tap: Tap = None, rng: Rng = None) -> Tensor:
        """Logits (B, num_classes), or features (B, D) without a head.   images: (B, height, width, channels). tap:
        collects "block0/attention_weights" (H, N, N), "block0" (B, rows, columns, D), ... and "features". rng: unused;
        nothing is random."""
        images, side = self.tensor(images), self.config.patch
        batch, height, width, _ = images.shape
        x = self.embed(patchify(images, (side, side))).reshape(batch, height // side, width // side, -1)
        for i, block in enumerate(self.blocks):
            inside: dict[str, Any] = {}
            x = block(x, inside)
            if tap is not None:
                tap.update({f"block{i}/{name}": value for name, value in inside.items()} | {f"block{i}": x})
        features = x.mean(axis=(1, 2))
        if tap is not None:
            tap["features"] = features
        return features if self.head is None else self.head(features)


VARIANTS: dict[str, dict[str, Any]] = {
    "attention-cnn": {},
    "attention-cnn-small": {"patch": 4, "width": 48, "depth": 2, "mlp_width": 96},
}
FAMILY = Family(CordonnierConfig, Cordonnier, "attention-cnn.*", functools.partial(variant, VARIANTS))
