"""One run trained by several processes at once, its *ranks*: `mpirun -n 4 python -m minivit.train`.

Every rank has the whole model and computes a fixed part of each batch. The gradients of all parts are added by MPI, so
every rank makes the same update, and the parameters stay equal bit for bit. Rank 0 alone prints and writes.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from minivit.backend import Array
from minivit.backend.workers import Workers
from minivit.optim.gradients import add_up
from minivit.tensor import Tensor

T = TypeVar("T")


class Ranks:
    """This process alone: rank 0 of 1. `minivit.ranks.mpi.MpiRanks` is one of several.

    All ranks must call the same methods in the same order.
    """

    rank, count = 0, 1

    def found(
        self, of_piece: Callable[..., Any], count: int, parameters: Sequence[Tensor], workers: Workers
    ) -> tuple[float, dict[str, Any], list[Array]]:
        """Loss, sums and gradients of the whole batch, from the pieces 0 .. count - 1 of this rank's part: each worker
        adds up its own pieces, one after another.   of_piece: see `minivit.update.step.by_piece`."""

        def of_worker(worker: int) -> Any:
            return functools.reduce(lambda one, two: one.plus(two), map(of_piece, range(worker, count, workers.count)))

        shares = workers.map(of_worker, range(min(workers.count, count)))
        sums = {name: sum(share.sums[name] for share in shares) for name in shares[0].sums}
        gradients = add_up([share.gradients for share in shares], workers)
        return float(sum(share.loss for share in shares)), sums, gradients

    def joined(self, array: Array) -> Array:
        """The arrays of all ranks one after another, equally many rows of each: (count B, ...)."""
        return array

    def each(self, action: Callable[[], T]) -> T:
        """action(), on every rank. If a rank meets an expected error (MinivitError), all ranks raise it."""
        return action()

    def first(self, action: Callable[[], T]) -> T:
        """action() on rank 0 only; its result, or its expected error, on every rank."""
        return action()

    def in_turn(self, action: Callable[[], T]) -> T:
        """action() on rank 0, and when that is done, on all others: so rank 0 alone downloads a missing file."""
        result = self.each(lambda: None if self.rank else action())
        others = self.each(lambda: action() if self.rank else None)
        return others if self.rank else result  # type: ignore[return-value]

    def gathered(self, value: T) -> list[T]:
        """The values of all ranks, in their order."""
        return [value]

    def in_step(self, items: Iterable[T]) -> Iterator[T]:
        """The items, until any rank has no more. An expected error of one rank is raised on all."""
        return iter(items)

    def check_equal(self, arrays: Mapping[str, Any]) -> None:
        """Raise BackendError, on every rank, unless all ranks hold the same arrays, bit for bit."""

    def check_same(self, facts: Mapping[str, Any]) -> None:
        """Raise ConfigError, on every rank, unless all ranks state the same facts, named in plain words."""


def in_one_line(error: BaseException) -> str:
    """An error of the system in words, "" for any other."""
    if isinstance(error, MemoryError):
        return "out of memory"
    return f"{error.filename or 'reading or writing'}: {error.strerror or error}" if isinstance(error, OSError) else ""
