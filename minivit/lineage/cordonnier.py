"""Attention as convolution (Cordonnier, Loukas & Jaggi 2019, "On the Relationship between Self-Attention and
Convolutional Layers", arXiv 1911.03584).

Before ViT. Theorem 1: attention with one head for each of the K x K places of a kernel can be any K x K convolution. Head
h looks only at places. With d = (place of the key) - (place of the query), its centre D_h and its sharpness a_h, its
score is v_h r_d with the quadratic encoding of relative places

    r_d = (|d|^2, d_1, d_2),  v_h = -a_h (1, -2 D_h1, -2 D_h2),  so  v_h r_d = -a_h (|d - D_h|^2 - |D_h|^2),

and for large a_h the softmax over all pixels is 1 at d = D_h. Then  y = sum over h of A_h x W_h + b  with W_h the slice
of the kernel at D_h. Queries and keys have weight 0: the content of the pixels does not matter.

How large: the nearest wrong keys are one pixel from the right one, at most four of them with the weight e^-a of its
own each. So a row of A_h is within 8 e^-a of the right one (the sum of the absolute differences, to first order), and
the error falls as e^-a. In float64 a = 46 leaves nothing but rounding.

At the border the limit is a convolution with the *edge repeated*, not with zeros around: where the place p + D_h lies
outside the image, the nearest key is the pixel at the edge next to it, and it is the only nearest one.

New against convolution: centres and sharpness are learned, so a head may look anywhere. Against ViT: content plays no
part, and the place is relative.

Source: the paper and epfml/attention-cnn (models/bert.py, GaussianSelfAttention), where the matrices W_h of all heads
are one linear map of their results side by side, as here. The centres and sharpness there are drawn at random, as here.

B batch, N pixels of an image, H heads, C and E channels.
"""

import math
from collections.abc import Sequence

import numpy as np

from minivit import functional as F
from minivit.backend import Array, xp_of
from minivit.nn import Linear, Module
from minivit.nn import initialisers as init
from minivit.nn.layers import Tap
from minivit.tensor import Tensor

PARITY = "the construction of Theorem 1 at five sharpnesses, and the convolutions"


class QuadraticAttention(Module):
    """Attention by place alone.   x: (B, height, width, C) -> (B, height, width, E).

    centres: (H, 2), row and column of D_h. sharpness: (H,), a_h. values: a map of the heads' results side by side,
    (H C, E).
    """

    def __init__(self, channels: int, filters: int, heads: int, rng: init.Rng, dtype: str = "float32"):
        self.centres = init.parameter(init.normal(rng, (heads, 2), 2.0), dtype)
        self.sharpness = init.parameter(init.constant(1, (heads,)), dtype)
        self.values = Linear(heads * channels, filters, rng, dtype)

    def forward(self, x: Tensor, tap: Tap = None) -> Tensor:
        batch, height, width, channels = x.shape
        weights = self.weights(height, width)
        if tap is not None:
            tap["attention_weights"] = weights
        seen = weights @ x.reshape(batch, 1, height * width, channels)  # (B, H, N, C)
        return self.values(seen.transpose(0, 2, 1, 3).reshape(batch, height, width, -1))

    def weights(self, height: int, width: int) -> Tensor:
        """A: (H, N, N), the same for all images."""
        r = self.like(encoding(height, width, xp_of(self.sharpness.data)))  # (N, N, 3)
        v = -self.sharpness[:, None] * F.concat(self.sharpness[:, None] * 0 + 1, self.centres * -2.0, axis=1)
        scores = r.reshape(-1, 3) @ v.transpose()  # softmax subtracts the largest: they are in the thousands
        return F.softmax(scores.transpose().reshape(-1, height * width, height * width))


def encoding(height: int, width: int, xp=np) -> Array:
    """r: (N, N, 3), of every query and key."""
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
    layer.sharpness.data[...] = sharpness
    layer.values.weight.data[...] = np.concatenate([kernel[row, column] for row, column in places])
    layer.values.bias.data[...] = bias
    return layer


def bound(sharpness: float) -> float:
    """How far a row of A is from the right one, to first order: four neighbours, each e^-a too heavy, and their sum
    missing in the right place."""
    return 2 * 4 * math.exp(-sharpness)
