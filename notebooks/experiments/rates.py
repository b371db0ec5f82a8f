"""Choosing a learning rate for a model: one ladder of rates, tried outwards from a start until the best has two worse
neighbours."""

from collections.abc import Sequence


def next_rate(ladder: Sequence[float], tried: dict[str, float], start: float) -> float | None:
    """The rate to try next, or None if the choice is made.   ladder: ascending.   tried: str(rate) -> accuracy.

    First `start`, then the neighbours of the best so far. At the end the best is neither the lowest nor the highest
    that was tried, unless the ladder ends there.
    """
    if str(start) not in tried:
        return start
    i = ladder.index(best_rate(tried))
    neighbours = [ladder[j] for j in (i - 1, i + 1) if 0 <= j < len(ladder)]
    return next((rate for rate in neighbours if str(rate) not in tried), None)


def best_rate(tried: dict[str, float]) -> float:
    """The rate of the highest accuracy."""
    return float(max(tried, key=tried.__getitem__))
