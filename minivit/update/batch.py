"""A batch, cut into the pieces that worker threads compute one after another, and the results of each.

A batch is a dict of arrays by name. The first axis counts examples, except for numbers of the step, which have no axes.
"""

import itertools
from typing import Any, NamedTuple

from minivit.backend import Array
from minivit.update.draws import ImageDraws

Batch = dict[str, Array]


class Piece(NamedTuple):
    """A part of a batch: its arrays, its share of the examples, and the source of its dropout masks."""

    batch: Batch
    share: float
    rng: Any  # ImageDraws, or on a GPU a RandomFeed


class Found(NamedTuple):
    """The results of a piece: its part of the loss, of the sums over examples, of the gradients."""

    loss: Array
    sums: dict[str, Array]
    gradients: list[Array]

    def plus(self, other: "Found") -> "Found":
        """The sum, with the gradients in the arrays of the first."""
        for g, more in zip(self.gradients, other.gradients, strict=True):
            g += more
        sums = {name: x + other.sums[name] for name, x in self.sums.items()}
        return Found(self.loss + other.loss, sums, self.gradients)


def size(batch: Batch) -> int:
    """The number of examples. Raises ValueError if there are none, or if the arrays disagree."""
    lengths = {name: len(x) for name, x in batch.items() if x.ndim}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        found = ", ".join(f"{length} {name}" for name, length in lengths.items())
        raise ValueError(f"a batch of {found or 'nothing'}, expected equally many of each, and at least one")
    return next(iter(lengths.values()))


def cut(batch: Batch, count: int, seed: tuple[int, ...]) -> list[Piece]:
    """`count` pieces of nearly equal size, or one per example if there are fewer. Arrays are views of the batch's."""
    examples = size(batch)
    ends = [i * (examples // count) + min(i, examples % count) for i in range(count + 1)]
    parts = [slice(start, end) for start, end in itertools.pairwise(ends) if start < end]
    return [
        Piece(
            {name: x[part] if x.ndim else x for name, x in batch.items()},
            (part.stop - part.start) / examples,
            ImageDraws(seed, part.start, part.stop - part.start, examples),
        )
        for part in parts
    ]
