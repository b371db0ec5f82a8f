"""Exercises of notebook 09b, initialisation."""

import math

import numpy as np

from minivit.lessons.exercise import Exercise
from minivit.lessons.judges import function_like, number


def _size_of_outputs(W, mean, spread=1.0, shift=1.0, reduce=np.sum):
    variance = spread * reduce(W * W, axis=0)
    return np.sqrt(variance), np.sqrt(variance + shift * (mean @ W) ** 2)


def _scaled_by_data(x, W, measure=lambda y: np.sqrt(np.mean(y * y)), after_relu=False, go_on=True, relu=True):
    scaled = []
    for matrix in W:
        y = x @ matrix
        size = measure(np.maximum(y, 0) if after_relu else y)
        scaled.append(matrix / size)
        y = y / size if go_on else y
        x = np.maximum(y, 0) if relu else y
    return np.array(scaled)


def _outputs_cases(rng: np.random.Generator) -> list[tuple]:
    shapes = (5, 3), (4, 7)
    return [(rng.standard_normal(shape), rng.standard_normal(shape[0])) for shape in shapes]


def _networks(rng: np.random.Generator) -> list[tuple]:
    return [(rng.standard_normal((7, D)), 2 * rng.standard_normal((m, D, D))) for m, D in ((3, 5), (4, 6))]


EXERCISES = [
    Exercise(
        "9b.1",
        number(
            2.0**-25,
            {
                2.0**-50: "That is the factor of the mean square. Its root is asked for.",
                2.0**25: "The activations shrink: Glorot's weights are smaller than He's.",
                1.0: "That is the answer without ReLU. With it, each layer loses half of the mean square.",
                2.0**-0.5: "That is the factor of one layer.",
            },
        ),
        "With He's weights it is 1. A factor that looks harmless in one layer decides in fifty.",
    ),
    Exercise(
        "9b.2",
        number(
            math.log(1000),
            {
                math.log(10): "There are 1000 classes.",
                -math.log(1000): "A loss is not negative: it is minus the logarithm of a probability.",
                0.9
                * math.log(1000): "Smoothing gives the other classes a share of the target, and they have a loss too.",
                10.0: "A softmax does not notice what is added to all logits alike.",
                math.log(1000) + 10: "A softmax does not notice what is added to all logits alike.",
            },
            rtol=2e-5,
        ),
        "The same bias for all classes changes no softmax, and equal probabilities give log K for every target.",
    ),
    Exercise(
        "9b.3",
        function_like(
            lambda fan_in, a: np.sqrt(2 / ((1 + a * a) * fan_in)),
            lambda rng: [(100, rng.uniform(0, 1, 4)), (37, rng.uniform(0, 0.5, 3))],
            {
                "This is He's, for ReLU. The negative half keeps something here: a share of its mean square.": (
                    lambda fan_in, a: np.sqrt(2 / fan_in) * np.ones_like(a)
                ),
                "The mean square of a x is a squared times that of x.": lambda fan_in, a: np.sqrt(
                    2 / ((1 + a) * fan_in)
                ),
                "That is the variance. Its root is asked for.": lambda fan_in, a: 2 / ((1 + a * a) * fan_in),
                "Each sign has only half of the mean square: the layer keeps (1 + a^2) / 2 of it.": (
                    lambda fan_in, a: np.sqrt(1 / ((1 + a * a) * fan_in))
                ),
                "The weights must make up for what the activation loses: divide by its share, do not multiply.": (
                    lambda fan_in, a: np.sqrt((1 + a * a) / (2 * fan_in))
                ),
            },
            allowed=(),
        ),
        "a = 0 is He's formula, a = 1 the linear layer's 1/sqrt(fan_in).",
    ),
    Exercise(
        "9b.4",
        function_like(
            _size_of_outputs,
            _outputs_cases,
            {
                "The variances add, not the standard deviations: square the weights, sum, take the root.": (
                    lambda W, mean: (
                        np.abs(W).sum(axis=0),
                        np.sqrt(np.abs(W).sum(axis=0) ** 2 + (mean @ W) ** 2),
                    )
                ),
                "The root mean square holds the mean, too: mean square = variance + squared mean of the output.": (
                    lambda W, mean: _size_of_outputs(W, mean, shift=0.0)
                ),
                "The mean of an output is the sum of all mean_i W_ij. It is squared as a whole, since the weights are "
                "fixed.": lambda W, mean: (
                    np.sqrt((W * W).sum(axis=0)),
                    np.sqrt((W * W).sum(axis=0) + mean**2 @ W**2),
                ),
                "These are the variance and the mean square; their roots are asked for.": (
                    lambda W, mean: ((W * W).sum(axis=0), (W * W).sum(axis=0) + (mean @ W) ** 2)
                ),
                "An output is a sum over the inputs, not a mean.": lambda W, mean: _size_of_outputs(
                    W, mean, reduce=np.mean
                ),
            },
            allowed=(),
            results="std rms",
        ),
        "A shift of the inputs is not seen in the variance of an output, but it is carried into the next layer.",
    ),
    Exercise(
        "9b.5",
        function_like(
            _scaled_by_data,
            _networks,
            {
                "The root mean square is measured before the ReLU, on x W.": lambda x, W: _scaled_by_data(
                    x, W, after_relu=True
                ),
                "Every layer reads the outputs of the layer before it as they are after scaling.": (
                    lambda x, W: _scaled_by_data(x, W, go_on=False)
                ),
                "Between two layers there is a ReLU: the next one reads max(y, 0).": lambda x, W: _scaled_by_data(
                    x, W, relu=False
                ),
                "This makes the standard deviation 1. The root mean square is asked for; do not subtract the mean.": (
                    lambda x, W: _scaled_by_data(x, W, measure=np.std)
                ),
                "Each matrix is scaled by one number: take the mean over all entries, not one for each column.": (
                    lambda x, W: _scaled_by_data(x, W, measure=lambda y: np.sqrt(np.mean(y * y, axis=0)))
                ),
                "Divide by the root of the mean square, not by the mean square.": lambda x, W: _scaled_by_data(
                    x, W, measure=lambda y: np.mean(y * y)
                ),
            },
            allowed=(),
        ),
        "No formula needed, and any activation will do. The price: it needs a batch of real examples first.",
    ),
]
