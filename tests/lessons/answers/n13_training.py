"""Answers to the exercises of notebook 13."""

import math

import numpy as np


def balanced(labels, predictions, classes):
    shares = []
    for k in range(classes):
        right = [p == k for y, p in zip(labels, predictions, strict=True) if y == k]
        if right:
            shares.append(sum(right) / len(right))
    return sum(shares) / len(shares)


def search(final_loss, low=-6.0, high=0.0, rounds=((13, 0.5), (5, 0.16)), space=lambda x: 10.0**x):
    """Grids of `count` points, each around the best point of the one before, `reach` to both sides."""
    best = math.inf, 0.0
    for count, reach in rounds:
        for x in np.linspace(low, high, count):
            loss = final_loss(space(x))
            if loss < best[0]:  # False for nan
                best = loss, x
        low, high = best[1] - reach, best[1] + reach
    return space(best[1])


def two_rounds(final_loss):
    return search(final_loss, rounds=((13, 0.375), (7, 0.1)))


def takes_nan(final_loss):
    losses = [final_loss(10.0**x) for x in np.linspace(-6, 0, 13)]
    return 10.0 ** np.linspace(-6, 0, 13)[int(np.argmin(losses))]


def recalls_by_counting(labels, predictions, classes):
    have = np.bincount(labels, minlength=classes)
    right = np.bincount(labels[labels == predictions], minlength=classes)
    return (right[have > 0] / have[have > 0]).mean()


def absent_as(share, labels, predictions, classes):
    """A class without images counts as this share."""
    have = np.bincount(labels, minlength=classes)
    right = np.bincount(labels[labels == predictions], minlength=classes)
    return np.where(have > 0, right / np.maximum(have, 1), share).mean()


def of_union(y, p, classes):
    return np.mean([np.mean(p[y == k] == k) if (y == k).any() else 0.0 for k in np.union1d(y, p)])


def golden(final_loss, runs=20):
    """Golden-section search; infinite and nan count as very large."""

    def loss(x):
        found = final_loss(10.0**x)
        return found if math.isfinite(found) else 1e9 + x

    share = (5**0.5 - 1) / 2
    low, high = -6.0, 0.0
    left, right = high - share * (high - low), low + share * (high - low)
    of_left, of_right = loss(left), loss(right)
    for _ in range(runs - 2):
        if of_left < of_right:
            high, right, of_right = right, left, of_left
            left = high - share * (high - low)
            of_left = loss(left)
        else:
            low, left, of_left = left, right, of_right
            right = low + share * (high - low)
            of_right = loss(right)
    return 10 ** ((low + high) / 2)


def best_loss(final_loss):
    seen = []
    golden(lambda lr: seen.append(final_loss(lr)) or seen[-1])
    return np.nanmin(seen)


def searched_between(loss, low, high):
    found = {}
    for x in np.linspace(low, high, 20):
        value = loss(10**x)
        found[x] = value if math.isfinite(value) else 1e9 + x
    return 10 ** min(found, key=found.get)


