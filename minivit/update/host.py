"""`step` with the methods of a `DeviceStep`, so that a training loop can use either."""

import contextlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import TypeVar

from minivit.backend.workers import Workers
from minivit.data import Loader
from minivit.errors import NonFiniteError
from minivit.optim import EMA, SGD, AdamW
from minivit.ranks import Ranks
from minivit.update.batch import Batch
from minivit.update.not_finite import nearest
from minivit.update.objective import Objective
from minivit.update.step import StepResult, step

Item = TypeVar("Item")


class HostStep:
    """Updates on a CPU; on any device in float64 or with the reference kernels. workers, ranks: threads and processes
    that share each batch."""

    read_every = 1
    recorded = False

    def __init__(
        self,
        objective: Objective,
        optimizer: AdamW | SGD,
        clip_norm: float | None = None,
        ema: EMA | None = None,
        accumulate: int = 1,
        workers: Workers | None = None,
        ranks: Ranks | None = None,
    ):
        self.objective, self.optimizer, self.ema = objective, optimizer, ema
        self.clip_norm, self.accumulate, self.workers = clip_norm, accumulate, workers
        self.ranks = ranks or Ranks()
        self._latest: StepResult | None = None

    @contextlib.contextmanager
    def batches(self, loader: Loader) -> Iterator[Iterable[Batch]]:
        """The loader's batches, until the context ends."""
        with loader:
            yield loader

    def update(self, batch: Batch, seed: Sequence[int] = (0,)) -> None:
        """One update. Raises NonFiniteError before anything is changed."""
        parts = self.objective, self.optimizer, batch, self.clip_norm, self.workers, self.accumulate
        try:
            self._latest = step(*parts, seed=tuple(seed), ranks=self.ranks)
        except NonFiniteError as error:  # on all ranks alike; each has looked at its own part
            raise NonFiniteError(nearest(self.ranks.gathered(str(error)))) from None
        if self.ema:
            self.ema.update()

    def read(self) -> tuple[StepResult | None, int]:
        """The result of the update since the last call, if there was one, and the number of updates (0 or 1)."""
        latest, self._latest = self._latest, None
        return latest, int(latest is not None)

    def ordered(self, work: Generator[Item, None, None]) -> Iterator[Item]:
        """Yield the items of `work`."""
        return work

    def free_unused(self) -> None:
        """Does nothing: the C library keeps freed memory for the next step."""
