"""Batches, prepared in background threads while the model computes.

Training batch s is a function of (seed, s) alone: the order of an epoch and the random changes of a step each have a
generator seeded with those numbers. So a run resumed at step s sees exactly what it would have seen, with no stored
state, and the number of threads changes nothing but speed.
"""

import math
import weakref
from collections.abc import Callable, Generator, Iterator
from numbers import Integral, Real
from typing import Any, Self, TypeVar

import numpy as np

from minivit.data.ahead import ahead
from minivit.data.dataset import Dataset, Images
from minivit.data.mixing import Mixing, draw_cutmix, draw_mixup, mix, one_hot
from minivit.errors import ConfigError, DataError

# Images (B, height, width, C) float32; labels (B,) int64 or dense (B, K) float32.
Batch = tuple[np.ndarray, np.ndarray]
Transform = Callable[..., np.ndarray]  # an Augment, or any function of (images, rng)

R = TypeVar("R")


class Loader:
    """Training batches for the steps start_step .. total_steps - 1; iterate over it, as often as you like.

    Yields images (B, height, width, C) float32 and labels (B,) int64; with mixup or cutmix > 0 (the alpha of their
    Beta distribution) labels are dense, (B, K) float32; with both, each batch gets one of the two with probability
    1/2. An epoch is `steps_per_epoch` = N // batch_size steps over a new random order; the N % batch_size images left
    over are not used in it. Where a data set skips unreadable images, the next ones in the order take their places.

    transform: an `Augment`, or any function of (images, rng).   threads: how many prepare batches, each a whole one.
    prefetch: how many batches may wait ready (or in work) while the consumer computes.

    Leaving the loop, close(), or the end of a `with` block stops the threads. An exception in a thread is raised where
    the batch would have been. Raises DataError if the batch is larger than the data set, ConfigError for other
    numbers that make no sense.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        transform: Transform,
        *,
        total_steps: int,
        seed: int = 0,
        start_step: int = 0,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        threads: int = 1,
        prefetch: int = 4,
    ) -> None:
        _check_counts(1, batch_size=batch_size, threads=threads)
        _check_counts(0, total_steps=total_steps, seed=seed, start_step=start_step, prefetch=prefetch)
        for name, alpha in (("mixup", mixup), ("cutmix", cutmix)):
            if not (isinstance(alpha, Real) and 0 <= alpha < math.inf):
                raise ConfigError(f"{name} is {alpha}, expected 0 or more")
        if batch_size > len(dataset):
            raise DataError(
                f"{dataset.name}: a batch of {batch_size} is larger than the data set; "
                f"use a batch size of at most {len(dataset)}, its number of images"
            )
        self.dataset, self.batch_size, self.transform = dataset, batch_size, transform
        self.seed, self.start_step, self.total_steps = seed, start_step, total_steps
        self.mixup, self.cutmix = mixup, cutmix
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
        """prepare(step) for each step of an iteration, by the threads; `batch`, or what a device needs instead."""
        results = ahead(prepare, range(self.start_step, self.total_steps), self.threads, self.prefetch)
        self._running.add(results)
        return results

    def batch(self, step: int) -> Batch:
        """The batch of one step, prepared here and now: what iteration yields for it."""
        images, labels = self._fetch(step)
        rng = self.generator(step)
        x = self.transform(images, rng)
        mixing = self.draw_mixing(x.shape[1], x.shape[2], rng)
        if mixing is None:
            return x, labels
        return mix(x, one_hot(labels, len(self.dataset.classes)), mixing)

    def generator(self, step: int) -> np.random.Generator:
        """Where the random changes of a step are drawn from: first the transform's, then the mixing."""
        return np.random.default_rng((self.seed, step, 1))  # the 1 keeps it apart from the epochs' generators

    def draw_mixing(self, height: int, width: int, rng: np.random.Generator) -> Mixing | None:
        """How the images of a batch, height x width, are mixed; None: not at all."""
        if self.cutmix and (not self.mixup or rng.random() < 0.5):
            return draw_cutmix(height, width, self.cutmix, rng)
        return draw_mixup(self.mixup, rng) if self.mixup else None

    def indices(self, step: int) -> np.ndarray:
        """The numbers (B,) of the images of a step, before any that cannot be read are replaced."""
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

    def _fetch(self, step: int) -> tuple[Images, np.ndarray]:
        """The images and labels of a step, as many as the batch size even where some cannot be read."""
        epoch, position = divmod(step, self.steps_per_epoch)
        order = self._epoch_order(epoch)
        end = (position + 1) * self.batch_size
        size = getattr(self.transform, "decode_size", None)
        images, labels = self.dataset.fetch(self.indices(step), size)
        tried = self.batch_size
        while (missing := self.batch_size - len(labels)) > 0:
            if tried >= len(order):
                name = self.dataset.name
                raise DataError(f"{name}: too few readable images to fill a batch of {self.batch_size}")
            following = np.arange(end, end + missing) % len(order)
            more_images, more_labels = self.dataset.fetch(order[following], size)
            images, labels = [*images, *more_images], np.concatenate([labels, more_labels])
            end, tried = end + missing, tried + missing
        return images, labels

    def _epoch_order(self, epoch: int) -> np.ndarray:
        """A permutation of 0..N-1. The last is kept (N may be a million), as a tuple for thread safety."""
        known, order = self._order
        if known != epoch:
            order = np.random.default_rng((self.seed, epoch)).permutation(len(self.dataset))
            self._order = epoch, order
        return order


def eval_batches(
    dataset: Dataset, batch_size: int, transform: Transform, *, threads: int = 1, prefetch: int = 2
) -> Generator[Batch, None, None]:
    """Every image once, in the data set's order: (images (B, height, width, C) float32, labels (B,) int64).

    The last batch may be short, and any batch from which unreadable images were skipped; empty ones are left out.
    transform: called with the images alone, such as `Augment(image_size)`. The rest is as for `Loader`.
    """
    _check_counts(1, batch_size=batch_size, threads=threads)
    _check_counts(0, prefetch=prefetch)
    size = getattr(transform, "decode_size", None)

    def prepare(start: int) -> Batch | None:
        images, labels = dataset.fetch(np.arange(start, min(start + batch_size, len(dataset))), size)
        return (transform(images), labels) if len(labels) else None

    batches = ahead(prepare, range(0, len(dataset), batch_size), threads, prefetch)
    return (batch for batch in batches if batch is not None)


def _check_counts(least: int, **numbers: Any) -> None:
    for name, value in numbers.items():
        if not isinstance(value, Integral) or value < least:
            raise ConfigError(f"{name} is {value}, expected a whole number of at least {least}")
