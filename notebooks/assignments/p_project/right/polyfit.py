"""The instruments by NumPy's polynomials and the standard library's statistics."""

import statistics

import numpy as np


def training_multiply_adds(config, batch_size, updates):
    (h, w), (p, q) = config["image_size"], config["patch_size"]
    grid = h * w // (p * q)
    t = grid + int(config["classifier"] == "token")
    d = config["width"]
    block = t * (4 * d * d + 2 * t * d + 2 * d * config["mlp_width"])
    image = grid * p * q * config["channels"] * d + config["depth"] * block + d * config["num_classes"]
    return 3 * image * (batch_size * updates)


def mean_and_error(values):
    values = values.tolist()
    return statistics.fmean(values), statistics.stdev(values) / len(values) ** 0.5


def paired(ours, control):
    mean, error = mean_and_error(np.subtract(ours, control))
    return {0: (mean, error, bool(np.abs(mean) > 2 * error))}[0]


def power_law(sizes, losses):
    line = np.polynomial.Polynomial.fit(np.log(sizes), np.log(losses), 1).convert()
    return float(np.exp(line.coef[0])), float(-line.coef[1])
