"""Engines side by side: their steps take turns, and the result is the ratio of neighbours."""

import contextlib
import dataclasses
import statistics
import time
from collections.abc import Sequence
from typing import Any

from minivit.bench.process import EngineProcess
from minivit.bench.workload import Workload

PAUSE = 0.05  # seconds between engines, in which the waiting threads of the last one fall asleep
BLOCK = 0.5  # seconds: shorter steps are timed several at a time


@dataclasses.dataclass(frozen=True)
class Timing:
    """What was measured of one engine: seconds per step in each round, most memory held in MB."""

    engine: str
    seconds: list[float]
    peak_memory: float

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def interleave(
    engines: Sequence[str], load: Workload, training: bool, rounds: int = 9, **options: Any
) -> dict[str, Timing]:
    """Time each engine `rounds` times, in turns. options: for minivit's engine. Raises MinivitError if one fails."""
    with contextlib.ExitStack() as stack:
        children = {
            name: stack.enter_context(EngineProcess(name, load, training, **(options if name == "minivit" else {})))
            for name in engines
        }
        blocks = {}
        for name, child in children.items():
            child.run()  # the first step compiles, allocates, touches memory
            blocks[name] = max(1, round(BLOCK / child.run()))
        seconds: dict[str, list[float]] = {name: [] for name in engines}
        for _ in range(rounds):
            for name, child in children.items():
                time.sleep(PAUSE)
                seconds[name].append(child.run(blocks[name]))
        return {name: Timing(name, seconds[name], child.peak_memory()) for name, child in children.items()}


def ratio(ours: Timing, theirs: Timing) -> tuple[float, float, float]:
    """Our time over theirs, round by round: median, lower and upper quartile."""
    ratios = [a / b for a, b in zip(ours.seconds, theirs.seconds, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    return middle, low, high
