"""The update of `step` on a GPU: launched by the host, which does not wait for it, and replayed as a CUDA graph.

`step` reads the loss and the norm of the gradients after every update, and each time the GPU stands idle until the host
has launched the next kernel. Here they stay on the GPU, where the clipping factor is made of them too, until `read`
fetches them. From the third call on the whole update is one CUDA graph, recorded once: a single launch.
"""

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np

from minivit.backend import Array, xp_of
from minivit.backend.cupy_kernels.flat import CORRECTION_1, EMA_RATE, LR, NORM, SENT, FlatParameters
from minivit.backend.cupy_kernels.pinned import PinnedCopies
from minivit.draws import ImageDraws
from minivit.errors import NonFiniteError
from minivit.finite import first_non_finite
from minivit.nn import Module
from minivit.optim import EMA, SGD, AdamW
from minivit.step import LossFunction, StepResult
from minivit.tensor import Tensor, grad

WARM_UP = 2  # calls before the recording: kernels are compiled, products choose their algorithms


class DeviceStep:
    """Updates of a model on CuPy, float32 parameters.

    The parameters, the optimiser's state and the EMA's averages are moved into flat arrays; the Tensors become views of
    them, and everything else about model, optimiser and ema stays as it was. Use within `with step.active():`, as
    launches of one stream are in order. accumulate: pieces of the batch, computed one after another in less memory.
    graph: whether to record the update; if that fails, a warning says why and the updates go on without.
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
        self._pool = xp.cuda.MemoryPool()  # of the recorded arrays alone: nobody else may get their memory
        self._graph: Any = None
        self._use_graph, self._calls = graph, 0
        self._batch: tuple[Array, Array] | None = None
        self._pieces: list[Piece] = []
        self._flatten()
        self._scalar_copies = PinnedCopies(xp, SENT, np.float32)
        self._totals = xp.zeros(3, "float64")  # since the last `read`
        self._loss, self._correct, self._norm = (self._totals[i : i + 1] for i in range(3))  # views of it
        self._images_seen, self._steps = 0, 0

    def _flatten(self) -> None:
        optimizer = self.optimizer
        arrays = [p.data for p in optimizer.parameters]
        self.flat = FlatParameters(arrays, [bool(decay) for decay in optimizer.decays])
        self._state = []
        for slot in optimizer.slots:
            flat, optimizer.state[slot] = self.flat.flatten(optimizer.state[slot])
            self._state.append(flat)
        if self.ema:
            self._average, self.ema.averages = self.flat.flatten(self.ema.averages)
        for parameter, view in zip(optimizer.parameters, self.flat.views, strict=True):
            parameter.data = view

    @contextlib.contextmanager
    def active(self) -> Iterator[Self]:
        """Within this context everything that CuPy does is in the order of this step's stream."""
        self.xp.cuda.get_current_stream().synchronize()
        with self.stream:
            yield self
            self.stream.synchronize()

    def __call__(self, images: Array, labels: Array, seed: Sequence[int] = (0,)) -> None:
        """One update; returns before it is done.

        images: (B, height, width, C), labels: (B,) or (B, K), on the device, of the same shapes and dtypes in every
        call. seed: of the dropout masks, which are those of `step`.
        """
        if self._batch is None:
            self._batch = self.xp.empty_like(images), self.xp.empty_like(labels)
            cuts = [cut for cut in np.array_split(np.arange(len(images)), self.accumulate) if len(cut)]
            self._pieces = [Piece(self.xp, cut, len(images)) for cut in cuts]
        for static, given in zip(self._batch, (images, labels), strict=True):
            if static.shape != given.shape or static.dtype != given.dtype:
                raise ValueError(
                    f"DeviceStep: {given.dtype} {given.shape} after a batch of {static.dtype} {static.shape}"
                )
            static[...] = given
        self._set_scalars()
        for piece in self._pieces:
            piece.masks.refill(piece.draws(seed))
        if self._use_graph and self._graph is None and self._calls == WARM_UP:
            self._record()
        if self._graph is not None:
            self._graph.launch(stream=self.stream)
        else:
            with self._allocating():
                self._update()
        self._calls += 1
        self._images_seen += len(images)
        self._steps += 1

    def read(self) -> tuple[StepResult, int]:
        """Wait for the updates; the means since the last call with the norm of the last gradient, and their number.

        Raises NonFiniteError if a loss or a norm was NaN or infinite; the update that met it, and those after it whose
        gradients were so too, have changed nothing.
        """
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
        return self._pool.total_bytes()

    def out_of_memory(self, batch: int) -> str:
        """What to say, and what to do, when the GPU's memory was too small for so many images: measured on a few."""
        self._graph = None
        for pool in (self._pool, self.xp.get_default_memory_pool()):
            pool.free_all_blocks()
        free = self.xp.cuda.runtime.memGetInfo()[0]
        line = f"out of GPU memory with a batch of {batch}; {free / 2**30:.1f} GiB were free for it"
        few = min(8, batch)
        if self._batch is None or few < 2:
            return f"{line}: choose a smaller model or image size, or --recompute"
        try:
            needs = [self._memory_of(images) for images in (few // 2, few)]
        except MemoryError:
            return f"{line}: not even {few} images fit; choose a smaller model or image size, or --recompute"
        per_image = max(1, (needs[1] - needs[0]) / (few - few // 2))
        fits = max(1, min(batch - 1, int((0.9 * free - needs[0]) / per_image)))
        return (
            f"{line}: about {fits} images would fit ({per_image / 2**20:.1f} MiB each); try --batch-size {fits}, "
            f"--accumulate {-(-batch // fits)} or --recompute"
        )

    def _memory_of(self, images: int) -> int:
        """Bytes that the forward and backward pass of so many images takes."""
        pool = self.xp.cuda.MemoryPool()
        with self.xp.cuda.using_allocator(pool.malloc):
            self._pieces = [piece] = [Piece(self.xp, np.arange(images), images)]
            piece.masks.refill(piece.draws((0,)))
            self._forward_backward(0)
        self._pieces = []
        return pool.total_bytes()

    def _allocating(self) -> contextlib.AbstractContextManager:
        """The recording's own memory, if there is to be one."""
        return self.xp.cuda.using_allocator(self._pool.malloc) if self._use_graph else contextlib.nullcontext()

    def _record(self) -> None:
        """Record `_update` as a graph; nothing is computed meanwhile."""
        try:
            with self._allocating():
                self.stream.begin_capture()
                try:
                    self._update()
                finally:
                    graph = self.stream.end_capture()
            self._graph = graph
        except Exception as error:
            self._use_graph = False
            reason = " ".join(str(error).split()) or type(error).__name__
            warnings.warn(f"the step could not be recorded as a CUDA graph and runs without ({reason})", stacklevel=3)

    def _set_scalars(self) -> None:
        """Send what changes from update to update: learning rate and bias corrections."""
        optimizer = self.optimizer
        scalars = np.zeros(SENT, np.float32)
        scalars[LR] = optimizer.current_lr()
        optimizer.steps += 1
        decays = [decay for decay in optimizer.decays if decay]
        scalars[4] = decays[0] if decays else 0
        if isinstance(optimizer, AdamW):
            scalars[1:4] = *optimizer.betas, optimizer.eps
            b1, b2 = map(float, scalars[1:3])  # as the kernel has them: it makes 1 - b2 of a rounded 0.999
            corrections = 1 / (1 - b1**optimizer.steps), (1 - b2**optimizer.steps) ** -0.5
            scalars[CORRECTION_1 : CORRECTION_1 + 2] = corrections
        else:
            scalars[1] = optimizer.momentum
        scalars[EMA_RATE] = 1 - self.ema.next_decay() if self.ema else 0
        self._scalar_copies.send(scalars, self.flat.scalars[:SENT])

    def _update(self) -> None:
        """Forward, backward, clip, update: device work alone, which can be recorded."""
        gradients: list[Array] = []
        for i in range(len(self._pieces)):
            loss, correct, more = self._forward_backward(i)
            for g, extra in zip(gradients, more, strict=False):
                g += extra
            gradients = gradients or more
            self._loss += loss
            self._correct += correct
        self.flat.gather(gradients, float(self.clip_norm))
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


class Piece:
    """One of the parts into which a batch is cut: which images, their share of the mean, their masks."""

    def __init__(self, xp: Any, indices: np.ndarray, batch: int):
        self.part = slice(int(indices[0]), int(indices[-1]) + 1)
        self.weight = xp.full((), len(indices) / batch, "float32")
        self.batch = batch
        self.masks = RandomFeed(xp)

    def draws(self, seed: Sequence[int]) -> ImageDraws:
        """The random numbers of its images in the step of this seed."""
        return ImageDraws(seed, self.part.start, self.part.stop - self.part.start, self.batch)


class RandomFeed:
    """Stands where a generator is expected and gives its uniform numbers, as arrays of the device.

    The first step draws array by array. Later steps draw the same arrays again and send them in one copy, so a recorded
    step reads new numbers at the same addresses.
    """

    def __init__(self, xp: Any):
        self.xp = xp
        self._arrays: list[Array] = []
        self._flat: Array | None = None
        self._copies: PinnedCopies | None = None
        self._position = 0
        self._draws: ImageDraws | None = None

    def refill(self, draws: ImageDraws) -> None:
        """New numbers for the next step, those of `draws`."""
        self._draws = draws
        if self._flat is None and self._arrays:
            ends = np.cumsum([array.size for array in self._arrays]).tolist()
            self._flat = self.xp.empty(ends[-1], "float32")
            self._copies = PinnedCopies(self.xp, ends[-1], np.float32)
            parts = zip([0, *ends], ends, self._arrays, strict=False)
            self._arrays = [self._flat[start:end].reshape(array.shape) for start, end, array in parts]
        if self._flat is not None and self._copies is not None:
            numbers = [draws.random(array.shape).ravel() for array in self._arrays]
            self._copies.send(np.concatenate(numbers), self._flat)

    def rewind(self) -> None:
        """Start again at the first array."""
        self._position = 0

    def random(self, size: tuple[int, ...], dtype: str = "float32") -> Array:
        """The next uniform numbers in [0, 1)."""
        if self._position == len(self._arrays):
            if self._flat is not None:
                raise ValueError("RandomFeed: asked for more arrays than in the first step")
            assert self._draws is not None
            self._arrays.append(self.xp.asarray(self._draws.random(size)))
        array = self._arrays[self._position]
        self._position += 1
        if array.shape != tuple(size):
            raise ValueError(f"RandomFeed: asked for {size} where the first step asked for {array.shape}")
        return array

    def __deepcopy__(self, memo: dict) -> "RandomFeed":
        """A second reader of the same arrays, at the same place: for a forward pass that is run again."""
        again = RandomFeed(self.xp)
        again._arrays, again._flat, again._position = self._arrays, self._flat, self._position
        again._draws = self._draws
        return again
