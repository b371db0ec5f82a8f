"""What DINO and DINOv2 share: the head of student and teacher, and the crops of an image.

B batch, V crops of one size, D width of the encoder, K outputs.
"""

import itertools
import math
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.backend.precision import wide_results
from minivit.data import Augment
from minivit.data.augment import normalize, random_flip, random_resized_crop
from minivit.data.recolour import recolour
from minivit.nn import Linear, Module
from minivit.nn import initialisers as init
from minivit.tensor import Tensor
from minivit.update.batch import Batch

BLUR_AND_SOLARISE = ((1.0, 0.0), (0.1, 0.2))  # probabilities, of the two global crops; (0.5, 0) of a local one


def unit(x: Tensor, axis: int = -1) -> Tensor:
    """x / max(|x|, 1e-12), the length taken along an axis."""
    return x / F.sqrt(F.maximum((x * x).sum(axis=axis, keepdims=True), 1e-24))


class Head(Module):
    """Features -> logits: an MLP to a small width, length 1, then a linear layer whose weights have a length of their
    own, W = g v / |v|.   (..., D) -> (..., K).

    config: has outputs (K), layers, hidden and bottleneck of the MLP, and norm_last_layer, whether the lengths stay 1.
    """

    def __init__(self, config: Any, width: int, rng: init.Rng, dtype: str = "float32", gelu: str = "erf"):
        def small(rng: init.Rng, fan_in: int, fan_out: int) -> np.ndarray:
            return init.normal(rng, (fan_in, fan_out), 0.02)

        widths = [width, *[config.hidden] * (config.layers - 1), config.bottleneck]
        self.layers = [Linear(*sizes, rng, dtype, weight=small) for sizes in itertools.pairwise(widths)]
        shape = config.bottleneck, config.outputs
        directions = rng.uniform(-1, 1, shape) / math.sqrt(shape[0]) if rng else init.constant(0, shape)
        self.directions = init.parameter(directions, dtype)
        self.lengths = init.parameter(init.constant(1, shape[1:]), dtype)
        self.lengths.requires_grad = not config.norm_last_layer
        self.gelu = gelu

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = F.linear_gelu(x, layer.weight, layer.bias, self.gelu)
        with wide_results():
            return F.linear(unit(self.layers[-1](x)), unit(self.directions, axis=0) * self.lengths)


def multi_crop(images: Any, augment: Augment, config: Any, rng: np.random.Generator) -> Batch:
    """global_crops (B, 2, height, width, C) and, if there are any, local_crops (B, V, h, w, C).   config: has
    global_scale, local_scale, local_size, local_crops and colours, as DINOConfig."""
    size = augment.image_size
    radius = 0.1 * size[0] / 224, 2 * size[0] / 224  # in proportion: the published pixels are of 224 x 224

    def crop(size: tuple[int, int], scale: tuple[float, float], blur: float, solarise: float) -> np.ndarray:
        x = random_resized_crop(images, size, rng, scale)
        x = random_flip(x, rng) if augment.flip else x
        x = recolour(x, rng, blur, solarise, radius) if config.colours else x
        return normalize(x, augment.mean, augment.std)

    large = [crop(size, config.global_scale, *chances) for chances in BLUR_AND_SOLARISE]
    small = [crop(config.local_size, config.local_scale, 0.5, 0.0) for _ in range(config.local_crops)]
    batch = {"global_crops": np.stack(large, axis=1)}
    return {**batch, "local_crops": np.stack(small, axis=1)} if small else batch
