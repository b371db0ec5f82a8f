"""Batch normalisation: the learned parameters of a layer, and its running statistics.

In training, mean and variance are those of the current batch. A step cuts its batch into pieces, which pass through the
layer in several threads at once: then each piece is normalised by its own ("ghost batch norm", Hoffer et al. 2017). No
thread may change the running statistics, or the result would depend on the order. So a layer only records its own,
in the dictionary of its own thread, and the running mean and variance change once an update, by the mean over the
pieces:

    with batch_statistics() as seen:                                  # in `forward` of an objective
        logits = network(images)
    return logits, statistics_rows(network, seen, len(logits.data))
    ...
    return {"statistics": outputs[1].data.sum(axis=0)}                # in `sums`
    ...
    update_running(network, means["statistics"])                      # in `after_update`
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

from minivit import functional as F
from minivit.backend import Array, xp_of
from minivit.nn import initialisers as init
from minivit.nn.module import Module
from minivit.tensor import Tensor

Seen = dict["BatchNorm", dict[str, Array]]
_SEEN: ContextVar[Seen | None] = ContextVar("batch_statistics", default=None)


class BatchNorm(Module):
    """Normalise each channel over all examples and pixels, then scale and shift (Ioffe & Szegedy 2015).

    x: (..., C) -> the same shape. Training uses the mean and variance of x itself, with at least two values a channel.
    Evaluation and frozen layers use the running ones, which `update_running` moves by `momentum` towards the observed
    values: r <- (1 - momentum) r + momentum r_seen, PyTorch's convention (others call 1 - momentum so). The running
    variance is unbiased, as PyTorch's. gain: initial value of the scale; 0 silences a residual branch.
    """

    def __init__(
        self, channels: int, dtype: str = "float32", momentum: float = 0.1, eps: float = 1e-5, gain: float = 1.0
    ):
        self.scale = init.parameter(init.constant(gain, (channels,)), dtype)
        self.bias = init.parameter(init.constant(0, (channels,)), dtype)
        # Of these two nothing is learned.
        self.running_mean = init.parameter(init.constant(0, (channels,)), dtype).detach()
        self.running_variance = init.parameter(init.constant(1, (channels,)), dtype).detach()
        self.momentum = momentum
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            running = self.running_mean.data, self.running_variance.data
            return F.batch_norm(x, self.scale, self.bias, running, self.eps)
        found: dict[str, Array] = {}
        y = F.batch_norm(x, self.scale, self.bias, eps=self.eps, found=found)
        seen = _SEEN.get()
        if seen is not None:
            seen[self] = found
        return y


@contextlib.contextmanager
def batch_statistics() -> Iterator[Seen]:
    """In this context and thread, every BatchNorm in training records its "mean" and "variance", (C,) each. If a layer
    is used twice, the last use counts. Blocks recomputed in the backward pass record nothing."""
    seen: Seen = {}
    token = _SEEN.set(seen)
    try:
        yield seen
    finally:
        _SEEN.reset(token)


def statistics_rows(network: Module, seen: Seen, examples: int) -> Tensor:
    """(examples, S): mean and variance of every BatchNorm in `network` side by side, the running ones of layers that
    recorded nothing. All rows are equal, so their mean over a batch weights its pieces by size."""
    parts = []
    for layer in _layers(network):
        noted = seen.get(layer, {"mean": layer.running_mean.data, "variance": layer.running_variance.data})
        parts += [noted["mean"], noted["variance"]]
    xp = xp_of(parts[0])
    row = xp.concatenate(parts)
    return Tensor(xp.broadcast_to(row, (examples, len(row))))


def update_running(network: Module, statistics: Array) -> None:
    """Move the running mean and variance of every BatchNorm in training towards `statistics`, (S,), a row of
    `statistics_rows`."""
    start = 0
    for layer in _layers(network):
        for running in (layer.running_mean.data, layer.running_variance.data):
            new = statistics[start : start + len(running)]
            start += len(running)
            if layer.training:
                running += layer.momentum * (new - running)


def _layers(network: Module) -> list[BatchNorm]:
    below = [layer for _, child in network.named_children() for layer in _layers(child)]
    return [network, *below] if isinstance(network, BatchNorm) else below
