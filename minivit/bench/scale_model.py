"""How long a training step takes on many ranks: a model of latency, bandwidth and overlap.

Each rank computes its share of the batch. The gradients are summed over all ranks, bucket by bucket, while the backward
pass goes on, the last layer first. A step takes the time to compute, the time in which it only waits for sums, and the
update of the weights:

    t(n) = t_compute(batch / n) + t_waiting(n) + t_update

The cost of a sum of M bytes over n ranks, with latency a and bandwidth B (`ring`, `halving`), follows Thakur,
Rabenseifner and Gropp, "Optimization of Collective Communication Operations in MPICH" (2005), whose formulas stand in
MPICH's sources, and Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations" (2009).
The additions themselves are not counted.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from minivit.models import ViTConfig
from minivit.models.cost import multiply_adds
from minivit.models.depths import layer_of
from minivit.models.families import build

BACKWARD = 2 / 3  # of a training step: the forward pass is one part, the backward pass two
NUMBER = 4  # bytes: gradients are float32 in every precision
UPDATE_PASSES = 8  # over an array of parameters: AdamW reads p, g, m, v and writes p, m, v; the norm reads g once more


@dataclasses.dataclass(frozen=True)
class Link:
    """latency: seconds for each message. bandwidth: bytes per second that one end sends while it receives as many."""

    latency: float
    bandwidth: float


Way = Callable[[int, float, Link], float]


def ring(ranks: int, size: float, link: Link) -> float:
    """Seconds to sum `size` bytes over a ring: 2 (n - 1) a + 2 (n - 1) / n M / B. Each part of the array travels around
    once to be summed and once to be handed out."""
    return 2 * (ranks - 1) * link.latency + 2 * (ranks - 1) / ranks * size / link.bandwidth


def halving(ranks: int, size: float, link: Link) -> float:
    """Seconds to sum `size` bytes by recursive halving and doubling: 2 log2(n) a + 2 (n - 1) / n M / B.

    Partners exchange half of the array, then a quarter, and so on, and the same way back. If n is not a power of two,
    the ranks beyond the next lower one send all they have to a partner first and get the sum at the end.
    """
    pairs = int(math.log2(ranks))
    power = 2**pairs
    time = 2 * pairs * link.latency + 2 * (power - 1) / power * size / link.bandwidth
    return time if power == ranks else time + 2 * (link.latency + size / link.bandwidth)


WAYS: dict[str, Way] = {"halving": halving, "ring": ring}


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Nodes of `per_node` ranks. between: the link of a whole node to the others. inside: the link of a rank within its
    node.

    A sum takes three steps: within each node every rank gets the sum of a part, the ranks sum these parts over the
    nodes, all at the same time, and then they hand them out within the node. The steps follow one another.
    """

    between: Link
    inside: Link
    per_node: int = 1
    way: Way = halving

    def all_reduce(self, ranks: int, size: float) -> float:
        """Seconds to sum `size` bytes over the ranks."""
        inside = self.way(min(ranks, self.per_node), size, self.inside)
        return inside + self.way(-(-ranks // self.per_node), size, self.between)


@dataclasses.dataclass(frozen=True)
class Layer:
    """work: its share of a pass. size: bytes of its gradients."""

    work: float
    size: float


@functools.cache
def layers(config: ViTConfig) -> tuple[Layer, ...]:
    """Embeddings, blocks, and the last norm with the head. The head's own products (0.01 % of ViT-L/16) count as the
    embeddings'."""
    sizes = [0.0] * (config.depth + 2)
    for name, parameter in build(config, seed=None).named_parameters():
        sizes[layer_of(name, config)] += NUMBER * parameter.size
    total = multiply_adds(config)
    block = (multiply_adds(dataclasses.replace(config, depth=config.depth + 1)) - total) / total
    works = [1 - config.depth * block, *[block] * config.depth, 0.0]
    return tuple(Layer(work, size) for work, size in zip(works, sizes, strict=True))


@dataclasses.dataclass(frozen=True)
class Step:
    """Seconds: of computing, the update included; of waiting for sums; of all sums, hidden or not."""

    compute: float
    waiting: float
    summing: float

    @property
    def seconds(self) -> float:
        """Of the whole step."""
        return self.compute + self.waiting


def simulate(
    parts: Sequence[Layer],
    compute: float,
    cost: Callable[[float], float],
    bucket: float,
    pieces: int = 1,
    overlap: float = 1.0,
    update: float = 0.0,
) -> Step:
    """One step of a rank.

    compute: seconds of its forward and backward passes. cost: seconds to sum so many bytes. bucket: bytes summed at a
    time, of the flat array of all gradients, the last layer first. pieces: of the rank's images; gradients are complete
    in the backward pass of the last piece only. overlap: 1 if a sum costs the computing ranks nothing, as on a network
    of its own; 0 if computing stands still meanwhile. update: seconds of the update.

    One link carries the buckets in order. A bucket is sent when the layer that completes it is done and the link is
    free.
    """
    last = BACKWARD * compute / pieces  # seconds of the backward pass that completes the gradients
    now, gathered = compute - last, 0.0
    ready: list[tuple[float, float]] = []  # when each bucket is complete, and its bytes
    for layer in reversed(parts):
        now += last * layer.work
        gathered += layer.size
        while gathered >= bucket:
            ready.append((now, bucket))
            gathered -= bucket
    if gathered:
        ready.append((now, gathered))
    free = summing = 0.0
    for complete, size in ready:
        took = cost(size)
        free = max(free, complete) + took
        summing += took
    late = max(0.0, free - compute)
    return Step(compute + update, overlap * late + (1 - overlap) * summing, summing)


@dataclasses.dataclass(frozen=True)
class Gpu:
    """What one rank computes with. flops: FLOP per second that training sustains. memory: bytes per second.

    The defaults are what docs/gpu.md predicts for an H200 in bf16: ViT-B/16 at a batch of 256 in 62 to 75 ms, which is
    360 to 435 TFLOP/s, and 4.3 TB/s.
    """

    flops: float = 400e12
    memory: float = 4.3e12


def training_step(
    config: ViTConfig, images: int, ranks: int, cluster: Cluster, gpu: Gpu, bucket: float, pieces: int = 1
) -> Step:
    """One step of a rank with so many images of its own. Small shares are assumed to run as fast, image by image."""
    parts = layers(config)
    compute = 3 * 2 * multiply_adds(config) * images / gpu.flops
    update = UPDATE_PASSES * sum(part.size for part in parts) / gpu.memory
    return simulate(parts, compute, lambda size: cluster.all_reduce(ranks, size), bucket, pieces, update=update)


def fitted(ranks: int, seconds: Mapping[int, float], way: Way = halving) -> Link:
    """The link for which `way` comes nearest to measured seconds by size in bytes, relative to each of them."""
    latency_part = way(ranks, 0, Link(1.0, 1.0))
    rows = [(latency_part / time, way(ranks, size, Link(0.0, 1.0)) / time) for size, time in seconds.items()]
    (latency, per_byte), *_ = np.linalg.lstsq(np.array(rows), np.ones(len(rows)), rcond=None)
    return Link(max(float(latency), 0.0), 1 / max(float(per_byte), 1e-15))
