"""The Pareto front, and its typical slips: for the judge of exercise 16.3."""

from collections.abc import Callable

import numpy as np


def front(prices: np.ndarray, accuracies: np.ndarray) -> np.ndarray:
    """Indices of the models to which no other is preferable, cheapest first."""
    best = [
        i
        for i, (price, value) in enumerate(zip(prices, accuracies, strict=True))
        if not any(
            p <= price and a >= value and (p < price or a > value) for p, a in zip(prices, accuracies, strict=True)
        )
    ]
    return np.array(sorted(best, key=lambda i: prices[i]))


def _all_by_price(prices: np.ndarray, accuracies: np.ndarray) -> np.ndarray:
    return np.argsort(prices, kind="stable")


def _worst_front(prices: np.ndarray, accuracies: np.ndarray) -> np.ndarray:
    return front(prices, -np.asarray(accuracies))


def _running_maximum(prices: np.ndarray, accuracies: np.ndarray) -> np.ndarray:
    """Keeps a model to which another of the same price is preferable."""
    order = np.argsort(prices, kind="stable")
    return np.array([i for k, i in enumerate(order) if accuracies[i] > np.max(accuracies[order[:k]], initial=-np.inf)])


def _in_given_order(prices: np.ndarray, accuracies: np.ndarray) -> np.ndarray:
    return np.sort(front(prices, accuracies))


def _strictly_better(prices: np.ndarray, accuracies: np.ndarray) -> np.ndarray:
    """Keeps a model unless another is both cheaper and more accurate."""
    return np.array([i for i in np.lexsort((-accuracies, prices)) if not _beaten(i, prices, accuracies)])


def _beaten(i: int, prices: np.ndarray, accuracies: np.ndarray) -> bool:
    return bool(((prices < prices[i]) & (accuracies > accuracies[i])).any())


def _never_lower(prices: np.ndarray, accuracies: np.ndarray) -> np.ndarray:
    """Keeps a model that is only as accurate as a cheaper one."""
    order = np.lexsort((-accuracies, prices))
    return np.array([i for k, i in enumerate(order) if accuracies[i] >= np.max(accuracies[order[:k]], initial=-np.inf)])


def _places_in_order(prices: np.ndarray, accuracies: np.ndarray) -> np.ndarray:
    """Places in the list that was sorted by price."""
    order = np.lexsort((-accuracies, prices))
    return np.flatnonzero(np.isin(order, front(prices, accuracies)))


def _hull(prices: np.ndarray, accuracies: np.ndarray) -> np.ndarray:
    """The models of the front that no straight line between two others passes above."""
    kept: list[int] = []
    for i in front(prices, accuracies):
        while len(kept) > 1:
            rise, run_ = (x[i] - x[kept[-2]] for x in (accuracies, prices))
            if (accuracies[kept[-1]] - accuracies[kept[-2]]) * run_ > rise * (prices[kept[-1]] - prices[kept[-2]]):
                break
            kept.pop()
        kept.append(i)
    return np.array(kept)


def some_equal(prices: np.ndarray, accuracies: np.ndarray) -> bool:
    """Whether two prices or two accuracies are the same."""
    return any(len(np.unique(x)) < len(x) for x in (prices, accuracies))


def explained(args: tuple, results: tuple[np.ndarray, ...]) -> str:
    """Names a model that is wrongly on the front, or wrongly missing."""
    (prices, accuracies), (got,) = args, results
    right = front(prices, accuracies)
    if got.ndim != 1 or not np.isin(got, np.arange(len(prices))).all():
        return ""
    told = f"Of the prices {prices.tolist()} with the accuracies {accuracies.tolist()} it"
    if len(extra := np.setdiff1d(got, right)):
        return f"{told} takes model {int(extra[0])}, to which another is preferable."
    if len(missing := np.setdiff1d(right, got)):
        return f"{told} leaves out model {int(missing[0])}, to which no other is preferable."
    return f"{told} takes one model twice." if len(got) > len(right) else ""


# what is said -> a function that makes this mistake
SLIPS: dict[str, Callable] = {
    "These are all models. One that another beats in both is not on the front.": _all_by_price,
    "This is the front of the least accurate models.": _worst_front,
    "The right models, but not sorted by price.": _in_given_order,
    "The right models, but the cheapest comes first.": lambda *given: front(*given)[::-1],
    "Of two models of the same price only the more accurate one is on the front.": _running_maximum,
    "Another need not be better in both: as cheap and more accurate, or cheaper and as accurate, is "
    "preferable, too.": _strictly_better,
    "A model that is only as accurate as a cheaper one is not on the front.": _never_lower,
    "These are places in the sorted list. Return the indices that the models had before.": _places_in_order,
    "A model below the line between two others is on the front if none is preferable to it.": _hull,
    "These are the prices of the right models; return their indices.": (
        lambda prices, accuracies: prices[front(prices, accuracies)]
    ),
    "These are the accuracies of the right models; return their indices.": (
        lambda prices, accuracies: accuracies[front(prices, accuracies)]
    ),
    "This tells for each model whether it is on the front. Return the indices of those that are.": (
        lambda prices, accuracies: np.isin(np.arange(len(prices)), front(prices, accuracies))
    ),
    "This is the most accurate model alone.": lambda prices, accuracies: np.array([accuracies.argmax()]),
    "This is the cheapest model alone.": lambda prices, accuracies: front(prices, accuracies)[:1],
    "Indices begin at 0.": lambda prices, accuracies: front(prices, accuracies) + 1,
}
