"""Whether the data keep up with training, as lines, and the options that ask for it."""

import argparse
import math
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from minivit.bench import loading
from minivit.bench.workload import Workload
from minivit.errors import ConfigError


class Feeds(NamedTuple):
    """How fast a GPU trains: `images` per second, or floating-point operations per second on any model."""

    images: float | None
    flops: float | None

    def rate(self, load: Workload | None) -> float:
        """Images per second with a model: its work is that of `Workload.gflop`, three forward passes."""
        if self.images is not None:
            return self.images
        assert load is not None  # as `check` has made sure
        assert self.flops is not None
        return self.flops / (1e9 * load.gflop(training=True) / load.batch)


def add_options(add: Callable[..., Any]) -> None:
    """The options of the measurement."""
    add("--data", action="store_true", help="images per second of decoding, augmentation and loader, also per core")
    add(
        "--feeds",
        type=feeds,
        metavar="RATE",
        help="with --data: count the cores that feed a GPU that trains on RATE images/s, or, such as 300tflops, as "
        "fast as that makes --model: its peak times the share that training reaches",
    )


def feeds(text: str) -> Feeds:
    """ "2500" images or "300tflops", for argparse."""
    match = re.fullmatch(r"([0-9.]+(?:e[0-9]+)?)(tflops|tflop/s)?", text.strip().lower().replace(",", ""))
    try:
        value = float(match[1]) if match else 0.0
    except ValueError:
        value = 0.0
    if not match or not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f'"{text}", expected images a second, as 2500, or TFLOP/s, as 300tflops')
    return Feeds(None, 1e12 * value) if match[2] else Feeds(value, None)


def check(given: Feeds | None, data: bool, model: str | None) -> None:
    """Raise ConfigError for a rate without the measurement, and for work per second without a model."""
    if given and not data:
        raise ConfigError("--feeds counts cores for the rates that --data measures: give both")
    if given and given.flops and not model:
        raise ConfigError("--feeds in TFLOP/s needs the model that is trained, such as --model B/16")


def lines(given: Feeds | None, load: Workload | None) -> Iterator[str]:
    """The tables.   load: that of --model, or None."""
    height, width = load.model.image_size if load else (224, 224)
    rates = loading.file_rates((height, width))
    columns, rows = loading.PHOTO
    yield f"JPEG files of {columns} x {rows} pixels in a folder, crops of {width} x {height}"
    yield f"{'':52}{'threads':>8}{'images/s':>10}{'a core':>8}   (in a second of its time)"
    for (name, threads), rate in rates.items():
        yield f"{name:52}{threads:8}{rate.images:10,.0f}{rate.per_core:8,.0f}"
    if given:
        yield from needed(given.rate(load), given, load, rates)
    for preset in ("cifar10-10min", "cifar10"):
        speed = loading.array_rate(preset)
        yield f"32 x 32 in memory, augmentation of preset {preset}, one thread: {speed:,.0f} images/s"
    median, low, high = loading.loop_cost("cifar10-10min")  # the others take longer for a step, and prepare as fast
    yield f"training loop over bare steps, preset cifar10-10min: {median:.3f}  (quartiles {low:.3f} .. {high:.3f})"


def needed(
    rate: float, given: Feeds, load: Workload | None, rates: dict[tuple[str, int], loading.Rate]
) -> Iterator[str]:
    """How many cores each pipeline needs for a GPU that takes this many images a second."""
    how = "given" if given.flops is None or load is None else f"{load.name} at {given.flops / 1e12:g} TFLOP/s"
    yield f"modelled, not measured: a GPU that trains on {rate:,.0f} images/s ({how}) needs"
    most = max(threads for _, threads in rates)
    for (name, threads), found in rates.items():
        if threads == most:
            yield f"  {math.ceil(rate / found.per_core):,} cores like these for: {name}"
