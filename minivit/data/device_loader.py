"""Training batches made on the GPU, equal to those of the given `Loader`.

The Loader's threads draw everything random on the host, from its generators and in its order, and one kernel makes the
images. If the data set's uint8 images lie in the GPU's memory, only these draws are copied for each batch. Otherwise,
as for image files, the batch's own images are copied too, as uint8 in their final size: a quarter of the bytes of the
finished batch.
"""

import contextlib
import math
from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import Any, NamedTuple, Self

import numpy as np

from minivit.backend import Array
from minivit.backend.cupy_kernels import augment as kernels
from minivit.backend.cupy_kernels.pinned import PinnedCopies
from minivit.data import portion
from minivit.data.dataset import ArrayDataset
from minivit.data.device_tables import encode, make_tables
from minivit.data.loader import Loader
from minivit.data.mixing import Mixing
from minivit.data.prefetcher import Buffer, Prefetcher
from minivit.data.transform import Augment, Changes
from minivit.errors import ConfigError

DeviceBatch = dict[str, Array]  # as an objective makes it, in the GPU's memory


def on_device(loader: Loader, xp: Any) -> "DeviceLoader | Prefetcher":
    """The batches of `loader` as arrays of `xp` (CuPy): made on the GPU if it can, otherwise copied there."""
    if not supports(loader):
        return Prefetcher(loader, xp)
    free_bytes, _ = xp.cuda.runtime.memGetInfo()
    return DeviceLoader(loader, xp, room=free_bytes // 2)  # the model needs some too


def supports(loader: Loader) -> bool:
    """Whether the GPU can make these batches: images and labels alone, changed only by an `Augment`."""
    augment, objective = loader.transform, loader.objective
    if not portion.prepares_plainly(objective) or (loader.ranks > 1 and objective.compares):
        return False  # of one that compares, the whole batch goes to every process
    return type(augment) is Augment and loader.dataset.channels in (1, 3)


def can_stay(loader: Loader) -> bool:
    """Whether all images can stay in the GPU's memory: they are in memory now, and in their final size."""
    augment, dataset = loader.transform, loader.dataset
    if not isinstance(augment, Augment) or not isinstance(dataset, ArrayDataset) or augment.resized_crop is not None:
        return False
    return dataset.image_size == augment.image_size and _has_room(augment, dataset.channels)


def _has_room(augment: Augment, channels: int) -> bool:
    """Whether RandAugment's two copies of an image fit into a block's shared memory (82 x 82 pixels of 3 channels)."""
    return not augment.randaugment or kernels.shared_memory(*augment.image_size, channels) <= kernels.MAX_SHARED_MEMORY


class _Drawn(NamedTuple):
    """The draws for a batch or this process's part: `packed`, int32, in the order of `DeviceLoader._parts`; the mixing;
    the objective's draws; the images and labels, unless those of the data set are on the GPU."""

    packed: np.ndarray
    mixing: Mixing | None
    beside: dict[str, np.ndarray]
    columns: dict[str, np.ndarray] | None = None


class DeviceLoader:
    """The batches of `loader`, made on the GPU; iterate over it as over the loader itself.

    Yields arrays of `xp` by name: images (B, height, width, C) float32, labels, (B,) int64 or dense (B, K) float32, and
    the objective's draws. All work is queued on the stream that is current when a batch is requested; use the same one
    for all batches.
    room: the bytes that the data set's images may take of the GPU's memory, if they can stay there.
    Raises ConfigError unless `supports(loader)`.
    """

    def __init__(self, loader: Loader, xp: Any, room: float = math.inf):
        if not supports(loader):
            raise ConfigError(f"{loader.dataset.name}: the GPU cannot make these batches; use a Prefetcher")
        self.loader, self.xp, self.dataset = loader, xp, loader.dataset
        self.augment: Augment = loader.transform  # type: ignore[assignment]
        self._resident: dict[str, Array] | None = None
        if can_stay(loader) and self.dataset.images.nbytes < room:  # type: ignore[attr-defined]
            images = np.ascontiguousarray(self.dataset.images)  # type: ignore[attr-defined]
            self._resident = {"images": xp.asarray(images), "labels": xp.asarray(self.dataset.labels)}
        self._buffers = [Buffer(xp), Buffer(xp)]  # for the images of two batches otherwise, filled by this stream
        self._stream = xp.cuda.Stream(non_blocking=True)
        self._in_kernel = self.augment
        if not _has_room(self.augment, self.dataset.channels):  # then the host makes all changes of pixels
            self._in_kernel = replace(self.augment, flip=False, crop_padding=0, randaugment=None)
        tables = make_tables(self._in_kernel, self.dataset.channels)
        arrays = {name: xp.asarray(x) for name, x in tables._asdict().items() if isinstance(x, np.ndarray)}
        self._tables = tables._replace(**arrays)
        # With one image of the part before, if images are mixed (see `portion.Drawn`).
        self._lead = int(loader.ranks > 1 and loader.objective.mixer is not None)
        batch, size = loader.batch_size // loader.ranks + self._lead, self._image_shape
        self._rows = batch
        self._operations = self._in_kernel.randaugment[0] if self._in_kernel.randaugment else 0
        noise = batch * int(np.prod(size)) if self.augment.erasing else 0  # as much as can be
        self._sizes = batch * len(kernels.CHANGE), batch * self._operations * 3, noise
        self._packed = xp.empty(sum(self._sizes), xp.int32)
        self._copies = PinnedCopies(xp, sum(self._sizes), np.int32)
        self._sending: dict[str, PinnedCopies] = {}  # of what the objective draws

    @property
    def _image_shape(self) -> tuple[int, int, int]:
        return *self.augment.image_size, self.dataset.channels

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[DeviceBatch]:
        return self._batches()

    def batch(self, step: int) -> DeviceBatch:
        """The batch of one step, made here and now."""
        return self._make(self._draw(step))

    def close(self) -> None:
        """Stop the background threads of every iteration that still runs."""
        self.loader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _batches(self) -> Generator[DeviceBatch, None, None]:
        with contextlib.closing(self.loader.ahead(self._draw)) as all_drawn:
            try:
                for drawn in all_drawn:
                    yield self._make(drawn)
            finally:
                self._stream.synchronize()  # no buffer is given back while it is being copied

    def _draw(self, step: int) -> _Drawn:
        """Everything random of a step; runs in the loader's threads and touches no GPU."""
        rows, changes, mixing, beside = portion.draw(self.loader, step)
        if self._resident:
            return _Drawn(self._pack(self.loader.indices(step)[rows], changes), mixing, beside)
        columns = {"labels": np.zeros(len(rows), np.int64), **portion.read(self.loader, step, rows, changes)}
        if self._in_kernel is not self.augment:
            columns["images"] = self.augment.altered(columns["images"], changes)
            changes = replace(changes, corners=None, flipped=None, operations=None)
        return _Drawn(self._pack(np.arange(len(rows)), changes), mixing, beside, columns)

    def _pack(self, indices: np.ndarray, changes: Changes) -> np.ndarray:
        """One array of int32: what happens to each image, the operations, the bits of the noise."""
        columns = {name: np.zeros(len(indices), np.int32) for name in kernels.CHANGE}
        columns["original"][:] = indices
        if changes.corners is not None:
            columns["top"][:], columns["left"][:] = changes.corners - self.augment.crop_padding
        if changes.flipped is not None:
            columns["flipped"][:] = changes.flipped
        start = 0
        for erasure in changes.erasures:
            numbers = start, erasure.top, erasure.left, *erasure.noise.shape[:2]
            for name, number in zip(("noise", *kernels.CHANGE[-4:]), numbers, strict=True):
                columns[name][erasure.image] = number
            start += erasure.noise.size
        parts = [np.stack([columns[name] for name in kernels.CHANGE], axis=1).ravel()]
        if changes.operations is not None:
            parts.append(encode(changes.operations).ravel())
        return np.concatenate([*parts, *(erasure.noise.ravel().view(np.int32) for erasure in changes.erasures)])

    def _make(self, drawn: _Drawn) -> DeviceBatch:
        """The batch from these draws."""
        self._copies.send(drawn.packed, self._packed[: len(drawn.packed)])
        xp, batch, mixing = self.xp, self._rows, drawn.mixing
        images, labels = xp.empty((batch, *self._image_shape), xp.float32), xp.empty(batch, xp.int64)
        changes, operations, noise = self._parts()
        with self._originals(drawn) as given:
            kernels.augment(given["images"], given["labels"], changes, operations, noise, self._tables, images, labels)
        if mixing is not None:
            unmixed, numbers, whole = images, labels, (0, images.shape[1], 0, images.shape[2])
            images, labels = xp.empty_like(images), xp.empty((batch, len(self.dataset.classes)), xp.float32)
            weights = (mixing.share, 1 - mixing.share)
            kernels.mix_images(unmixed, images, mixing.box or whole, *((0.0, 1.0) if mixing.box else weights))
            kernels.mix_labels(numbers, labels, *weights)
            images, labels = images[self._lead :], labels[self._lead :]
        made = {"images": images, "labels": labels}
        beside = {name: self._sent(name, x) for name, x in drawn.beside.items()}
        return {**{name: x for name, x in made.items() if name in self.loader.objective.columns}, **beside}

    @contextlib.contextmanager
    def _originals(self, drawn: _Drawn) -> Iterator[dict[str, Array]]:
        """The images and labels that the kernel reads; work queued on the current stream in this context may do so."""
        if self._resident:
            yield self._resident
            return
        buffer, current = self._buffers[0], self.xp.cuda.get_current_stream()
        self._buffers.reverse()
        buffer.fill(drawn.columns or {}, self._stream)
        yield buffer.take(current)
        buffer.used.record(current)

    def _sent(self, name: str, values: np.ndarray) -> Array:
        """An array drawn on the host, copied to the GPU."""
        values = np.asarray(values)
        if name not in self._sending:
            self._sending[name] = PinnedCopies(self.xp, values.size, values.dtype)
        target = self.xp.empty(values.shape, values.dtype)
        self._sending[name].send(values.ravel(), target.reshape(-1))
        return target

    def _parts(self) -> tuple[Array, Array, Array]:
        """The parts of the packed numbers in the GPU's memory: changes, operations, noise."""
        end_of_changes, end_of_operations = self._sizes[0], self._sizes[0] + self._sizes[1]
        batch = self._rows
        return (
            self._packed[:end_of_changes],
            self._packed[end_of_changes:end_of_operations].reshape(batch, self._operations, 3),
            self._packed[end_of_operations:].view(self.xp.float32),
        )
