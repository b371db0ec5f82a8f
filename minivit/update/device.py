"""The update of `step` on a GPU: launched without waiting for it, and replayed as a CUDA graph.

`step` reads the loss and the norm of the gradients after every update, and each time the GPU stands idle until the host
has launched the next kernel. Here they stay on the GPU, which also computes the clipping factor, until `read` fetches
them. From the third call on the whole update is one CUDA graph, recorded once: a single launch.
"""

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from minivit.backend import Array, xp_of
from minivit.backend.cupy_kernels.flat import NORM, FlatParameters, packed
from minivit.backend.cupy_kernels.memory import is_full, with_room
from minivit.backend.cupy_kernels.pinned import PinnedCopies
from minivit.data import Loader
from minivit.data.device_loader import on_device
from minivit.errors import BackendError, NonFiniteError, reasons
from minivit.optim import EMA, SGD, AdamW
from minivit.ranks import Ranks
from minivit.ranks.nccl import GpuRanks
from minivit.update.batch import Batch, Found, Piece, cut, size
from minivit.update.draws import RandomFeed
from minivit.update.not_finite import first_non_finite, nearest
from minivit.update.objective import Objective
from minivit.update.room import advice
from minivit.update.step import StepResult, by_piece
from minivit.update.stream import OnStream

Item = TypeVar("Item")
WARM_UP = 2  # calls before the recording: kernels are compiled, products choose their algorithms


