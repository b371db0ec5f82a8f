"""All parameters as views of one flat array, so that an update is one kernel, and so is the norm of the gradients."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from minivit.backend.arrays import Array, xp_of
from minivit.backend.cupy_kernels.launch import Launcher, aligned, kernel

MAX_TENSORS = 170  # of one launch of gather_gradients: their table is an argument by value, of at most 4 KiB
VECTOR = 4  # floats that a thread takes at a time
CHUNK = 32 * VECTOR  # floats that a warp takes at a time; an array begins at a multiple, so each chunk is of one array
THREADS, MOST_THREADS = 256, 1024
# What the update kernels read, in the order of the enumerations in cuda/optimizer.cu: for all, and for each tensor.
SCALARS = ("b1", "b2", "eps", "correction_1", "correction_2", "momentum", "ema_rate", "norm")
OWN = ("rate", "keep", "clip")
NORM = SCALARS.index("norm")


class FlatParameters:
    """Float32 arrays moved into one flat array, and space for their gradients.

    views: the arrays' new homes, in the order given; scalars: what the update kernels read (betas, the rate of each
    tensor, ...), on the device. Raises TypeError for arrays that are not float32.
    """

    def __init__(self, arrays: Sequence[Array]):
        if wrong := [x.dtype for x in arrays if x.dtype != "float32"]:
            raise TypeError(f"FlatParameters: arrays must be float32, one is {wrong[0]}")
        xp = xp_of(arrays[0])
        self.shapes = [x.shape for x in arrays]
        chunks = [-(-x.size // CHUNK) for x in arrays]
        first_chunks = np.concatenate([[0], np.cumsum(chunks)]).astype(np.int32)
        self.starts = first_chunks.astype(np.int64) * CHUNK
        self.size = int(self.starts[-1])
        self.data, self.gradients = xp.zeros(self.size, "float32"), xp.zeros(self.size, "float32")
        self.views = self.views_of(self.data)
        for view, array in zip(self.views, arrays, strict=True):
            view[...] = array
        self.first_chunks = xp.asarray(first_chunks)
        self.owner = xp.asarray(np.repeat(np.arange(len(arrays), dtype=np.int32), chunks))
        self.grid = _kernel("adamw").blocks(-(-self.size // (VECTOR * THREADS)), THREADS)
        self.chunk_squares = xp.zeros(self.size // CHUNK, "float32")
        self.squares = xp.zeros(len(arrays), "float32")
        self.scalars = xp.zeros(len(SCALARS) + len(OWN) * len(arrays), "float32")

    def views_of(self, flat: Array) -> list[Array]:
        """A flat array of this layout as arrays of the original shapes and order."""
        pairs = zip(self.starts.tolist(), self.shapes, strict=False)
        return [flat[start : start + math.prod(shape)].reshape(shape) for start, shape in pairs]

    def flatten(self, arrays: Sequence[Array]) -> tuple[Array, list[Array]]:
        """Arrays of these shapes (state of an optimiser) in a new flat array: that, and the views of it."""
        flat = xp_of(self.data).zeros_like(self.data)
        views = self.views_of(flat)
        for view, array in zip(views, arrays, strict=True):
            view[...] = array
        return flat, views

    def gather(self, gradients: Sequence[Array], max_norm: float, each: bool = False) -> None:
        """Copy gradients into `self.gradients`, and put their norm into `scalars`, with the factors that make it, or
        the norm of each, at most `max_norm` (`optim.gradients`)."""
        gather = _kernel("gather_gradients")
        sources = [aligned(g.astype("float32", copy=False)) for g in gradients]
        for first in range(0, len(sources), MAX_TENSORS):
            some = sources[first : first + MAX_TENSORS]
            start, end = int(self.starts[first]), int(self.starts[first + len(some)])
            table = np.zeros((), TABLE)
            table["count"] = len(some)
            table["source"][: len(some)] = [x.data.ptr for x in some]
            table["size"][: len(some)] = [x.size for x in some]
            table["start"][: len(some) + 1] = self.starts[first : first + len(some) + 1] - start
            owner, squares = (x[start // CHUNK : end // CHUNK] for x in (self.owner, self.chunk_squares))
            gather(self.grid, THREADS, table, self.gradients[start:end], owner, np.int32(first), squares)
        count, limits = len(sources), (np.float32(max_norm), np.int32(each))
        _kernel("tensor_squares")(count, MOST_THREADS, self.chunk_squares, self.first_chunks, self.squares)
        _kernel("clip")(1, MOST_THREADS, self.squares, np.int32(count), self.scalars, *limits)

    def adamw(self, m: Array, v: Array) -> None:
        """One update of `data` and the flat moments."""
        _kernel("adamw")(self.grid, THREADS, self.data, m, v, *self._rule())

    def sgd(self, v: Array) -> None:
        """One update of `data` and the flat velocity."""
        _kernel("sgd")(self.grid, THREADS, self.data, v, *self._rule())

    def _rule(self) -> tuple[Array, Array, Array, np.int64]:
        return self.gradients, self.scalars, self.owner, np.int64(self.size)

    def ema(self, average: Array) -> None:
        """average += ema_rate (data - average), unless the last gradient was not finite."""
        _kernel("ema")(self.grid, THREADS, average, self.data, self.scalars, np.int64(self.size))


def packed(scalars: Mapping[str, float], current: Sequence[tuple[float, float]]) -> np.ndarray:
    """What `FlatParameters.scalars` is to hold in an update, for the host to send.

    scalars: by the names in SCALARS, 0 where one is missing; current: learning rate and weight decay of each array.
    """
    assert scalars.keys() <= set(SCALARS), scalars
    shared = [scalars.get(name, 0.0) for name in SCALARS]
    own = np.zeros((len(current), len(OWN)))
    own[:, OWN.index("rate")] = [rate for rate, _ in current]
    own[:, OWN.index("keep")] = [1 - rate * decay for rate, decay in current]
    return np.concatenate([shared, own.ravel()]).astype(np.float32)


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
