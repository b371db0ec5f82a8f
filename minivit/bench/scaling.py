"""How the time and memory of a training step grow with its size."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from minivit.backend.cores import available_cores
from minivit.bench.compare import Contestant, Timing, interleave
from minivit.bench.workload import Workload

# Heads keep their width; patches are per side of the image.
BATCHES, DEPTHS, HEADS, PATCHES = (32, 64, 128, 256, 512), (3, 6, 12), (1, 2, 4, 8), (4, 8, 16)


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Training steps that differ in one number, `what`; `results` by its value, smallest first."""

    what: str
    loads: dict[int, Workload]
    results: dict[int, Timing]

    def rows(self) -> Iterator[tuple[int, Timing, float, float]]:
        """Value, timing, and the growth of work and of time since the row before."""
        before = None
        for value, load in self.loads.items():
            work, timing = load.gflop(training=True, class_row_only=True), self.results[value]
            if before is None:
                yield value, timing, 1.0, 1.0
            else:
                yield value, timing, work / before[0], timing.median / before[1]
            before = work, timing.median


def sweeps(base: Workload, rounds: int, options: Mapping[str, Any]) -> Iterator[Sweep]:
    """Batch, depth, width, tokens and workers in turn, the rest as in `base`."""
    change, model = dataclasses.replace, base.model
    head_width, patch = model.width // model.heads, model.patch_size
    models = {
        "depth": [change(model, depth=n) for n in DEPTHS],
        "width": [
            change(model, heads=n, width=n * head_width, mlp_width=n * model.mlp_width // model.heads) for n in HEADS
        ],
        "num_tokens": [change(model, image_size=(n * patch[0], n * patch[1])) for n in PATCHES],
    }
    loads = {"batch": {n: change(base, batch=n) for n in BATCHES}}
    loads |= {what: {getattr(m, what): change(base, model=m) for m in some} for what, some in models.items()}
    for what, some in loads.items():
        contestants = {str(n): Contestant("minivit", load, True, options) for n, load in some.items()}
        yield _measure(what.replace("num_", ""), some, contestants, rounds)
    counts = [n for n in (1, 2, 4, 8, 16, 32) if n <= available_cores()]
    contestants = {str(n): Contestant("minivit", base, True, {**options, "workers": n}) for n in counts}
    yield _measure("workers", dict.fromkeys(counts, base), contestants, rounds)


def _measure(what: str, loads: dict[int, Workload], contestants: Mapping[str, Contestant], rounds: int) -> Sweep:
    timings = interleave(contestants, rounds)
    return Sweep(what, loads, {value: timings[str(value)] for value in loads})
