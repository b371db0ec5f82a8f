"""Batches, prepared in background threads while the model computes.

Training batch s is a function of (seed, s) alone: the order of an epoch and the random changes of a step each have a
generator seeded with those numbers. So a run resumed at step s sees the same batches without any stored state, and the
number of threads affects only speed.
"""

import weakref
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from numbers import Integral
from typing import Any, Self, TypeVar

import numpy as np

from minivit.data import portion
from minivit.data.ahead import ahead
from minivit.data.dataset import Dataset, Indices
from minivit.data.images import Cut
from minivit.data.transform import Augment
from minivit.errors import ConfigError, DataError

# Arrays by name, as an objective makes them; or images (B, height, width, C) float32 and labels (B,) int64.
Batch = Any
Transform = Callable[..., np.ndarray]  # an Augment, or any function of (images, rng)

R = TypeVar("R")


class Loader:
    """Training batches for the steps start_step .. total_steps - 1; iterate over it, as often as you like.

    Yields the batches of `objective`: dicts of arrays by name. Without one, pairs of images (B, height, width, C)
    float32 and labels (B,) int64. An epoch is `steps_per_epoch` = N // batch_size steps over a new random order; the N
    % batch_size examples left over are not used in it. If a data set skips an unreadable image, one of a later batch
    takes its place.
    transform: an `Augment`, or any function of (images, rng).   objective: see `minivit.update.objective`; its columns
    are fetched, and its `prepare` and `draw` make the batch.
    threads: the number of threads, each preparing a whole batch.   prefetch: the number of batches ready or in work
    while the consumer computes.
    share: (rank, ranks), if several processes share each batch: this one gets its part of it (see
    `minivit.data.portion`), or the whole batch if the objective `compares` its examples.
    Leaving the loop, close(), or the end of a `with` block stops the threads. An exception in a thread is raised in
    place of its batch. Raises DataError if the batch is larger than the data set or a column is missing, ConfigError
    for other invalid numbers.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        transform: Transform,
        objective: Any = None,
        *,
        total_steps: int,
        seed: int = 0,
        start_step: int = 0,
        threads: int = 1,
        prefetch: int = 4,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        _check_counts(1, batch_size=batch_size, threads=threads)
        _check_counts(0, total_steps=total_steps, seed=seed, start_step=start_step, prefetch=prefetch)
        if batch_size > len(dataset):
            raise DataError(
                f"{dataset.name}: a batch of {batch_size} is larger than the data set; "
                f"use a batch size of at most {len(dataset)}, its number of images"
            )
        rank, self.ranks = share
        if batch_size % self.ranks:
            raise ConfigError(
                f"a batch of {batch_size} images cannot be divided among {self.ranks} processes: choose a --batch-size "
                f"that is a multiple of {self.ranks}, or another number of processes"
            )
        each = batch_size // self.ranks
        self.part = slice(rank * each, (rank + 1) * each)
        self.dataset, self.batch_size, self.transform = dataset, batch_size, transform
        self.seed, self.start_step, self.total_steps = seed, start_step, total_steps
        self.objective: Any = objective or Pairs()
        dataset.check_columns(self.objective.columns)
        self.threads, self.prefetch = threads, prefetch
        self.steps_per_epoch = len(dataset) // batch_size
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))
        self._running: weakref.WeakSet[Generator[Any, None, None]] = weakref.WeakSet()

    def __len__(self) -> int:
        """The number of batches one iteration yields."""
        return max(0, self.total_steps - self.start_step)

    def __iter__(self) -> Iterator[Batch]:
        return self.ahead(self.batch)

    def ahead(self, prepare: Callable[[int], R]) -> Generator[R, None, None]:
        """prepare(step) for each step of an iteration, run by the threads; `batch`, or a device's replacement for
        it."""
        results = ahead(prepare, range(self.start_step, self.total_steps), self.threads, self.prefetch)
        self._running.add(results)
        return results

    def batch(self, step: int) -> Batch:
        """The batch of one step, prepared here and now: what iteration yields for it."""
        if self.ranks > 1 and portion.makes_each_alone(self):
            return portion.make(self, step)
        whole = self._whole(step)
        return whole if self.ranks == 1 or self.objective.compares else portion.cut(whole, self.part)

    def _whole(self, step: int) -> Batch:
        rng, augment = self.generator(step), self._cutter
        if augment is None:
            return _made(self.objective, self.fetch(step), self.transform, step, rng, train=True)
        changes = augment.draw((self.batch_size, *augment.image_size, self.dataset.channels), rng)
        columns = self.fetch(step, cuts=augment.cuts(changes))
        return _made(self.objective, columns, lambda x, _: augment.apply(np.stack(x), changes), step, rng, train=True)

    @property
    def _cutter(self) -> Augment | None:
        """The transform, if its random crops can be drawn before the images are read: then files decode faster."""
        plain = isinstance(self.objective, Pairs) or portion.prepares_plainly(self.objective)
        augment = self.transform
        # No subclass: its `__call__` may do other things.
        return augment if plain and type(augment) is Augment and augment.resized_crop is not None else None

    def generator(self, step: int) -> np.random.Generator:
        """The generator for the random changes of a step: first the transform's, then the mixing, then `draw`."""
        return np.random.default_rng((self.seed, step, 1))  # the 1 keeps it apart from the epochs' generators

    def indices(self, step: int) -> np.ndarray:
        """The numbers (B,) of the images of a step, before unreadable ones are replaced."""
        epoch, position = divmod(step, self.steps_per_epoch)
        return self._epoch_order(epoch)[position * self.batch_size : (position + 1) * self.batch_size]

    def close(self) -> None:
        """Stop the background threads of every iteration that still runs."""
        for batches in list(self._running):
            batches.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def fetch(self, step: int, rows: np.ndarray | None = None, cuts: Sequence[Cut] | None = None) -> dict[str, Any]:
        """The columns of a step, or of the examples with these numbers in its batch. Another example takes the place
        of an unreadable one: a function of (seed, step) and its own number alone.

        cuts: the parts of the images that are needed, one for each, or None for whole images.
        """
        indices = self.indices(step)
        rows = np.arange(self.batch_size) if rows is None else rows
        columns = self._columns(indices[rows], cuts)
        if count(columns) == len(rows):
            return columns
        # Again, now one by one: a rare batch.
        each = [self._one(step, row, cuts and cuts[i : i + 1]) for i, row in enumerate(rows.tolist())]
        return {name: [x for one in each for x in one[name]] for name in columns}

    def _columns(self, indices: Indices, cuts: Sequence[Cut] | None) -> dict[str, Any]:
        names = self.objective.columns
        if cuts is None:
            return self.dataset.columns(indices, names, getattr(self.transform, "decode_size", None))
        found = dict(zip(("images", "labels"), self.dataset.cut(indices, cuts), strict=True))
        return {name: found[name] for name in names}

    def _one(self, step: int, row: int, cuts: Sequence[Cut] | None) -> dict[str, Any]:
        """The columns of one example, or of the one that takes its place: the first readable one at the same place of
        the batches that follow, or, if there is none, anywhere outside this batch."""
        epoch, position = divmod(step, self.steps_per_epoch)
        order = np.roll(self._epoch_order(epoch), -position * self.batch_size)
        others = order[self.batch_size :]
        for index in [order[row], *others[row :: self.batch_size], *others]:
            columns = self._columns([index], cuts)
            if count(columns):
                return columns
        raise DataError(f"{self.dataset.name}: too few readable images to fill a batch of {self.batch_size}")

    def _epoch_order(self, epoch: int) -> np.ndarray:
        """A permutation of 0..N-1. The last is kept (N may be a million), as a tuple for thread safety."""
        known, order = self._order
        if known != epoch:
            order = self.dataset.order(np.random.default_rng((self.seed, epoch)))
            self._order = epoch, order
        return order


