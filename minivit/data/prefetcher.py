"""Copies batches from the CPU to the GPU while the GPU computes on the batch before."""

import contextlib
import importlib
from collections.abc import Generator, Iterator
from typing import Any, Self

import numpy as np

from minivit.backend import Array
from minivit.data.loader import Loader


class Prefetcher:
    """The batches of `loader` as arrays of `xp` (CuPy), each copied while the one before is in use.

    Iterate over it as over a loader that has an objective: batches are dicts. Two buffers on the GPU are filled in
    turn, so requesting the next batch overwrites the arrays of the last; copy what you need longer. Queue all work on a
    batch on the stream that is current when you request the next one.
    """

    def __init__(self, loader: Loader, xp: Any):
        self.loader, self.xp = loader, xp
        self._stream = xp.cuda.Stream(non_blocking=True)  # for the copies, beside the consumer's stream

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[dict[str, Array]]:
        return self._batches()

    def close(self) -> None:
        """Stop the background threads of every iteration that still runs."""
        self.loader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _batches(self) -> Generator[dict[str, Array], None, None]:
        current_stream = self.xp.cuda.get_current_stream
        buffers = Buffer(self.xp), Buffer(self.xp)
        ready: Buffer | None = None  # the one with the batch that the consumer gets next
        try:
            with contextlib.closing(self.loader.ahead(self.loader.batch)) as batches:
                for number, batch in enumerate(batches):
                    filled = buffers[number % 2]
                    filled.fill(batch, self._stream)
                    if ready is not None:
                        yield ready.take(current_stream())
                        ready.used.record(current_stream())
                    ready = filled
            if ready is not None:
                yield ready.take(current_stream())
        finally:
            self._stream.synchronize()  # no buffer is given back while it is being copied


class Buffer:
    """Memory for a batch in pinned host memory and on the GPU. Events mark when it may be overwritten."""

    def __init__(self, xp: Any):
        self.xp = xp
        self.copied = xp.cuda.Event()  # the copy to the GPU is done: pinned memory is free, the GPU's is full
        self.used = xp.cuda.Event()  # the consumer is done: the GPU's memory is free
        self._pinned: dict[str, np.ndarray] = {}
        self._arrays: dict[str, Array] = {}

    def fill(self, batch: dict[str, np.ndarray], stream: Any) -> None:
        """Queue the copy of a batch to the GPU; the host waits only until an earlier copy has left pinned memory."""
        self.copied.synchronize()
        if _kinds(self._pinned) != _kinds(batch):
            self._allocate(batch)
        stream.wait_event(self.used)
        for name, part in batch.items():
            self._pinned[name][...] = part
            self._arrays[name].set(self._pinned[name], stream=stream)
        self.copied.record(stream)

    def take(self, stream: Any) -> dict[str, Array]:
        """The batch; work queued on `stream` from now on waits for its copy."""
        stream.wait_event(self.copied)
        return dict(self._arrays)

    def _allocate(self, batch: dict[str, np.ndarray]) -> None:
        empty_pinned = importlib.import_module("cupyx").empty_pinned
        self._pinned = {name: empty_pinned(part.shape, part.dtype) for name, part in batch.items()}
        self._arrays = {name: self.xp.empty(part.shape, part.dtype) for name, part in batch.items()}
        # Their memory may be that of other arrays, which queued work still reads.
        self.used.record(self.xp.cuda.get_current_stream())


def _kinds(batch: dict[str, np.ndarray]) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    return {name: (part.shape, part.dtype) for name, part in batch.items()}
