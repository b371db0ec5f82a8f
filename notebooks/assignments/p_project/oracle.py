"""The reference of the project: a forward pass as minivit counts it, the statistics written out as sums."""

import math

import numpy as np

from minivit.models import ViTConfig
from minivit.models.cost import multiply_adds


def training_multiply_adds(config, batch_size, updates):
    fields = {
        **config,
        "heads": 1,
        "image_size": tuple(config["image_size"]),
        "patch_size": tuple(config["patch_size"]),
    }
    return 3 * multiply_adds(ViTConfig(**fields)) * batch_size * updates


def mean_and_error(values):
    count = len(values)
    mean = math.fsum(values) / count
    return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (count - 1) / count)


def paired(ours, control):
    mean, error = mean_and_error([a - b for a, b in zip(ours, control, strict=True)])
    return mean, error, abs(mean) > 2 * error


def power_law(sizes, losses):
    slope, offset = np.polyfit(np.log(sizes), np.log(losses), 1)
    return float(np.exp(offset)), float(-slope)
