"""The instruments in plain Python: loops, sums and normal equations."""

import math

import numpy as np


def training_multiply_adds(config, batch_size, updates):
    rows = config["image_size"][0] // config["patch_size"][0]
    columns = config["image_size"][1] // config["patch_size"][1]
    d, f = config["width"], config["mlp_width"]
    n = rows * columns
    total = n * config["patch_size"][0] * config["patch_size"][1] * config["channels"] * d
    n += config["classifier"] == "token"
    for _ in range(config["depth"]):
        total += n * d * 3 * d  # q, k, v
        total += n * n * d * 2  # scores and weighted values
        total += n * d * d
        total += n * d * f + n * f * d
    total += d * config["num_classes"]
    return sum(total for _ in range(3)) * batch_size * updates


def mean_and_error(values):
    values = [float(v) for v in values]
    mean = sum(values) / len(values)
    variance = sum((v - mean) * (v - mean) for v in values) / (len(values) - 1)
    return np.array([mean, (variance / len(values)) ** 0.5])


def paired(ours, control):
    mean, error = mean_and_error(ours - control)
    return [mean, error, mean < -2 * error or 2 * error < mean]


def power_law(sizes, losses):
    rows = np.array([[1.0, math.log(s)] for s in sizes])
    (height, slope), *_ = np.linalg.lstsq(rows, np.log(losses), rcond=None)
    return np.exp(height), np.float64(-slope)
