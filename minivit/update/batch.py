"""A batch, cut into the pieces that worker threads compute one after another, and the results of each.

A batch is a dict of arrays by name. The first axis counts examples, except for numbers of the step, which have no axes.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

from minivit.backend import Array
from minivit.ranks import Ranks
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


def cut(
    batch: Batch, count: int, seed: tuple[int, ...], ranks: Ranks | None = None, whole: bool = False
) -> list[Piece]:
    """`count` pieces of nearly equal size, or one per example if there are fewer. Arrays are views of the batch's.

    ranks: the processes that share a batch; `batch` is then the part of this one, or the `whole` batch, of which only
    this part is cut.
    """
    rank, parts = (ranks.rank, ranks.count) if ranks else (0, 1)
    own = size(batch) // parts if whole else size(batch)
    first = rank * own if whole else 0  # of this part, in the arrays
    ends = [i * (own // count) + min(i, own % count) for i in range(count + 1)]
    return [
        Piece(
            {name: x[first + start : first + end] if x.ndim else x for name, x in batch.items()},
            (end - start) / (own * parts),
            ImageDraws(seed, rank * own + start, end - start, own * parts),
        )
        for start, end in itertools.pairwise(ends)
        if start < end
    ]


def examples(pieces: Sequence[Piece]) -> int:
    """The number of examples in the batch of these pieces, on all ranks."""
    return round(size(pieces[0].batch) / pieces[0].share)
