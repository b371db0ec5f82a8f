"""A linear probe: the accuracy of a linear classifier on features learned without labels."""

import numpy as np

from minivit.backend.workers import Workers
from minivit.data import Dataset
from minivit.runs.evaluation import features_of
from minivit.runs.recipes import Recipe
from minivit.update.objective import Objective

PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of the weights, each feature having the variance 1
MOST_KNOWN = 10_000


def linear_probe(objective: Objective, known: Dataset, asked: Dataset, recipe: Recipe, workers: Workers) -> float:
    """The test accuracy of a linear classifier trained on the features of the known images.

    It is ridge regression from standardised features to one-hot classes. The penalty is the best of PENALTIES on a
    fifth of the known images. At most 10,000 are used, equally many per class.
    """
    x, labels = features_of(objective, known.limit(MOST_KNOWN, recipe.seed), recipe, workers)
    queries, truth = features_of(objective, asked, recipe, workers)
    order = np.random.default_rng(recipe.seed).permutation(len(x))
    held_out, rest = order[: len(x) // 5], order[len(x) // 5 :]
    classes = len(known.classes)

    def right(penalty: float) -> float:
        return accuracy(ridge(x[rest], labels[rest], classes, penalty), x[held_out], labels[held_out])

    return accuracy(ridge(x, labels, classes, max(PENALTIES, key=right)), queries, truth)


Linear = tuple[np.ndarray, np.ndarray]  # weight (D, K), bias (K,)


def ridge(x: np.ndarray, labels: np.ndarray, classes: int, penalty: float) -> Linear:
    """The linear map from features (N, D) to classes by least squares with a penalty on the weights."""
    x = x.astype(np.float64)
    mean, deviation = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-12)
    z, wanted = (x - mean) / deviation, np.eye(classes)[labels]
    shares = wanted.mean(axis=0)
    covariance = z.T @ z / len(z) + penalty * np.eye(z.shape[1])
    weight = np.linalg.solve(covariance, z.T @ (wanted - shares) / len(z)) / deviation[:, None]
    return weight, shares - mean @ weight


def accuracy(linear: Linear, x: np.ndarray, labels: np.ndarray) -> float:
    """The share of rows whose largest output is at their label."""
    weight, bias = linear
    return float(((x @ weight + bias).argmax(axis=1) == labels).mean())
