"""What DINO and DINOv2 share: the head of student and teacher, the crops of an image, the numbers of a step.

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
from minivit.errors import ConfigError
from minivit.nn import Linear, Module
from minivit.nn import initialisers as init
from minivit.nn.lengths import unit
from minivit.optim.schedules import cosine
from minivit.tensor import Tensor
from minivit.update.batch import Batch

BLUR_AND_SOLARISE = ((1.0, 0.0), (0.1, 0.2))  # probabilities, of the two global crops; (0.5, 0) of a local one


def check_fields(
    config: Any, positive: str = "", none: str = "", above: str = "", shares: str = "", ranges: str = ""
) -> None:
    """Raise ConfigError for fields of both configurations that do not fit, and for further ones: counts of 1 or more,
    numbers that may be 0, or may not, shares, and pairs of shares."""
    for names, fits, expected in (
        (f"outputs layers hidden bottleneck {positive}", lambda x: x >= 1, "at least 1"),
        (f"local_crops {none}", lambda x: x >= 0, "0 or more"),
        (
            f"student_temperature teacher_temperature first_temperature {above}",
            lambda x: 0 < x < math.inf,
            "a number above 0",
        ),
        (
            f"temperature_warmup momentum last_momentum centre_momentum freeze_last {shares}",
            lambda x: 0 <= x <= 1,
            "0 to 1",
        ),
        (
            f"global_scale local_scale {ranges}",
            lambda x: 0 < x[0] <= x[1] <= 1,
            "0 < smallest share <= largest <= 1",
        ),
    ):
        for name in names.split():
            if not fits(getattr(config, name)):
                raise ConfigError(f"{name} is {getattr(config, name)}, expected {expected}")


def check_crops(config: Any, patch_size: tuple[int, int]) -> None:
    """Raise ConfigError for small crops that patches do not tile."""
    if any(crop % patch for crop, patch in zip(config.local_size, patch_size, strict=True)):
        raise ConfigError(f"local_size {config.local_size} is not a multiple of the patch size {patch_size}")


def numbers(config: Any, step: int, total: int) -> dict[str, np.ndarray]:
    """teacher_momentum and teacher_temperature of a step."""
    risen = min(1.0, step / total / config.temperature_warmup) if config.temperature_warmup else 1.0
    temperature = config.first_temperature + risen * (config.teacher_temperature - config.first_temperature)
    return {
        "teacher_momentum": np.array(cosine(config.momentum, config.last_momentum, total)(step)),
        "teacher_temperature": np.array(temperature),
    }


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
            directions = unit(self.directions, axis=0, least=1e-12)
            return F.linear(unit(self.layers[-1](x), least=1e-12), directions * self.lengths)


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