def eval_batches(
    dataset: Dataset,
    batch_size: int,
    transform: Transform,
    objective: Any = None,
    *,
    seed: int = 0,
    threads: int = 1,
    prefetch: int = 2,
    share: tuple[int, int] = (0, 1),
) -> Generator[Batch, None, None]:
    """Every example once, in the data set's order, as evaluation batches of `objective`.

    Without an objective, pairs of images (B, height, width, C) float32 and labels (B,) int64. An objective's draws are
    a function of (seed, number of the batch): the same at every evaluation. The last batch may be short, as may any
    batch with skipped images; empty ones are left out. share: (rank, ranks); gives batches rank, rank + ranks, ...
    transform: called with the images alone, such as `Augment(image_size)`. The rest is as for `Loader`.
    """
    _check_counts(1, batch_size=batch_size, threads=threads)
    _check_counts(0, prefetch=prefetch)
    objective = objective or Pairs()
    size = getattr(transform, "decode_size", None)

    def prepare(start: int) -> Batch | None:
        columns = dataset.columns(np.arange(start, min(start + batch_size, len(dataset))), objective.columns, size)
        rng = np.random.default_rng((seed, 3, start // batch_size))  # the 3 keeps it apart from those of training
        return _made(objective, columns, transform, 0, rng, train=False) if count(columns) else None

    starts = range(0, len(dataset), batch_size)[share[0] :: share[1]]
    batches = ahead(prepare, starts, threads, prefetch)
    return (batch for batch in batches if batch is not None)


class Pairs:
    """Makes batches without an objective: pairs of images and labels."""

    columns = ("images", "labels")

    def prepare(self, columns: Mapping[str, Any], transform: Transform, rng: np.random.Generator | None) -> Batch:
        """The transformed images, and the labels."""
        given = () if rng is None else (rng,)
        return transform(columns["images"], *given), np.asarray(columns["labels"])


def _made(objective: Any, columns: Mapping[str, Any], transform: Transform, step: int, rng: Any, train: bool) -> Batch:
    """The batch of these columns.   rng: a NumPy generator."""
    batch = objective.prepare(columns, transform, rng if train else None)
    return batch if isinstance(objective, Pairs) else {**batch, **objective.draw(batch, step, rng)}


def count(columns: Mapping[str, Any]) -> int:
    """The number of examples."""
    return len(next(iter(columns.values())))


def _check_counts(least: int, **numbers: Any) -> None:
    for name, value in numbers.items():
        if not isinstance(value, Integral) or value < least:
            raise ConfigError(f"{name} is {value}, expected a whole number of at least {least}")
