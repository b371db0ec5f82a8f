"""What the model of many ranks says about named networks, as tables in Markdown, and the options that ask for it."""

import argparse
import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from minivit import cli
from minivit.bench import ranks
from minivit.bench.scale_model import WAYS, Cluster, Gpu, Link, Step, layers, training_step
from minivit.bench.workload import Workload
from minivit.errors import ConfigError, meant
from minivit.models import ViTConfig
from minivit.models.cost import multiply_adds

GOODPUT = 0.85  # of the line rate that messages get: a copy from one H100 to another gets 380 of 450 GB/s


@dataclasses.dataclass(frozen=True)
class Network:
    """words: what it is. gigabits: line rate of a node in Gbit/s, each way. microseconds: latency of a message. within:
    it joins only the GPUs of a node, and the line rate is that of each."""

    words: str
    gigabits: float
    microseconds: float
    within: bool = False

    @property
    def link(self) -> Link:
        """In seconds and bytes, as messages see it."""
        return Link(1e-6 * self.microseconds, GOODPUT * 1e9 / 8 * self.gigabits)


# Line rates are those of the standards. Latencies, from a program to another over one switch, are assumptions.
NETWORKS = {
    "10gbe": Network("10 Gbit Ethernet, TCP", 10, 30),
    "25gbe": Network("25 Gbit Ethernet, TCP", 25, 30),
    "100gbe": Network("100 Gbit Ethernet, RDMA", 100, 5),
    "hdr": Network("InfiniBand HDR", 200, 2),
    "ndr": Network("InfiniBand NDR", 400, 2),
    "ndr-x8": Network("InfiniBand NDR, eight adapters in a node", 8 * 400, 2),
    "nvlink": Network("NVLink 4, each GPU, within a node", 8 * 450, 3, within=True),
}

MODELS = ("B/16", "L/16")
RANKS = (8, 16, 32, 64, 128, 256, 512, 1024)
OPTIONS = (
    "network", "modelled_ranks", "latency", "bandwidth", "gpu_tflops", "ranks_per_node", "bucket_mb", "all_reduce",
)  # fmt: skip
BATCH = 4096  # of the paper's pre-training (Table 3)
PER_NODE, BUCKET = 8, 25e6  # GPUs in a node; bytes
MOST_RANKS, LEAST_BUCKET = 10**6, 0.1  # MB
SHARE = 256  # images of a rank that grows with the number of ranks


def add_options(p: argparse.ArgumentParser) -> None:
    """The options of the measurement on several ranks, and of the model."""
    add = p.add_argument_group("several ranks (instead)").add_argument
    add(
        "--ranks",
        type=rank_counts,
        metavar="N,N",
        help="time a step on N processes under mpirun, then model larger numbers",
    )
    add("--network", metavar="NAMES", help=f"model only: one or more of {', '.join(NETWORKS)}, or all")
    add("--modelled-ranks", type=rank_counts, metavar="N,N", help="numbers of ranks in the model (default: 8 to 1024)")
    add("--latency", type=above_zero, metavar="US", help="microseconds for each message, instead of the network's")
    add("--bandwidth", type=above_zero, metavar="GB", help="GB/s that messages of a node get, instead of the network's")
    add("--gpu-tflops", type=above_zero, metavar="N", help="that training sustains on one GPU (default: 400)")
    add("--ranks-per-node", type=cli.positive, metavar="N", help="GPUs joined by NVLink (default: 8)")
    add("--bucket-mb", type=bucket, metavar="N", help="gradients that are summed at a time (default: 25)")
    add("--all-reduce", choices=tuple(WAYS), help="pattern of the messages (default: halving)")


def asked(args: argparse.Namespace) -> bool:
    """Whether an option of this page was given."""
    return args.ranks is not None or any(getattr(args, name) is not None for name in OPTIONS)


def rank_counts(text: str) -> tuple[int, ...]:
    """Numbers of ranks, "1,2,4", smallest first, for argparse."""
    values = sorted({cli.positive(part) for part in text.split(",")})
    if values[-1] > MOST_RANKS:
        raise argparse.ArgumentTypeError(f"{values[-1]} ranks, expected at most {MOST_RANKS:,}")
    return tuple(values)


def bucket(text: str) -> float:
    """Megabytes of a bucket, for argparse. Smaller ones would take the model minutes, and no program uses them."""
    value = above_zero(text)
    if value < LEAST_BUCKET:
        raise argparse.ArgumentTypeError(f'"{text}", expected at least {LEAST_BUCKET}')
    return value


