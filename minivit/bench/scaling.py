"""How the time and memory of a training step grow with its size."""

import dataclasses
from collections.abc import Iterator, Sequence

from minivit.bench.compare import Contestant, Timing, interleave
from minivit.bench.workload import Workload

BATCHES, DEPTHS, WIDTHS, IMAGE_SIZES = (32, 64, 128, 256, 512), (3, 6, 12), (64, 128, 256, 512), (16, 32, 64)


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
            work, timing = load.gflop(training=True), self.results[value]
            if before is None:
                yield value, timing, 1.0, 1.0
            else:
                yield value, timing, work / before[0], timing.median / before[1]
            before = work, timing.median


def sweeps(base: Workload, rounds: int) -> Iterator[Sweep]:
    """Batch, depth, width, tokens and workers in turn, the rest as in `base`."""
    model = base.model
    changed = dataclasses.replace
    yield _sweep("batch", {n: changed(base, batch=n) for n in BATCHES}, rounds)
    yield _sweep("depth", {n: changed(base, model=changed(model, depth=n)) for n in DEPTHS}, rounds)
    widths = {n: changed(model, width=n, mlp_width=n * model.mlp_width // model.width) for n in WIDTHS}
    yield _sweep("width", {n: changed(base, model=m) for n, m in widths.items()}, rounds)
    sizes = [changed(model, image_size=n) for n in IMAGE_SIZES]
    yield _sweep("tokens", {m.num_tokens: changed(base, model=m) for m in sizes}, rounds)
    yield _sweep("workers", {1: base, 2: base}, rounds, workers=(1, 2))


def _sweep(what: str, loads: dict[int, Workload], rounds: int, workers: Sequence[int] = ()) -> Sweep:
    options = {value: {"workers": value} if workers else {} for value in loads}
    contestants = {str(value): Contestant("minivit", load, True, options[value]) for value, load in loads.items()}
    timings = interleave(contestants, rounds)
    return Sweep(what, loads, {value: timings[str(value)] for value in loads})
