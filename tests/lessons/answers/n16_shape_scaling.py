"""Answers to the exercises of notebook 16."""

import numpy as np


def front(prices, accuracies):
    found, best = [], -np.inf
    for i in np.lexsort((-accuracies, prices)):
        if accuracies[i] > best:
            found.append(i)
            best = accuracies[i]
    return np.array(found)


def front_by_walking(prices, accuracies):
    """Begins with the best accuracy 0, which all are above."""
    best, found = 0, []
    for price in np.unique(prices):
        of_price = np.flatnonzero(prices == price)
        i = of_price[np.argmax(accuracies[of_price])]
        if accuracies[i] > best:
            best = accuracies[i]
            found.append(i)
    return found


def patch(side, D, L, budget, attention=True, divisors=True, class_token=0):
    for tokens_per_side in range(side, 0, -1):
        if divisors and side % tokens_per_side:
            continue
        N = tokens_per_side**2 + class_token
        products = [(N, D, 3 * D), (N, D, D), (N, D, 4 * D), (N, 4 * D, D)]
        if attention:
            products += [(N, D, N), (N, N, D)]
        if L * sum(2 * a * b * c for a, b, c in products) <= budget:
            return side // tokens_per_side
    return None


RIGHT = {
    "16.1": [lambda N: 4 * N - 3],
    "16.2": [lambda D, F: (8 * D * D + 4 * D * F) / (4 * D)],
    "16.3": [front, front_by_walking],
    "16.4": [patch],
}

WRONG = {
    "16.1": [(lambda N: 4 * N, "stays one"), (lambda N: 2 * N - 1, "each direction"), (lambda N: 16 * N, "differs")],
    "16.2": [
        (lambda D, F: 6 * D, "F = 4 D only"),
        (lambda D, F: F, "projections"),
        (lambda D, F: D + F, "2 D"),
        (lambda D, F: 3 * D, "differs"),
    ],
    "16.3": [
        (lambda prices, accuracies: np.argsort(prices), "all models"),
        (lambda prices, accuracies: np.sort(front(prices, accuracies)), "not sorted"),
        (lambda prices, accuracies: front(prices, accuracies)[:1], "has shape"),
        (lambda prices, accuracies: np.array([accuracies.argmax()]), "has shape"),
    ],
    "16.4": [
        (lambda *case: patch(*case, attention=False), "inside attention"),
        (lambda side, D, L, budget: side, "differs"),
        (lambda *case: (patch(*case) or 1) * 2, "differs"),
        (lambda side, D, L, budget: patch(side, D, L, budget) or 0, "return None"),
        (lambda *case: patch(*case, class_token=1), "[class] token"),
    ],
}
