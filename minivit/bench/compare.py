"""Engines side by side: their steps take turns, and the result is the ratio of neighbours."""

import contextlib
import dataclasses
import statistics
import time
from collections.abc import Mapping
from typing import Any

from minivit.bench.process import EngineProcess
from minivit.bench.workload import Workload

PAUSE = 0.05  # seconds between engines, in which the waiting threads of the last one fall asleep
BLOCK = 0.5  # seconds: shorter steps are timed several at a time


@dataclasses.dataclass(frozen=True)
class Contestant:
    """An entrant: an engine's name in `engines.ENGINES`, or in `gpu_engines.GPU_ENGINES` for the backend "cupy", its
    work, and its options. ranks: run under mpirun, as so many processes; 0: without it."""

    engine: str
    load: Workload
    training: bool
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    backend: str = "numpy"
    ranks: int = 0

    def start(self) -> EngineProcess:
        """Start its process."""
        under = {"ranks": self.ranks} if self.ranks else {}
        return EngineProcess(self.engine, self.load, self.training, self.options, self.backend, **under)


@dataclasses.dataclass(frozen=True)
class Timing:
    """The measurements: seconds per step in each round, peak memory in MB, seconds per step spent waiting for sums."""

    seconds: list[float]
    peak_memory: float
    waited: float = 0.0

    @property
    def median(self) -> float:
        """Seconds per step."""
        return statistics.median(self.seconds)


def interleave(contestants: Mapping[str, Contestant], rounds: int) -> dict[str, Timing]:
    """Time each contestant `rounds` times, in turns. Raises MinivitError if one fails."""
    with contextlib.ExitStack() as stack:
        children = {name: stack.enter_context(contestant.start()) for name, contestant in contestants.items()}
        steps = {}
        for name, child in children.items():
            child.run()  # the first step compiles, allocates, touches memory
            steps[name] = max(1, round(BLOCK / child.run()))
        seconds: dict[str, list[float]] = {name: [] for name in children}
        for i in range(rounds):
            for name in [*children][i % len(children) :] + [*children][: i % len(children)]:  # another first each round
                time.sleep(PAUSE)
                seconds[name].append(children[name].run(steps[name]))
        waited = {name: child.ask("waited") if contestants[name].ranks else 0.0 for name, child in children.items()}
        return {name: Timing(seconds[name], child.peak_memory(), waited[name]) for name, child in children.items()}


def ratio(ours: Timing, theirs: Timing) -> tuple[float, float, float]:
    """Our time over theirs, round by round: median, lower and upper quartile."""
    ratios = [a / b for a, b in zip(ours.seconds, theirs.seconds, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    return middle, low, high
