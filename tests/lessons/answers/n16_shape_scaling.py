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


def front_by_pairs(prices, accuracies):
    """A tuple of Python numbers."""
    models = range(len(prices))
    pairs = [(i, j) for i in models for j in models if i != j]
    beaten = {i for i, j in pairs if prices[j] <= prices[i] and accuracies[j] >= accuracies[i]}
    return tuple(sorted(set(models) - beaten, key=lambda i: prices[i]))


def strictly(prices, accuracies):
    p, a = prices[:, None], accuracies[:, None]
    kept = np.flatnonzero(~((prices < p) & (accuracies > a)).any(axis=1))
    return kept[np.lexsort((-accuracies[kept], prices[kept]))]


def flop(side, p, D, L, width=4):
    """The arithmetic in one formula."""
    N = (side // p) ** 2
    return L * (8 * N * D**2 + 4 * N**2 * D + 4 * N * D * width * D)


def patch_from_below(side, D, L, budget):
    return next((p for p in range(1, side + 1) if side % p == 0 and flop(side, p, D, L) <= budget), None)


def any_patch(side, D, L, budget):
    return next((p for p in range(1, side + 1) if flop(side, p, D, L) <= budget), None)


def narrow(side, D, L, budget):
    return next((p for p in range(1, side + 1) if side % p == 0 and flop(side, p, D, L, width=1) <= budget), None)


# number -> answers that must pass
RIGHT = {
    "16.1": [lambda N: 4 * N - 3, lambda N: N + 3 * (N - 1), lambda N: (2 * (N - 1) ** 0.5) ** 2 + 1],
    "16.2": [
        lambda D, F: (8 * D * D + 4 * D * F) / (4 * D),
        lambda D, F: F + D + D,
    ],
    "16.3": [front, front_by_walking, front_by_pairs],
    "16.4": [patch, patch_from_below],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "16.1": [
        (lambda N: 4 * N, "stays one"),
        (lambda N: 2 * N - 1, "each direction"),
        (lambda N: 4 * (N - 1), "a token as well"),
        (lambda N: 4 * N + 1, "counts the [class] token already"),
        (lambda N: (N - 1) / 4 + 1, "not fewer"),
        (lambda N: 4 * N - 2, "no letter are not"),
        (lambda N: 16 * N, "differs"),
    ],
    "16.2": [
        (lambda D, F: 6 * D, "F = 4 D only"),
        (lambda D, F: F, "projections"),
        (lambda D, F: D + F, "2 D"),
        (lambda D, F: D + F / 2, "in FLOP as well"),
        (lambda D, F: 4 * D + 2 * F, "two products"),
        (lambda D, F: 2 * D + F / 2, "two products, D to F and F to D"),
        (lambda D, F: 2 * D + 3 * F, "those with F are not"),
        (lambda D, F: 3 * D, "differs"),
    ],
    "16.3": [
        (lambda prices, accuracies: np.argsort(prices), "all models"),
        (lambda prices, accuracies: np.sort(front(prices, accuracies)), "not sorted"),
        (lambda prices, accuracies: front(prices, accuracies)[:1], "cheapest model alone"),
        (lambda prices, accuracies: np.array([accuracies.argmax()]), "most accurate model alone"),
        (strictly, "need not be better in both"),
        (lambda prices, accuracies: front(prices, accuracies)[::-1], "cheapest comes first"),
        (lambda prices, accuracies: prices[front(prices, accuracies)], "return their indices"),
        (lambda prices, accuracies: front(prices, accuracies)[1:], "leaves out model"),
        (lambda prices, accuracies: [*front(prices, accuracies)[:1], *front(prices, accuracies)], "one model twice"),
    ],
    "16.4": [
        (lambda *case: patch(*case, attention=False), "inside attention"),
        (lambda side, D, L, budget: side, "differs"),
        (lambda *case: (patch(*case) or 1) * 2, "differs"),
        (lambda side, D, L, budget: patch(side, D, L, budget) or 0, "return None"),
        (lambda *case: patch(*case, class_token=1), "[class] token"),
        (any_patch, "must divide"),
        (lambda side, D, L, budget: patch(side, D, L, 2 * budget), "two for each"),
        (narrow, "MLP of width D"),
        (lambda side, D, L, budget: patch(side, D, 1, budget), "L blocks"),
        (lambda side, D, L, budget: patch(side, D, L, budget - 1e-3), "just the budget"),
        (lambda *case: (lambda p: p and case[0] // p)(patch(*case)), "number of patches along the side"),
    ],
}

# number -> a change of a right answer that leaves it right -> why
EQUIVALENT = {
    "16.3": {
        "return tuple(sorted(…, key=lambda i: accuracies[i]))": "on the front the dearer is the more accurate one",
        "best, found = (-1, [])": "no accuracy is below 0",
    },
    "16.4": {
        "return next((p for p in range(1, side + 2) if side % p == 0 …": "side + 1 does not divide side",
        "N = tokens_per_side ** 2…": "there is no [class] token to add",
    },
}
