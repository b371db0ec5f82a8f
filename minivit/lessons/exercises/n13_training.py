"""Exercises of notebook 13, training."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minivit.lessons.exercise import Exercise, Wrong
from minivit.lessons.judges import arrays, call, function_like, number


def _combined(gradients: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    return sizes @ gradients / sizes.sum()


def _recalls(labels: np.ndarray, predictions: np.ndarray, classes: int, by: str = "label") -> list[float]:
    """Of each class that occurs, the share that was right: of its images, or of those taken for it."""
    groups = labels if by == "label" else predictions
    return [float((labels == predictions)[groups == k].mean()) for k in range(classes) if (groups == k).any()]


def _labelled(rng: np.random.Generator) -> list[tuple]:
    cases = []
    for images, classes in ((50, 3), (31, 7), (40, 12)):
        labels = np.minimum(rng.integers(0, classes, images), rng.integers(0, classes - 1, images))  # rarer and rarer
        predictions = np.where(rng.random(images) < 0.6, labels, rng.integers(0, classes - 1, images))
        cases.append((labels, predictions, classes))
    return cases


def _training(optimum: float, divergence: float, limit: int = 20) -> Callable[[float], float]:
    """A stand-in for a short run: the loss as a function of the learning rate; optimum, divergence: log10 of rates."""
    runs = 0

    def final_loss(lr: float) -> float:
        nonlocal runs
        runs += 1
        if runs > limit:
            raise Wrong(f"It makes more than {limit} runs. Look coarsely first, then only around the best rate so far.")
        if not 0 < lr < math.inf:
            raise ValueError(f"learning rate {lr}")
        x = math.log10(lr)
        if x > divergence:
            return math.nan if x < divergence + 0.5 else math.inf
        return 2.3 - 2 / (1 + (x - optimum) ** 2 * (1 if x < optimum else 4))

    return final_loss


def _judge_search(answer: Any) -> str | None:
    for optimum, divergence in ((-2.63, -1.9), (-4.41, -4.2), (-1.17, 0.3), (-3.08, -2.5), (-5.52, -5.1)):
        (lr,) = arrays((call(answer, _training(optimum, divergence)),))
        if lr.shape or not lr > 0:
            return f"It should return one learning rate, a number above 0, and returned {lr}."
        found = math.log10(lr)
        if math.isnan(found) or found > divergence:
            return (
                "It chose a rate at which training diverges. A comparison with nan is False, so that nan can pass "
                "for the smallest: leave out what is not finite."
            )
        if abs(found - optimum) > 0.1:
            return (
                f"It chose {10**found:.2g} where {10**optimum:.2g} was best. Space the rates evenly on a logarithmic "
                "scale, and refine around the best one, on both sides of it."
            )
    return None


EXERCISES = [
    Exercise(
        "13.1",
        number(
            math.log(100),
            {
                2.0: "This is the logarithm to base 10; cross-entropy takes the natural one.",
                math.log2(100): "This is the logarithm to base 2 (bits); cross-entropy takes the natural one (nats).",
                0.01: "This is the probability of the right class; the loss is minus its logarithm.",
                -math.log(100): "The sign: a probability is below 1, minus its logarithm is positive.",
                0.0: "A loss of 0 is that of a model that gives the right class probability 1.",
                math.log(10): "This is the loss for 10 classes.",
            },
            rtol=2e-3,
        ),
        "log C: the first number to look at in any run.",
    ),
    Exercise(
        "13.2",
        function_like(
            _combined,
            lambda rng: [(rng.standard_normal((n, p)), rng.integers(1, 9, n)) for n, p in ((3, 5), (4, 2), (2, 7))],
            {
                "The mean of the pieces' gradients weighs an image in a small piece more than one in a large piece.": (
                    lambda gradients, sizes: gradients.mean(axis=0)
                ),
                "The sum of gradients of means: its size grows with the number of pieces. The mean loss over the batch "
                "is a weighted mean of the pieces' means.": lambda gradients, sizes: gradients.sum(axis=0),
                "This is the gradient of the summed loss; divide by the number of images.": (
                    lambda gradients, sizes: sizes @ gradients
                ),
                "The weights are right but for their sum: divide by the number of images, not of pieces.": (
                    lambda gradients, sizes: sizes @ gradients / len(sizes)
                ),
            },
        ),
        "Each piece counts by its share of the images: `step` starts the backward pass of a piece from this share.",
    ),
    Exercise(
        "13.3",
        function_like(
            lambda labels, predictions, classes: float(np.mean(_recalls(labels, predictions, classes))),
            _labelled,
            {
                "This is the plain accuracy: every image counts the same, so frequent classes count more.": (
                    lambda labels, predictions, classes: float((labels == predictions).mean())
                ),
                "A class without images counts as 0 here. It should not count at all.": (
                    lambda labels, predictions, classes: sum(_recalls(labels, predictions, classes)) / classes
                ),
                "This groups the images by what was predicted: the precision of a class. Group them by their labels.": (
                    lambda labels, predictions, classes: float(np.mean(_recalls(labels, predictions, classes, "taken")))
                ),
            },
        ),
        "It equals the accuracy when all classes have equally many images, as in CIFAR-10's test set.",
    ),
    Exercise(
        "13.4",
        _judge_search,
        "Coarse to fine on a logarithmic scale. On real runs the loss is noisy, and refinement soon measures noise.",
    ),
]
