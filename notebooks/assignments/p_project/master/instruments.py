"""The instruments of an experiment: its cost, its error bars, its comparisons, its fits."""

import math

import numpy as np


def training_multiply_adds(config, batch_size, updates):
    """The multiply-adds of a training run, a whole number.

    config: `image_size (h, w)`, `patch_size (ph, pw)`, `channels`, `width`, `depth`, `mlp_width`, `num_classes`,
    `classifier` "token" or "gap". Only matrix products count; one multiply-add is one unit. The backward pass costs
    twice the forward pass.
    """
    # BEGIN SOLUTION q1
    (height, width_px), (ph, pw) = config["image_size"], config["patch_size"]
    patches = (height // ph) * (width_px // pw)
    tokens = patches + (1 if config["classifier"] == "token" else 0)
    width, hidden = config["width"], config["mlp_width"]
    projections = 4 * tokens * width**2
    scores_and_sums = 2 * tokens**2 * width
    mlp = 2 * tokens * width * hidden
    embedding = patches * ph * pw * config["channels"] * width
    forward = embedding + config["depth"] * (projections + scores_and_sums + mlp) + width * config["num_classes"]
    return 3 * forward * batch_size * updates
    # END SOLUTION


def mean_and_error(values):
    """(mean, standard error of the mean) of one number for each seed.   values: (S,), S >= 2."""
    # BEGIN SOLUTION q2
    values = np.asarray(values, float)
    spread = values.std(ddof=1)
    return float(values.mean()), float(spread / math.sqrt(values.size))
    # END SOLUTION


def paired(ours, control):
    """(mean difference ours - control, its standard error, decided) of two methods run with the same seeds.

    ours, control: (S,), entry i of both has seed i, S >= 2. decided: is the difference further from 0 than two standard
    errors?
    """
    # BEGIN SOLUTION q3
    difference = np.asarray(ours, float) - np.asarray(control, float)
    center = float(difference.mean())
    error = float(difference.std(ddof=1) / math.sqrt(difference.size))
    return center, error, abs(center) > 2 * error
    # END SOLUTION


def power_law(sizes, losses):
    """(a, b) of the law loss = a size^(-b), the straight line of least squares in the logarithms of both.

    sizes, losses: (S,), positive, S >= 2.
    """
    # BEGIN SOLUTION q4
    x, y = np.log(np.asarray(sizes, float)), np.log(np.asarray(losses, float))
    centred = x - x.mean()
    slope = (centred @ (y - y.mean())) / (centred @ centred)
    return float(np.exp(y.mean() - slope * x.mean())), float(-slope)
    # END SOLUTION
