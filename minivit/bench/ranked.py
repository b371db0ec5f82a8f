"""The training step of this project on several ranks: the engine that `minivit.bench --ranks` starts under mpirun."""

import importlib
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, TextIO

import numpy as np

from minivit.backend.kernels import kernels as use_kernels
from minivit.bench.engines import Minivit
from minivit.bench.workload import Workload
from minivit.ranks import Ranks
from minivit.ranks.sums import GradientSum
from minivit.runs.numerics import pieces_per_worker
from minivit.update.host import HostStep
from minivit.update.objective import Classification

POLL = 0.02  # seconds between two looks for a request: ranks that have nothing to do must leave the cores to others
REPEATS = 25
LONGEST = 32  # bytes of a request


class Ranked(Minivit):
    """One of several ranks, with its part of every batch.   sums: False to leave out the sum over the ranks."""

    def __init__(self, load: Workload, training: bool, ranks: Ranks, sums: bool = True, **options: Any):
        super().__init__(load, training, **options)
        images = load.batch // ranks.count
        part = slice(ranks.rank * images, (ranks.rank + 1) * images)
        self.batch = {"images": self.images[part], "labels": self.labels[part]}
        self.first = ranks.rank == 0
        self.ranks: Any = ranks
        pieces = options.get("accumulate") or pieces_per_worker(images, load.model.num_tokens, self.workers.count)
        self.host = HostStep(
            Classification(self.model),
            self.optimizer,
            accumulate=pieces,
            workers=self.workers,
            ranks=ranks if sums else None,
        )
        self.replies: dict[str, Callable[..., float]] = {"sum": self.sum_seconds, "waited": self.waited}
        self._waits = stopwatch(GradientSum, "finish")

    def __call__(self) -> object:
        with use_kernels(self.kernels):
            self.host.update(self.batch)
        return self.host.read()

    def requests(self, lines: TextIO) -> Iterator[str]:
        """The lines of the first rank, for all ranks, until there are no more. Each begins at the same time."""
        if self.ranks.count == 1:
            yield from lines
            return
        comm = importlib.import_module("mpi4py.MPI").COMM_WORLD.Dup()
        while True:
            line = lines.readline() if self.first else ""
            text = np.frombuffer(line.encode().ljust(LONGEST, b"\0"), np.uint8).copy()
            handed = comm.Ibcast(text)
            while not handed.Test():
                time.sleep(POLL)
            request = text.tobytes().rstrip(b"\0").decode()
            if not request:
                return
            comm.Barrier()
            yield request

    def sum_seconds(self, size: int) -> float:
        """Seconds in which the ranks sum `size` bytes as they sum gradients: the lower quartile."""
        array = np.zeros(max(1, size // 4), np.float32)
        times = []
        for _ in range(REPEATS + 2):  # the first ones touch memory
            self.ranks.joined(array[:1])  # they begin together
            begin = time.perf_counter()
            self.ranks._add(array)
            times.append(time.perf_counter() - begin)
        return statistics.quantiles(times[2:], n=4)[0]

    def waited(self) -> float:
        """Seconds per step between the end of this rank's own work and the end of the last sum, the median."""
        return statistics.median(self._waits or [0.0])


def stopwatch(kind: type, method: str) -> list[float]:
    """Seconds of every call of the method, from now on."""
    seconds: list[float] = []
    inner = getattr(kind, method)

    def timed(*args: Any) -> Any:
        begin = time.perf_counter()
        try:
            return inner(*args)
        finally:
            seconds.append(time.perf_counter() - begin)

    setattr(kind, method, timed)
    return seconds
