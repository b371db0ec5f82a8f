"""The places where a wrong array differs from the right one, and the direction."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from minivit.lessons.likeness import Pairs


def place(pairs: Pairs, tried: Sequence[tuple], parameters: Sequence[str], rtol: float) -> str | None:
    """The difference, as the end of "It differs". Pairs are those of the cases that differ, the worst first."""
    wrong = [np.abs(a - b) > rtol * np.abs(b).max(initial=0) for a, b in pairs]
    if len({b.ndim for _, b in pairs}) > 1 or not pairs[0][1].ndim:
        return _tendency(pairs)
    for name, inside in _regions(pairs, tried, parameters):
        if all(0 < part.sum() < part.size and not (bad & ~part).any() for bad, part in zip(wrong, inside, strict=True)):
            return f"only {name}"
    for name, inside in _regions(pairs, tried, parameters):
        if all(0 < part.sum() < part.size and (bad != part).all() for bad, part in zip(wrong, inside, strict=True)):
            return f"everywhere but {name}"
    bad = wrong[0]
    if all(2 * part.sum() <= part.size for part in wrong):
        return f"in {bad.sum()} of {bad.size} entries, the first at {_index(bad)}"
    return _tendency(pairs)


def _tendency(pairs: Pairs) -> str | None:
    for said, above in (
        ("it is too large everywhere", lambda a, b: a > b),
        ("it is too small everywhere", lambda a, b: a < b),
        ("it is too far from 0 everywhere", lambda a, b: np.abs(a) > np.abs(b)),
        ("it is too close to 0 everywhere", lambda a, b: np.abs(a) < np.abs(b)),
    ):
        if all(above(a, b).all() for a, b in pairs) and sum(b.size for _, b in pairs) > 3:
            return said
    return None


def _index(bad: np.ndarray) -> str:
    return "[" + ", ".join(str(int(i)) for i in np.argwhere(bad)[0]) + "]"


def _regions(pairs: Pairs, tried: Sequence[tuple], parameters: Sequence[str]) -> Iterator[tuple[str, list[np.ndarray]]]:
    """The named parts of an array, and for each case the entries that belong to them."""
    shapes = [b.shape for _, b in pairs]
    ndim = len(shapes[0])
    for axis in range(ndim):
        noun = {1: ["entry"], 2: ["row", "column"]}.get(ndim, [f"index of axis {i}" for i in range(ndim)])[axis]
        for word, at in (("first", 0), ("last", -1)):
            here = [np.arange(s[axis]) == (at % s[axis] if s[axis] else 0) for s in shapes]
            yield (
                f"in the {word} {noun}",
                [
                    np.broadcast_to(h.reshape([-1 if i == axis else 1 for i in range(ndim)]), s)
                    for h, s in zip(here, shapes, strict=True)
                ],
            )
    if ndim >= 2:
        for name, compare in (("on", np.equal), ("above", np.less), ("below", np.greater)):
            masks = [compare(np.arange(s[-2])[:, None], np.arange(s[-1])) for s in shapes]
            yield f"{name} the diagonal", [np.broadcast_to(m, s) for m, s in zip(masks, shapes, strict=True)]
    for i, name in enumerate(parameters):
        given: list[Any] = [args[i] if i < len(args) else None for args in tried]
        if all(isinstance(x, np.ndarray) and x.shape == s for x, s in zip(given, shapes, strict=True)):
            yield f"where {name} is negative", [x < 0 for x in given]
            yield f"where {name} is 0", [x == 0 for x in given]
