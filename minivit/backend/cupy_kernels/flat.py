"""All parameters as views of one flat array, so that an update is one kernel, and so is the norm of the gradients."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from minivit.backend.arrays import Array, xp_of
from minivit.backend.cupy_kernels.launch import Launcher, aligned, kernel

MAX_TENSORS = 170  # of one launch of gather_gradients: their table is an argument by value, of at most 4 KiB
ALIGNMENT = 4  # floats: 16 bytes
THREADS = 256
# Places in `scalars`, of which the host sends the first eight; see cuda/optimizer.cu.
LR, CORRECTION_1, EMA_RATE, CLIP, NORM = 0, 5, 7, 8, 9
SENT, NUM_SCALARS = 8, 10


class FlatParameters:
    """Float32 arrays moved into one flat array, those that decay first, and space for their gradients.

    views: the arrays' new homes, in the order given; scalars: what the update kernels read (learning rate, ...), on the
    device. Raises TypeError for arrays that are not float32.
    """

    def __init__(self, arrays: Sequence[Array], decays: Sequence[bool]):
        if wrong := [x.dtype for x in arrays if x.dtype != "float32"]:
            raise TypeError(f"FlatParameters: arrays must be float32, one is {wrong[0]}")
        xp = xp_of(arrays[0])
        self.order = sorted(range(len(arrays)), key=lambda i: not decays[i])  # stable
        self.shapes = [x.shape for x in arrays]
        lengths = [-(-arrays[i].size // ALIGNMENT) * ALIGNMENT for i in self.order]
        self.starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self.size = int(self.starts[-1])
        self.decayed = int(self.starts[sum(map(bool, decays))])
        self.data, self.gradients = xp.zeros(self.size, "float32"), xp.zeros(self.size, "float32")
        self.views = self.views_of(self.data)
        for view, array in zip(self.views, arrays, strict=True):
            view[...] = array
        self.grid = _kernel("adamw").blocks(-(-self.size // (ALIGNMENT * THREADS)), THREADS)
        tables = -(-len(arrays) // MAX_TENSORS)
        self.partial = xp.zeros(tables * self.grid, "float32")
        self.scalars = xp.zeros(NUM_SCALARS, "float32")

    def views_of(self, flat: Array) -> list[Array]:
        """A flat array of this layout as arrays of the original shapes and order."""
        views: list[Any] = [None] * len(self.shapes)
        for start, i in zip(self.starts, self.order, strict=False):
            size = int(np.prod(self.shapes[i]))
            views[i] = flat[int(start) : int(start) + size].reshape(self.shapes[i])
        return views

    def flatten(self, arrays: Sequence[Array]) -> tuple[Array, list[Array]]:
        """Arrays of these shapes (state of an optimiser) in a new flat array: that, and the views of it."""
        flat = xp_of(self.data).zeros_like(self.data)
        views = self.views_of(flat)
        for view, array in zip(views, arrays, strict=True):
            view[...] = array
        return flat, views

    def gather(self, gradients: Sequence[Array], max_norm: float) -> None:
        """Copy gradients into `self.gradients`; put their norm, and the factor that makes it at most `max_norm`, into
        `scalars`."""
        gather = _kernel("gather_gradients")
        sources = [aligned(gradients[i].astype("float32", copy=False)) for i in self.order]
        for number, first in enumerate(range(0, len(sources), MAX_TENSORS)):
            some = sources[first : first + MAX_TENSORS]
            start, end = int(self.starts[first]), int(self.starts[first + len(some)])
            table = np.zeros((), TABLE)
            table["count"] = len(some)
            table["source"][: len(some)] = [x.data.ptr for x in some]
            table["size"][: len(some)] = [x.size for x in some]
            table["start"][: len(some) + 1] = self.starts[first : first + len(some) + 1] - start
            partial = self.partial[number * self.grid : (number + 1) * self.grid]
            gather(self.grid, THREADS, table, self.gradients[start:end], partial)
        _kernel("clip")(1, 1024, self.partial, np.int32(self.partial.size), self.scalars, np.float32(max_norm))

    def adamw(self, m: Array, v: Array) -> None:
        """One update of `data` and the flat moments."""
        sizes = np.int64(self.size), np.int64(self.decayed)
        _kernel("adamw")(self.grid, THREADS, self.data, m, v, self.gradients, self.scalars, *sizes)

    def sgd(self, v: Array) -> None:
        """One update of `data` and the flat velocity."""
        sizes = np.int64(self.size), np.int64(self.decayed)
        _kernel("sgd")(self.grid, THREADS, self.data, v, self.gradients, self.scalars, *sizes)

    def ema(self, average: Array) -> None:
        """average += scalars[EMA_RATE] (data - average), unless the last gradient was not finite."""
        _kernel("ema")(self.grid, THREADS, average, self.data, self.scalars, np.int64(self.size))


TABLE = np.dtype(
    [
        ("source", np.uint64, MAX_TENSORS),
        ("start", np.int64, MAX_TENSORS + 1),
        ("size", np.int32, MAX_TENSORS),
        ("count", np.int32),
    ],
    align=True,
)


def _kernel(name: str) -> Launcher:
    return kernel("optimizer.cu", name, MAX_TENSORS=MAX_TENSORS)
