"""Exercises of notebook 13, training."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from minivit.lessons import broken
from minivit.lessons.diagnosis import diagnosed
from minivit.lessons.exercise import Exercise, Wrong
from minivit.lessons.judges import arrays, call, number


def _combined(gradients: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    return sizes @ gradients / sizes.sum()


def _shares(labels: np.ndarray, predictions: np.ndarray, groups: np.ndarray, classes: Iterable[int]) -> list[float]:
    """Of the images with groups = k the share that was right, for each of the classes k; 0 for a class without any."""
    right = labels == predictions
    return [float(right[groups == k].mean()) if (groups == k).any() else 0.0 for k in classes]


def _balanced(labels: np.ndarray, predictions: np.ndarray, classes: int) -> float:
    return float(np.mean(_shares(labels, predictions, labels, np.unique(labels))))


def _precision(labels: np.ndarray, predictions: np.ndarray, classes: int) -> float:
    return float(np.mean(_shares(labels, predictions, predictions, np.unique(predictions))))


def _classes_counted(labels: np.ndarray, predictions: np.ndarray, classes: Iterable[int]) -> float:
    """The mean over these classes; those without images count as 0."""
    return float(np.mean(_shares(labels, predictions, labels, classes)))


def _overlap(labels: np.ndarray, predictions: np.ndarray, classes: int) -> float:
    """The mean over classes of intersection over union of the images that have it and that were taken for it."""
    pairs = [(labels == k, predictions == k) for k in np.unique(labels)]
    return float(np.mean([(a & b).sum() / (a | b).sum() for a, b in pairs]))


def _f1(labels: np.ndarray, predictions: np.ndarray, classes: int) -> float:
    pairs = [(labels == k, predictions == k) for k in np.unique(labels)]
    return float(np.mean([2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in pairs]))


def _one_against_the_rest(labels: np.ndarray, predictions: np.ndarray, classes: int) -> float:
    """The mean over classes of the share of all images that were told right from wrong."""
    return float(np.mean([((labels == k) == (predictions == k)).mean() for k in np.unique(labels)]))


def _labelled(rng: np.random.Generator) -> list[tuple]:
    """All classes occur; the last does not; one in the middle does not and is predicted; the first; all but one."""
    cases = []
    for images, classes, absent in ((50, 3, ()), (31, 7, (6,)), (40, 6, (2,)), (25, 5, (0, 3)), (12, 4, (0, 1, 3))):
        present = np.setdiff1d(np.arange(classes), absent)
        labels = present[np.minimum(*rng.integers(0, len(present), (2, images)))]  # rarer and rarer
        labels[: len(present)] = present[::-1]
        guesses = rng.integers(0, classes, images)
        cases.append((labels, np.where(rng.random(images) < 0.5, labels, guesses), classes))
    labels, predictions = np.array([2, 0, 0, 2, 4, 0]), np.array([1, 0, 0, 2, 1, 2])  # none is taken for 3, 4 or 5
    return [*cases, (labels, predictions, 6), (labels, np.array([2, 0, 0, 2, 2, 0]), 5)]


def _absent(labels: np.ndarray, predictions: np.ndarray, classes: int) -> bool:
    return len(np.unique(labels)) < classes


def _training(
    optimum: float, divergence: float, start: float = 2.3, limit: int = 20, losses: list[float] | None = None
) -> Callable[[float], float]:
    """A stand-in for a short run: the loss as a function of the learning rate; optimum, divergence: log10 of rates.

    losses: a list that gets every loss.
    """
    seen = [] if losses is None else losses
    runs = 0

    def final_loss(lr: float) -> float:
        nonlocal runs
        runs += 1
        if runs > limit:
            raise Wrong(f"It makes more than {limit} runs. Look coarsely first, then only around the best rate so far.")
        if not 0 < lr < math.inf:
            raise Wrong(f"It trains with the learning rate {lr}. Take powers of 10, between 10^-6 and 1.")
        x = math.log10(lr)
        loss = start * (1 - 0.9 / (1 + (x - optimum) ** 2 * (1 if x < optimum else 4)))
        if x > divergence:
            loss = math.nan if x < divergence + 0.5 else math.inf
        seen.append(loss)
        return loss

    return final_loss


# log10 of the best rate, of the rate from which on training diverges; the loss of a model that has learned nothing
_RUNS = (
    (-2.63, -1.9, 2.3),
    (-4.41, -4.2, 2.3),
    (-1.17, 0.3, 6.9),
    (-3.08, -2.5, 0.02),
    (-5.52, -5.1, 2.3),
    (-3.75, -3.71, 4.6),
    (-0.2, 0.5, 2.3),
    (-2.0, -0.4, 300.0),
)


def _judge_search(answer: Any) -> str | None:
    found: list[float] = []
    losses: list[list[float]] = [[] for _ in _RUNS]
    for (optimum, divergence, start), seen in zip(_RUNS, losses, strict=True):
        (rate,) = arrays((call(answer, _training(optimum, divergence, start, losses=seen)),))
        if rate.size != 1:
            return f"It should return one learning rate, and returned an array {rate.shape}."
        found.append(float(rate.item()))
    far = [x <= 0 or not abs(math.log10(x) - optimum) <= 0.1 for x, (optimum, *_) in zip(found, _RUNS, strict=True)]
    if not any(far):
        return None
    if all(abs(x - optimum) <= 0.1 for x, (optimum, *_) in zip(found, _RUNS, strict=True)):
        return "This is the logarithm of the best rate. Return the rate itself."
    if any(abs(x - start * 0.1) <= 0.02 * start for x, (*_, start) in zip(found, _RUNS, strict=True)):
        return "This is the smallest loss. Return the learning rate that gave it."
    if len({round(x, 12) for x in found}) == 1:
        return "It chose the same rate for each of several trainings, whatever the losses were."
    case = far.index(True)
    optimum, divergence, _ = _RUNS[case]
    lr = found[case]
    if not lr > 0:
        return f"It should return a learning rate, a number above 0, and returned {lr:.6g}."
    if not math.log10(lr) <= divergence:
        if losses[case] and not any(map(math.isfinite, losses[case])):
            return (
                f"Training diverges at every rate that it tried where {10**optimum:.2g} was best. Space the rates "
                "evenly on a logarithmic scale, from 10^-6 to 1."
            )
        return (
            "It chose a rate at which training diverges. A comparison with nan is False, so that nan can pass for the "
            "smallest: leave out what is not finite."
        )
    step = abs(math.log10(lr) - optimum)
    if all(x > 0 and abs(math.log10(x) - best) <= 0.5 for x, (best, *_) in zip(found, _RUNS, strict=True)):
        return (
            f"It chose {lr:.2g} where {10**optimum:.2g} was best. That is near, but the rates were too far apart: "
            "refine around the best one, on both sides of it."
        )
    return (
        f"It chose {lr:.2g} where {10**optimum:.2g} was best, a factor of {10**step:.2g} away. Space the rates "
        "evenly on a logarithmic scale, from 10^-6 to 1, and refine around the best one, on both sides of it."
    )


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
                100.0: "The probability of each class is 1/100; the loss is a logarithm, not 100.",
                0.99: "This is the probability of an error; the loss is minus the logarithm of the right class's.",
                math.log(101): "CIFAR-100 has 100 classes, not 101.",
                math.log(99): "All 100 classes have equal probabilities, the right one among them.",
            },
            rtol=2e-3,
        ),
        "log K: the first number to look at in any run.",
    ),
    Exercise(
        "13.2",
        diagnosed(
            _combined,
            lambda rng: [
                (rng.standard_normal((len(sizes), p)), np.array(sizes))
                for sizes, p in (((3, 8, 5), 5), ((1, 6, 2, 7), 2), ((9, 4), 7), ((6,), 3), ((4, 4, 4), 2))
            ],
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
                "The weights are right but for their sum: divide by the number of images, not by the largest piece.": (
                    lambda gradients, sizes: sizes @ gradients / sizes.max()
                ),
                "The gradient of a piece is that of a mean already. Dividing it by the size of the piece makes large "
                "pieces count less.": lambda gradients, sizes: (gradients / sizes[:, None]).sum(axis=0),
                "A large piece counts more than a small one, not less: multiply by its size.": (
                    lambda gradients, sizes: (1 / sizes) @ gradients / (1 / sizes).sum()
                ),
                "The gradients of the pieces are those of means, not of sums: weigh each by the size of its piece.": (
                    lambda gradients, sizes: gradients.sum(axis=0) / sizes.sum()
                ),
                "Weigh each piece by its size; this takes the root of the size.": (
                    lambda gradients, sizes: np.sqrt(sizes) @ gradients / np.sqrt(sizes).sum()
                ),
                "This divides by the number of pieces once too often: the weights, sizes / sizes.sum(), sum to 1.": (
                    lambda gradients, sizes: sizes @ gradients / sizes.sum() / len(sizes)
                ),
                "This multiplies by the sizes twice.": (lambda gradients, sizes: sizes**2 @ gradients / sizes.sum()),
            },
            where={
                "the pieces have different sizes": lambda gradients, sizes: len(set(sizes)) > 1,
                "there is more than one piece": lambda gradients, sizes: len(sizes) > 1,
            },
        ),
        "Each piece counts by its share of the images: `step` starts the backward pass of a piece from this share.",
    ),
    Exercise(
        "13.3",
        diagnosed(
            _balanced,
            _labelled,
            {
                "This is the plain accuracy: every image counts the same, so frequent classes count more.": (
                    lambda labels, predictions, classes: float((labels == predictions).mean())
                ),
                "A class without images counts as 0 here. It should not count at all.": (
                    lambda labels, predictions, classes: _classes_counted(labels, predictions, range(classes))
                ),
                "A class without images counts as 0 here if it was predicted. It should not count at all.": (
                    lambda labels, predictions, classes: _classes_counted(
                        labels, predictions, np.union1d(labels, predictions)
                    )
                ),
                "A class without images counts as 0 if its number is below the largest label. It should not count.": (
                    lambda labels, predictions, classes: _classes_counted(labels, predictions, range(labels.max() + 1))
                ),
                "The class with the largest number is left out.": (
                    lambda labels, predictions, classes: float(
                        np.mean(_shares(labels, predictions, labels, sorted({*labels} - {classes - 1})))
                    )
                ),
                "The class with the number 0 is left out.": (
                    lambda labels, predictions, classes: float(
                        np.mean(_shares(labels, predictions, labels, sorted({*labels} - {0})))
                    )
                ),
                "A class of which every image is wrong counts too, as 0.": (
                    lambda labels, predictions, classes: float(
                        np.mean([x for x in _shares(labels, predictions, labels, np.unique(labels)) if x] or [0.0])
                    )
                ),
                "This groups the images by what was predicted: the precision of a class. Group them by their labels.": (
                    _precision
                ),
                "This is how many of each class were right; divide by how many images the class has.": (
                    lambda labels, predictions, classes: float((labels == predictions).sum() / len({*labels}))
                ),
                "The shares are added up: divide by the number of classes that have images.": (
                    lambda labels, predictions, classes: _balanced(labels, predictions, classes) * len({*labels})
                ),
                "This is the share of the wrong ones.": (
                    lambda labels, predictions, classes: 1 - _balanced(labels, predictions, classes)
                ),
                "This is the median over the classes; the mean is asked.": (
                    lambda labels, predictions, classes: float(
                        np.median(_shares(labels, predictions, labels, np.unique(labels)))
                    )
                ),
                "This is intersection over union. Divide by the images of the class alone.": _overlap,
                "This is the F1 score. Divide by the images of the class alone.": _f1,
                "This counts images of other classes that were not taken for class k as right. Look at the images of "
                "class k alone.": _one_against_the_rest,
            },
            where={
                "a class without images is predicted": lambda y, p, classes: bool({*p} - {*y}),
                "a class has no images": _absent,
                "all classes have images": lambda *given: not _absent(*given),
            },
        ),
        "It equals the accuracy when all classes have equally many images, as in CIFAR-10's test set.",
    ),
    Exercise(
        "13.4",
        _judge_search,
        "Coarse to fine on a logarithmic scale. On real runs the loss is noisy, and refinement soon measures noise.",
    ),
    Exercise(
        "13.5",
        broken.judge,
        "The first loss was right in all three. A classifies nearly as well as the sound one: only its gradients tell.",
    ),
]