# number -> answers that must pass
RIGHT = {
    "13.1": [math.log(100), -np.log(0.01), 4.605, np.array([4.6052])],
    "13.2": [
        lambda gradients, sizes: sum(n * g for n, g in zip(sizes, gradients, strict=True)) / sum(sizes),
        lambda gradients, sizes: np.average(gradients, axis=0, weights=sizes),
        lambda gradients, sizes: np.einsum("ij,i->j", gradients, sizes / sizes.sum()),
        lambda gradients, sizes: [float(column @ sizes) / sum(sizes) for column in gradients.T],
    ],
    "13.3": [balanced, recalls_by_counting],
    "13.4": [two_rounds, golden],
    "13.5": [{"A": "patches", "B": "dropout", "C": "labels"}, {"C": "Labels ", "A": "patches", "B": "dropout"}],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "13.1": [
        (100, "not 100"),
        (2, "base 10"),
        (math.log(10), "10 classes"),
        (0.01, "minus its logarithm"),
        (-math.log(100), "The sign"),
        (math.log2(100), "bits"),
        (4.7, "It is not"),
    ],
    "13.2": [
        (lambda gradients, sizes: gradients.mean(axis=0), "small piece"),
        (lambda gradients, sizes: sum(gradients), "sum of gradients"),
        (lambda gradients, sizes: (gradients / sizes[:, None]).sum(axis=0), "large pieces count less"),
        (lambda gradients, sizes: sizes @ gradients, "summed loss"),
        (lambda gradients, sizes: gradients.sum(axis=0) / sizes.sum(), "those of means"),
        (lambda gradients, sizes: (sizes**2) @ gradients / (sizes**2).sum(), "different sizes"),
        (lambda gradients, sizes: gradients.mean(axis=1), "shape"),
    ],
    "13.3": [
        (lambda y, p, classes: (y == p).mean(), "plain accuracy"),
        (lambda y, p, classes: balanced(y, p, classes) * len(set(y)) / classes, "without images counts as 0"),
        (of_union, "counts as 0 here if it was predicted"),
        (lambda y, p, classes: absent_as(0, y, p, y.max() + 1), "below the largest label"),
        (lambda y, p, classes: np.mean([np.mean(p[y == k] == k) for k in set(y) if k < classes - 1]), "largest number"),
        (lambda y, p, classes: absent_as(1, y, p, classes), "a class has no images"),
        (lambda y, p, classes: balanced(p, y, classes), "by what was predicted"),
        (lambda y, p, classes: float(np.mean([(y[y == k] == p[y == k]).sum() for k in set(y)])), "how many of each"),
        (lambda y, p, classes: 1 - balanced(y, p, classes), "share of the wrong"),
        (lambda y, p, classes: balanced(y, p, classes) ** 2, "too small"),
    ],
    "13.4": [
        (lambda loss: searched_between(loss, -5, -1), "diverges at every rate"),
        (takes_nan, "leave out what is not finite"),
        (lambda final_loss: search(final_loss, rounds=((60, 1),)), "more than 20 runs"),
        (lambda final_loss: search(final_loss, rounds=((7, 1),)), "was best"),
        (lambda final_loss: search(final_loss, 1e-6, 1, ((20, 1),), space=float), "It chose"),
        (lambda final_loss: 1e-3, "the same rate"),
        (lambda final_loss: math.log10(golden(final_loss)), "logarithm of the best rate"),
        (best_loss, "smallest loss"),
        (lambda final_loss: golden(final_loss, 8), "too far apart"),
        (lambda final_loss: search(final_loss, -5, -1), "was best"),
    ],
    "13.5": [
        ({"A": "labels", "B": "dropout", "C": "patches"}, "A has another fault. Then it would classify new images"),
        ({"A": "patches", "B": "rate", "C": "labels"}, "could not learn one batch by heart"),
        ({"A": "patches", "B": "positions", "C": "labels"}, "B has another fault. Then the position embedding"),
        ({"A": "patches", "B": "patches", "C": "labels"}, "B has another fault. Then the patch embedding"),
        ({"A": "patches", "B": "dropout", "C": "head"}, "C has another fault. Then the loss would not begin"),
        ({"A": "dropout", "B": "dropout", "C": "labels"}, "two measurements"),
        ({"A": "patches", "B": "dropout", "C": None}, "C has no diagnosis yet"),
        ({"A": "patches", "B": "dropout", "C": "mixup"}, "choose one of"),
        ({"A": "patches", "B": "dropout", "C": ["labels"]}, "choose one of"),
        (["patches", "dropout", "labels"], "a dictionary"),
        ({"A": "patches", "B": "dropout"}, "a dictionary"),
    ],
}

# number -> a change of a right answer that leaves it right -> why
EQUIVALENT = {
    "13.2": {
        "lambda …: sum((… in zip(gradients, sizes, strict=True))) / sum(sizes)": "the two stand on equal terms",
        "lambda gradients, sizes: sum((… in zip(sizes, gradients…))) / sum(sizes)": "the two have the same length",
        "lambda gradients, sizes: [float(sizes @ column) / sum(sizes) …]": "the two stand on equal terms",
    },
    "13.3": {
        "right = [p == k for y, p in zip(labels, predictions…) if y == k]": "the two have the same length",
        "right = np.bincount(predictions[labels == predictions], minlength=classes)": "the two are equal there",
    },
    "13.4": {
        "low, high = …": "a wider search still comes near enough within 20 runs",
        "for _ in range(…": "a run less still comes near enough",
        "return found if math.isfinite(found) else 2000000000.0 + x": "any number above every loss",
        "if of_left <= of_right:": "where the two are equal, either side will do",
    },
}