class DeviceStep(OnStream):
    """Updates an objective's parameters on CuPy in float32.

    The parameters, the optimiser's state and the EMA's averages are moved into flat arrays, and the Tensors become
    views of them. Everything else about objective, optimiser and ema stays unchanged. All work runs in order on one
    stream of its own. accumulate: pieces of the batch, computed one after another in less memory. graph: whether to
    record the update; an objective that `varies` is never recorded, and if recording fails, a warning gives the reason
    and updates continue without it. ranks: the processes
    that share each batch, each with a GPU of its own.
    """

    read_every = 20  # updates after which to `read`: each time the GPU has to be waited for

    def __init__(
        self,
        objective: Objective,
        optimizer: AdamW | SGD,
        clip_norm: float | None = None,
        ema: EMA | None = None,
        accumulate: int = 1,
        graph: bool = True,
        ranks: Ranks | None = None,
    ):
        self.objective, self.optimizer, self.ema = objective, optimizer, ema
        self.clip_norm, self.accumulate = clip_norm or np.inf, accumulate
        super().__init__(xp := xp_of(optimizer.parameters[0].data))
        self.ranks = GpuRanks(ranks, xp) if ranks and ranks.count > 1 else None
        self._gathered = ranks.gathered if ranks else lambda value: [value]
        self._graph: Any = None
        self._use_graph, self._calls = graph and not objective.varies, 0
        self._batch: Batch = {}  # the arrays that every update reads
        self._feeds: list[RandomFeed] = []
        self._pieces: list[Piece] = []
        self._flatten()
        self._scalar_copies = PinnedCopies(xp, self.flat.scalars.size, np.float32)
        self._totals = {name: xp.zeros(1, "float64") for name in ("loss", "norm")}  # since the last `read`
        self._sums: dict[str, Array] = {}  # likewise, of what the objective sums up
        self._steps = 0

    def _flatten(self) -> None:
        optimizer = self.optimizer
        arrays = [p.data for p in optimizer.parameters]
        self.flat = FlatParameters(arrays)
        self._state = []
        for slot in optimizer.slots:
            flat, optimizer.state[slot] = self.flat.flatten(optimizer.state[slot])
            self._state.append(flat)
        if self.ema:
            self._average, self.ema.state["average"] = self.flat.flatten(self.ema.averages)
        for parameter, view in zip(optimizer.parameters, self.flat.views, strict=True):
            parameter.data = view

    @property
    def recorded(self) -> bool:
        """Whether updates are replayed from a graph."""
        return self._graph is not None

    @contextlib.contextmanager
    def batches(self, loader: Loader) -> Iterator[Iterable[Batch]]:
        """The loader's batches on the GPU, until the context ends."""
        with on_device(loader, self.xp) as batches:
            yield batches

    def update(self, batch: Batch, seed: Sequence[int] = (0,)) -> None:
        """One update; returns before it is done.

        batch: arrays on the device, with the same names, shapes and dtypes in every call. seed: of the dropout masks,
        which equal those of `step`. Raises BackendError, with advice, if the GPU's memory is too small.
        """
        try:
            self.launch(batch, seed)
            return
        except Exception as error:
            if not is_full(error):
                raise
        # not sooner: what the traceback holds is freed at the end of that block
        raise BackendError(self.out_of_memory(size(batch)))

    def launch(self, batch: Batch, seed: Sequence[int] = (0,)) -> None:
        """`update`, passing on the original error if memory runs out."""
        with self.active():
            with_room(lambda: self._receive(batch, seed), self.free_unused)
            self._set_scalars()
            if self._use_graph and self._graph is None and self._calls == WARM_UP:
                self._record()
            if self._graph is not None:
                self._graph.launch(stream=self.stream)
            else:
                self._run()
            self._calls += 1
            if self._calls == 1 and self._use_graph:
                self._memory.free_shared()
        self._steps += 1

    def _receive(self, batch: Batch, seed: Sequence[int]) -> None:
        """Copy the batch and its masks to the arrays that the update reads."""
        if not self._batch:
            self._batch = {name: self.xp.empty_like(x) for name, x in batch.items()}
        if (ours := kinds(self._batch)) != (given := kinds(batch)):
            raise ValueError(f"DeviceStep: {given} after a batch of {ours}")
        for name, x in batch.items():
            self._batch[name][...] = x
        self._cut(self._batch, self.accumulate, seed)

    def _let_go(self) -> None:
        self._graph, self._batch, self._feeds, self._pieces = None, {}, [], []

    def _cut(self, batch: Batch, count: int, seed: Sequence[int]) -> None:
        """The pieces of an update; the arrays that a recorded update reads stay in place."""
        pieces = cut(batch, count, tuple(seed), self.ranks, self.objective.compares)
        if not self._pieces or self.objective.varies:
            self._feeds = [RandomFeed(self.xp) for _ in pieces]
            shares = [self.xp.full((), piece.share, "float32") for piece in pieces]
            parts = zip(pieces, shares, self._feeds, strict=True)
            self._pieces = [Piece(piece.batch, share, feed) for piece, share, feed in parts]
        for feed, piece in zip(self._feeds, pieces, strict=True):
            feed.refill(piece.rng)

    def _run(self) -> None:
        """Run the update directly, in the recording's memory if there is to be one. The first run is not, since
        leftovers such as its masks would never be freed. If nothing has changed yet, it may be tried again."""

        def within(work: Callable[[], Item]) -> Item:
            with self._memory.allocating() if self._use_graph and self._calls else contextlib.nullcontext():
                return work()

        found = with_room(lambda: within(self._compute), self.free_unused)
        within(lambda: self._apply(found))

    def read(self) -> tuple[StepResult, int]:
        """Wait for the updates; return the means since the last call, the last gradient norm among them, and their
        number.

        Raises NonFiniteError if a loss or a norm was NaN or infinite. That update, and later ones with such gradients,
        have changed no parameter.
        """
        with self.active():
            self.stream.synchronize()
            totals = {name: float(total.get()[0]) for name, total in (self._totals | self._sums).items()}
            norm = float(self.flat.scalars[NORM].get())
            for total in (*self._totals.values(), *self._sums.values()):
                total[...] = 0
            steps, self._steps = self._steps, 0
            if not np.isfinite(totals["loss"] + totals["norm"]):  # on all ranks alike
                raise NonFiniteError(nearest(self._gathered(self._first_non_finite())))
        examples = max(1, steps) * (self._examples if self._batch else 1)
        means = {name: totals[name] / examples for name in self._sums}
        return StepResult(totals["loss"] / max(1, steps), norm, means), steps

    @property
    def _examples(self) -> int:
        """The number of examples of a batch, on all ranks."""
        return size(self._batch) * (self.ranks.count if self.ranks and not self.objective.compares else 1)

    def free_unused(self) -> None:
        """Give all unused memory back to the GPU."""
        if self._graph is None:
            self._memory.free()
        else:
            self._memory.free_shared()

    def out_of_memory(self, batch: int) -> str:
        """The advice for a GPU whose memory was too small for this number of examples."""
        self._graph = None
        self.free_unused()
        try:
            free = self.xp.cuda.runtime.memGetInfo()[0]
            return advice(batch, free, self._memory_of if self._batch else None)
        finally:
            self._let_go()
            self._calls = 0  # as before the first call

    def _memory_of(self, examples: int) -> int:
        """The bytes that forward and backward pass need for this number of examples of the last batch."""
        pool, kept = self.xp.cuda.MemoryPool(), self._batch
        try:
            with self.active(), self.xp.cuda.using_allocator(pool.malloc):
                self._pieces, self._batch = [], {name: x[:examples] if x.ndim else x for name, x in kept.items()}
                self._cut(self._batch, 1, (0,))
                self._backward()
            return pool.total_bytes()
        finally:
            self._feeds, self._pieces, self._batch = [], [], kept
            pool.free_all_blocks()

    def _record(self) -> None:
        """Record `_update` as a graph; nothing is computed during the recording."""
        try:
            with self._memory.allocating():
                self.stream.begin_capture()
                try:
                    self._update()
                finally:
                    graph = self.stream.end_capture()
            self._graph = graph
            return
        except Exception as error:
            reason = reasons(error)
        self._use_graph = False
        self._memory.free()  # the updates from now on are in everybody's memory
        warnings.warn(f"the step could not be recorded as a CUDA graph and runs without ({reason})", stacklevel=3)

    def _set_scalars(self) -> None:
        """Send the values that change between updates: learning rates, decays, bias corrections."""
        optimizer = self.optimizer
        current = optimizer.current()
        optimizer.steps += 1
        ema_rate = 1 - self.ema.next_decay() if self.ema else 0.0
        scalars = {**optimizer.scalars(), "ema_rate": ema_rate}
        self._scalar_copies.send(packed(scalars, current), self.flat.scalars)

    def _update(self) -> None:
        """Forward, backward, clip, update: device work only, which can be recorded."""
        self._apply(self._compute())

    def _compute(self) -> Found:
        """Compute the results of the batch without changing lasting state."""
        found = self._backward()
        limits = float(self.clip_norm), self.objective.clips_each
        self.flat.gather(found.gradients, *limits)
        if self.ranks:
            found = Found(found.loss.reshape(1), {name: x + 0 for name, x in found.sums.items()}, [])  # of nobody else
            self.ranks.add([self.flat.gradients, found.loss, *(found.sums[name] for name in sorted(found.sums))])
            self.flat.gather(self.flat.views_of(self.flat.gradients), *limits)  # again, for the norm of the sum
        return found

    def _apply(self, found: Found) -> None:
        """Update the parameters, then the objective's state, then the averages."""
        examples = self._examples
        self._sums = self._sums or {name: self.xp.zeros(1, "float64") for name, x in found.sums.items() if not x.ndim}
        self._totals["loss"] += found.loss
        self._totals["norm"] += self.flat.scalars[NORM]
        for name, total in self._sums.items():
            total += found.sums[name]
        if isinstance(self.optimizer, AdamW):
            self.flat.adamw(*self._state)
        else:
            self.flat.sgd(*self._state)
        self.objective.after_update({name: x / examples for name, x in found.sums.items()}, self._batch)
        if self.ema:
            self.flat.ema(self._average)

    def _backward(self) -> Found:
        """The loss, the sums and the gradients of the whole batch."""
        for feed in self._feeds:
            feed.rewind()
        parts = self.objective, self.optimizer.parameters, self._batch, self._pieces
        of_piece = by_piece(*parts, ranks=self.ranks)
        return functools.reduce(Found.plus, map(of_piece, range(len(self._pieces))))

    def _first_non_finite(self) -> str:
        """The source of the NaN, found on the last batch."""
        gradients = self.flat.views_of(self.flat.gradients)
        return first_non_finite(self.optimizer, self._batch, gradients, self._backward)


def kinds(batch: Batch) -> str:
    """The names, dtypes and shapes of a batch: "images float32 (8, 4, 4, 3)"."""
    return ", ".join(f"{name} {x.dtype} {x.shape}" for name, x in sorted(batch.items()))
