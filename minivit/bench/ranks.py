"""A training step on several ranks of this machine: what it takes, what the sums of gradients cost, and what the model
of `scale_model` predicts from one rank alone and from sums of a few sizes."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from minivit.backend.cores import available_cores
from minivit.bench.compare import Contestant, Timing, interleave, ratio
from minivit.bench.scale_model import Link, Step, fitted, halving, layers, simulate
from minivit.bench.workload import Workload
from minivit.errors import ConfigError
from minivit.ranks.sums import BUCKETS, LEAST
from minivit.runs.numerics import pieces_per_worker

SIZES = tuple(4**i for i in range(1, 13))  # bytes of sums: 4 to 16 MB
CROWD = 4  # ranks on a core, at most
AIM = 1.1  # two ranks with one worker each, at most so many times the time of one process with two workers


@dataclasses.dataclass(frozen=True)
class Measured:
    """Steps of the whole batch on so many ranks, one worker each.

    timing: the step. apart: the same without sums. alone: one rank with its share of the batch, while the others
    rest. threads: one process with as many workers, if there are so many cores. link: the sums of these ranks.
    """

    ranks: int
    timing: Timing
    apart: Timing
    alone: Timing
    threads: Timing | None
    link: Link | None


def measure(load: Workload, counts: Sequence[int], rounds: int, options: Mapping[str, Any]) -> list[Measured]:
    """Take turns with every number of ranks. Raises ConfigError if a rank would have no image, BackendError without
    MPI, MinivitError if a process ends."""
    if uneven := [n for n in counts if load.batch % n]:
        raise ConfigError(
            f"--ranks {uneven[0]}: a batch of {load.batch} has no equal parts for them; give another --batch"
        )
    if counts[-1] > CROWD * available_cores():
        raise ConfigError(
            f"--ranks {counts[-1]}: this machine has {available_cores()} cores, and more than {CROWD} ranks on each "
            "say nothing; --modelled-ranks models larger numbers"
        )
    if options["workers"]:
        raise ConfigError("--ranks gives each rank one worker: leave out --workers")
    counts = sorted({1, *counts})
    links = {n: link_of(load, n) for n in counts if n > 1}
    timings = interleave(contestants(load, counts, options), rounds)
    first = timings[f"alone {counts[0]}"]
    return [
        Measured(
            n,
            timings.get(f"ranks {n}", first),
            timings.get(f"apart {n}", first),
            timings[f"alone {n}"],
            timings.get(f"threads {n}"),
            links.get(n),
        )
        for n in counts
    ]


def contestants(load: Workload, counts: Sequence[int], options: Mapping[str, Any]) -> dict[str, Contestant]:
    """The steps of `Measured`, by name and number of ranks."""
    found = {}
    for n in counts:
        how = {**options, "workers": 1}
        share = dataclasses.replace(load, batch=-(-load.batch // n))
        found[f"alone {n}"] = Contestant("ranks", share, True, how, ranks=1)
        if n > 1:
            found[f"ranks {n}"] = Contestant("ranks", load, True, how, ranks=n)
            found[f"apart {n}"] = Contestant("ranks", load, True, {**how, "sums": False}, ranks=n)
        if 1 < n <= available_cores():
            found[f"threads {n}"] = Contestant("minivit", load, True, {**options, "workers": n})
    return found


def link_of(load: Workload, ranks: int) -> Link:
    """The latency and bandwidth that fit the sums of these ranks."""
    least = dataclasses.replace(load, batch=ranks)
    with Contestant("ranks", least, True, {"workers": 1}, ranks=ranks).start() as child:
        return fitted(ranks, {size: child.ask(f"sum {size}") for size in SIZES})


def predicted(load: Workload, measured: Measured, compute: float, accumulate: int | None) -> Step:
    """The step by the model. compute: seconds of a rank without sums. If every core has a rank, a sum takes time from
    computing, so nothing overlaps."""
    n, link = measured.ranks, measured.link
    images = -(-load.batch // n)
    pieces = accumulate or pieces_per_worker(images, load.model.num_tokens, 1)
    overlap = 1.0 if n < available_cores() else 0.0
    cost = lambda size: halving(n, size, link) if link else 0.0
    parts = layers(load.model)
    return simulate(parts, compute, cost, bucket(sum(part.size for part in parts)), pieces, overlap)


def bucket(size: float) -> float:
    """Bytes that `GradientSum` adds at a time, if the gradients have `size`; it ends each with a whole array."""
    return max(4.0 * LEAST, size / BUCKETS)


def report(load: Workload, counts: Sequence[int], rounds: int, options: Mapping[str, Any]) -> Iterator[str]:
    """Lines: the measurement, the model beside it, and the ratio of ranks to threads."""
    cores, results = available_cores(), measure(load, counts, rounds, options)
    size = sum(layer.size for layer in layers(load.model))
    yield (
        f"{load.name} training step, measured: batch {load.batch} shared by all ranks, one worker each, {cores} cores; "
        f"{size / 1e6:.1f} MB of gradients"
    )
    yield f"{'ranks':>6}{'ms':>9}{'images/s':>10}{'efficiency':>12}{'waiting':>9}{'MB sent':>9}{'peak MB':>9}"
    one = results[0].ranks * results[0].timing.median
    for row in results:
        n, t = row.ranks, row.timing
        sent = 2 * (n - 1) / n * size / 1e6
        yield (
            f"{n:5}{'*' if n > cores else ' '}{1e3 * t.median:9.1f}{load.batch / t.median:10.1f}"
            f"{one / (n * t.median):12.0%}{t.waited / t.median:9.1%}{sent:9.1f}{t.peak_memory:9.0f}"
        )
    if counts[-1] > cores:
        yield f"* more ranks than the {cores} cores, which they share: the efficiency says nothing about more machines"
    for row in results:
        yield from _comparison(load, row, options)
    for row in results:
        if row.threads:
            median, low, high = ratio(row.timing, row.threads)
            verdict = f"; at most {AIM} is the aim" if row.ranks == 2 else ""
            yield (
                f"{row.ranks} ranks with one worker each / one process with {row.ranks} workers: {median:.3f} "
                f"(half of {rounds} rounds in {low:.3f} .. {high:.3f}){verdict}"
            )


def _comparison(load: Workload, row: Measured, options: Mapping[str, Any]) -> Iterator[str]:
    """The model beside the measurement."""
    if row.link is None:
        return
    n, seconds = row.ranks, row.timing.median
    crowd = max(1.0, n / available_cores())
    guess = predicted(load, row, crowd * row.alone.median, options["accumulate"])
    better = predicted(load, row, row.apart.median, options["accumulate"])
    yield (
        f"model, {n} ranks: sums of {1e6 * row.link.latency:.1f} us latency, {row.link.bandwidth / 1e9:.1f} GB/s take "
        f"{1e3 * guess.summing:.1f} ms"
    )
    yield (
        f"  from one rank alone, {1e3 * row.alone.median:.1f} ms{f' x {crowd:g}' if crowd > 1 else ''}: predicted "
        f"{1e3 * guess.seconds:.1f}, measured {1e3 * seconds:.1f} ms ({seconds / guess.seconds - 1:+.1%})"
    )
    yield (
        f"  from all ranks at once without sums, {1e3 * row.apart.median:.1f} ms: predicted "
        f"{1e3 * better.seconds:.1f} ms ({seconds / better.seconds - 1:+.1%})"
    )