def above_zero(text: str) -> float:
    """A finite number above 0, for argparse."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f'"{text}", expected a number above 0')
    return value


def networks(names: str | None, latency: float | None, bandwidth: float | None) -> dict[str, Network]:
    """The networks by name; with a latency (us) or a bandwidth (GB/s) of its own, one. Raises ConfigError."""
    chosen = list(NETWORKS) if names in (None, "all") else [name for name in str(names).split(",") if name]
    if not chosen:
        raise ConfigError(f"--network names no network; expected {', '.join(NETWORKS)}, or all")
    for name in chosen:
        if name not in NETWORKS:
            known = [*NETWORKS, "all"]
            raise ConfigError(f'--network: unknown network "{name}"; expected {", ".join(known)}{meant(name, known)}')
    if latency is None and bandwidth is None:
        return {name: NETWORKS[name] for name in chosen}
    if len(chosen) != 1:
        raise ConfigError("--latency and --bandwidth change one network: name it with --network")
    base = NETWORKS[chosen[0]]
    given = Network(
        f"{base.words}, changed",
        base.gigabits if bandwidth is None else 8 * bandwidth / GOODPUT,
        base.microseconds if latency is None else latency,
        base.within,
    )
    return {f"{chosen[0]}*": given}


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is the same for all rows of a table. pieces: of a rank's images, see `simulate`."""

    gpu: Gpu
    per_node: int
    bucket: float
    way: str
    pieces: int = 1

    def step(self, config: ViTConfig, images: int, ranks: int, network: Network) -> Step:
        """One step of a rank with so many images."""
        per_node = 1 if network.within else self.per_node  # each GPU has a link of its own
        cluster = Cluster(network.link, NETWORKS["nvlink"].link, per_node, WAYS[self.way])
        return training_step(config, images, ranks, cluster, self.gpu, self.bucket, self.pieces)


def modelled(
    models: Mapping[str, ViTConfig],
    chosen: Mapping[str, Network],
    counts: Sequence[int],
    batch: int,
    share: int,
    setting: Setting,
) -> Iterator[str]:
    """Lines: the assumptions, then for each model one table with a fixed batch and one with a fixed share of a rank."""
    yield (
        f"Modelled, not measured. {setting.gpu.flops / 1e12:.0f} TFLOP/s on each GPU; {setting.per_node} GPUs in a "
        f"node, joined by NVLink; buckets of {setting.bucket / 1e6:.0f} MB; all-reduce by {setting.way}."
    )
    yield ""
    yield "| network | | GB/s, each way | latency, us |"
    yield "|---|---|---|---|"
    for name, network in chosen.items():
        yield f"| {name} | {network.words} | {network.link.bandwidth / 1e9:.1f} | {network.microseconds:g} |"
    for name, config in models.items():
        size = sum(layer.size for layer in layers(config))
        yield ""
        yield (
            f"{name}, {config.image_size[0]} x {config.image_size[1]}: {size / 4e6:.1f} million parameters, "
            f"{size / 1e6:.0f} MB of gradients, {6e-9 * multiply_adds(config):.0f} GFLOP for an image in training."
        )
        for images, what in ((None, f"{batch:,} images in a step"), (share, f"{share:,} images for each rank")):
            yield ""
            yield from _table(f"{name}: {what}", config, chosen, counts, batch, images, setting)


def _table(
    title: str,
    config: ViTConfig,
    chosen: Mapping[str, Network],
    counts: Sequence[int],
    batch: int,
    share: int | None,
    setting: Setting,
) -> Iterator[str]:
    """ms per step and efficiency: the speed of a rank, compared with a rank alone."""
    yield f"| {title}; ranks: | " + " | ".join(f"{n:,}" for n in counts) + " |"
    yield "|---" * (len(counts) + 1) + "|"
    for name, network in chosen.items():
        cells = []
        for n in counts:
            if network.within and n > setting.per_node:
                cells.append("")
                continue
            step = setting.step(config, share or -(-batch // n), n, network)
            alone = setting.step(config, share or batch, 1, network)
            ideal = alone.seconds / (1 if share else n)
            cells.append(f"{1e3 * step.seconds:,.1f} ms, {ideal / step.seconds:.0%}")
        yield f"| {name} | " + " | ".join(cells) + " |"


def lines(args: argparse.Namespace, loads: Sequence[Workload], options: Mapping[str, Any]) -> Iterator[str]:
    """What the options ask for: the measurement on this machine, then the model. options: of our engine. Raises
    ConfigError before anything is measured."""
    if not asked(args):
        return
    models = {load.name: load.model for load in loads if args.model or (args.workloads and not args.ranks)}
    chosen = networks(args.network, args.latency, args.bandwidth)
    setting = Setting(
        Gpu() if args.gpu_tflops is None else Gpu(1e12 * args.gpu_tflops),
        args.ranks_per_node or PER_NODE,
        BUCKET if args.bucket_mb is None else 1e6 * args.bucket_mb,
        args.all_reduce or "halving",
        1 if args.ranks else args.accumulate or 1,
    )
    batch = BATCH if args.ranks else args.batch or BATCH
    for load in loads if args.ranks else ():
        yield from ranks.report(load, args.ranks, args.rounds, options)
        yield ""
    models = models or {name: ViTConfig.variant(name) for name in MODELS}
    yield from modelled(models, chosen, args.modelled_ranks or RANKS, batch, SHARE, setting)
