"""The update of `step` on a GPU: launched by the host, which does not wait for it, and replayed as a CUDA graph.

`step` reads the loss and the norm of the gradients after every update, and each time the GPU stands idle until the host
has launched the next kernel. Here they stay on the GPU, where the clipping factor is made of them too, until `read`
fetches them. From the third call on the whole update is one CUDA graph, recorded once: a single launch.
"""

import contextlib
import sys
import warnings
from collections.abc import Generator, Iterator, Sequence
from typing import Any, Self, TypeVar

import numpy as np

from minivit.backend import Array, xp_of
from minivit.backend.cupy_kernels.flat import NORM, FlatParameters, packed
from minivit.backend.cupy_kernels.memory import StreamMemory, is_full, with_room
from minivit.backend.cupy_kernels.pinned import PinnedCopies
from minivit.errors import NonFiniteError, reasons
from minivit.nn import Module
from minivit.optim import EMA, SGD, AdamW
from minivit.tensor import Tensor, grad
from minivit.update.draws import Piece
from minivit.update.not_finite import first_non_finite
from minivit.update.step import LossFunction, StepResult

Item = TypeVar("Item")
WARM_UP = 2  # calls before the recording: kernels are compiled, products choose their algorithms


class DeviceStep:
    """Updates of a model on CuPy, float32 parameters.

    The parameters, the optimiser's state and the EMA's averages are moved into flat arrays; the Tensors become views of
    them, and everything else about model, optimiser and ema stays as it was. Its work is in the order of its own
    stream. accumulate: pieces of the batch, computed one after another in less memory. graph: whether to record the
    update; if that fails, a warning says why and the updates go on without.
    """

    def __init__(
        self,
        model: Module,
        optimizer: AdamW | SGD,
        loss_function: LossFunction,
        clip_norm: float | None = None,
        ema: EMA | None = None,
        accumulate: int = 1,
        graph: bool = True,
    ):
        self.model, self.optimizer, self.ema = model, optimizer, ema
        self.loss_function, self.clip_norm, self.accumulate = loss_function, clip_norm or np.inf, accumulate
        self.xp = xp = xp_of(optimizer.parameters[0].data)
        self.stream = xp.cuda.Stream(non_blocking=True)
        self._events = [xp.cuda.Event(disable_timing=True) for _ in range(2)]
        self._memory = StreamMemory(xp, self.stream)  # of the recorded arrays alone
        self._graph: Any = None
        self._use_graph, self._calls = graph, 0
        self._was_active = False  # and may have scratch memory
        self._batch: tuple[Array, Array] | None = None
        self._pieces: list[Piece] = []
        self._flatten()
        self._scalar_copies = PinnedCopies(xp, self.flat.scalars.size, np.float32)
        self._totals = xp.zeros(3, "float64")  # since the last `read`
        self._loss, self._correct, self._norm = (self._totals[i : i + 1] for i in range(3))  # views of it
        self._images_seen, self._steps = 0, 0

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

    def __del__(self) -> None:
        if vars(self).get("_was_active") and not sys.is_finalizing():
            self._graph, self._batch, self._pieces = None, None, []
            with contextlib.suppress(Exception):  # of a GPU that has failed
                self._memory.close()

    @contextlib.contextmanager
    def active(self) -> Iterator[Self]:
        """Within this context everything that CuPy does is in the order of this step's stream: after what was queued
        before, and before what is queued afterwards. The host waits for nothing."""
        self._was_active = True
        outer = self.xp.cuda.get_current_stream()
        if outer == self.stream:
            yield self
            return
        self.stream.wait_event(outer.record(self._events[0]))
        try:
            with self.stream:
                yield self
        finally:
            outer.wait_event(self.stream.record(self._events[1]))

    def ordered(self, work: Generator[Item, None, None]) -> Iterator[Item]:
        """What `work` yields. This step is active while the generator runs, and not while it is paused: the current
        stream is a stack, and of two paused generators either may end first."""
        try:
            while True:
                with self.active():
                    try:
                        item = next(work)
                    except StopIteration:
                        return
                yield item
        finally:
            with self.active():
                work.close()

    def __call__(self, images: Array, labels: Array, seed: Sequence[int] = (0,)) -> None:
        """One update; returns before it is done.

        images: (B, height, width, C), labels: (B,) or (B, K), on the device, of the same shapes and dtypes in every
        call. seed: of the dropout masks, which are those of `step`.
        """
        with self.active():
            with_room(lambda: self._receive(images, labels, seed), self.free_unused)
            self._set_scalars()
            if self._use_graph and self._graph is None and self._calls == WARM_UP:
                self._record()
            if self._graph is not None:
                self._graph.launch(stream=self.stream)
            else:
                with_room(self._run, self.free_unused)
            self._calls += 1
            if self._calls == 1 and self._use_graph:
                self._memory.free_shared()
        self._images_seen += len(images)
        self._steps += 1

    def _receive(self, images: Array, labels: Array, seed: Sequence[int]) -> None:
        """Put the batch and its masks where the update reads them."""
        if self._batch is None:
            cuts = [cut for cut in np.array_split(np.arange(len(images)), self.accumulate) if len(cut)]
            self._pieces = [Piece(self.xp, cut, len(images)) for cut in cuts]
            self._batch = self.xp.empty_like(images), self.xp.empty_like(labels)
        for static, given in zip(self._batch, (images, labels), strict=True):
            if static.shape != given.shape or static.dtype != given.dtype:
                raise ValueError(
                    f"DeviceStep: {given.dtype} {given.shape} after a batch of {static.dtype} {static.shape}"
                )
            static[...] = given
        for piece in self._pieces:
            piece.masks.refill(piece.draws(seed))

    def _run(self) -> None:
        """The update as it is, in the recording's memory if there is to be one. The first is not: what it leaves
        behind, such as its masks, would never be given back."""
        recorded = self._use_graph and self._calls
        with self._memory.allocating() if recorded else contextlib.nullcontext():
            self._update()

    def read(self) -> tuple[StepResult, int]:
        """Wait for the updates; the means since the last call with the norm of the last gradient, and their number.

        Raises NonFiniteError if a loss or a norm was NaN or infinite; the update that met it, and those after it whose
        gradients were so too, have changed nothing.
        """
        with self.active():
            self.stream.synchronize()
            loss, correct, norms = self._totals.get()
            norm = float(self.flat.scalars[NORM].get())
            steps, images = self._steps, self._images_seen
            self._totals[...] = 0
            self._steps = self._images_seen = 0
            if not np.isfinite(loss + norms):
                raise NonFiniteError(self._first_non_finite())
        return StepResult(float(loss) / max(1, steps), float(correct) / max(1, images), norm), steps

    def pool_bytes(self) -> int:
        """Memory that the recorded step holds for itself."""
        return self._memory.pool.total_bytes()

    def free_unused(self) -> None:
        """Give the GPU back all memory that nobody uses."""
        if self._graph is None:
            self._memory.free()
        else:
            self._memory.free_shared()

    def out_of_memory(self, batch: int) -> str:
        """What to say, and what to do, when the GPU's memory was too small for so many images: measured on a few."""
        self._graph = None
        self.free_unused()
        free = self.xp.cuda.runtime.memGetInfo()[0]
        line = f"out of GPU memory with a batch of {batch}; {free / 2**30:.1f} GiB were free for it"
        few = min(8, batch)
        if self._batch is None or few < 2:
            return f"{line}: choose a smaller model or image size, or --recompute"
        try:
            needs = [self._memory_of(images) for images in (few // 2, few)]
        except Exception as error:
            if not is_full(error):
                raise
            return f"{line}: not even {few} images fit; choose a smaller model or image size, or --recompute"
        finally:
            self._batch, self._pieces, self._calls = None, [], 0  # as before the first call
        per_image = max(1, (needs[1] - needs[0]) / (few - few // 2))
        fits = max(1, min(batch - 1, int((0.9 * free - needs[0]) / per_image)))
        return (
            f"{line}: about {fits} images would fit ({per_image / 2**20:.1f} MiB each); try --batch-size {fits}, "
            f"--accumulate {-(-batch // fits)} or --recompute"
        )

    def _memory_of(self, images: int) -> int:
        """Bytes that the forward and backward pass of so many images takes."""
        pool = self.xp.cuda.MemoryPool()
        try:
            with self.active(), self.xp.cuda.using_allocator(pool.malloc):
                self._pieces = [Piece(self.xp, np.arange(images), images)]
                self._pieces[0].masks.refill(self._pieces[0].draws((0,)))
                self._forward_backward(0)
            return pool.total_bytes()
        finally:
            self._pieces = []
            pool.free_all_blocks()

    def _record(self) -> None:
        """Record `_update` as a graph; nothing is computed meanwhile."""
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
        """Send what changes from update to update: learning rates, decays, bias corrections."""
        optimizer = self.optimizer
        current = optimizer.current()
        optimizer.steps += 1
        ema_rate = 1 - self.ema.next_decay() if self.ema else 0.0
        scalars = {**optimizer.scalars(), "ema_rate": ema_rate}
        self._scalar_copies.send(packed(scalars, current), self.flat.scalars)

    def _update(self) -> None:
        """Forward, backward, clip, update: device work alone, which can be recorded."""
        gradients: list[Array] = []
        outcomes = []
        for i in range(len(self._pieces)):
            loss, correct, more = self._forward_backward(i)
            for g, extra in zip(gradients, more, strict=False):
                g += extra
            gradients = gradients or more
            outcomes.append((loss, correct))
        self.flat.gather(gradients, float(self.clip_norm))
        for loss, correct in outcomes:  # not sooner: an update that finds too little memory is tried again
            self._loss += loss
            self._correct += correct
        self._norm += self.flat.scalars[NORM]
        if isinstance(self.optimizer, AdamW):
            self.flat.adamw(*self._state)
        else:
            self.flat.sgd(*self._state)
        if self.ema:
            self.flat.ema(self._average)

    def _forward_backward(self, i: int) -> tuple[Array, Array, list[Array]]:
        """Piece i of the batch: its share of the mean loss, its right answers, its gradients."""
        assert self._batch is not None
        piece = self._pieces[i]
        images, labels = (x[piece.part] for x in self._batch)
        piece.masks.rewind()
        logits = self.model(Tensor(images), rng=piece.masks)
        loss = self.loss_function(logits, labels)
        gradients = grad(loss, self.optimizer.parameters, piece.weight)
        truth = labels if labels.ndim == 1 else labels.argmax(axis=-1)
        return loss.data * piece.weight, (logits.data.argmax(axis=-1) == truth).sum(), gradients

    def _first_non_finite(self) -> str:
        """Where the NaN was, looked for on the last batch."""
        assert self._batch is not None
        gradients = self.flat.views_of(self.flat.gradients)
        images, pieces = self._batch[0], len(self._pieces)
        return first_non_finite(self.optimizer, images, gradients, self._forward_backward, pieces)
