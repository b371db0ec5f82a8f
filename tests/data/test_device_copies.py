"""Copies to the GPU while it computes: nothing is overwritten while it is read, nothing is read before it is there.

The device here is a model of which only this matters: its streams fall behind. Work is queued, and runs when the
schedule of the test lets it or the host waits for it. A copy reads host memory when it runs, as from pinned memory.
"""

import sys
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from minivit.backend.cupy_kernels import augment as kernels
from minivit.data import ArrayDataset, Augment, Loader
from minivit.data.device_loader import DeviceLoader
from minivit.data.prefetcher import Prefetcher
from minivit.nn import Module
from minivit.update.objective import Classification


class Stream:
    """A queue of things to run in order; each returns whether it could be done. `eager`: run as early as possible."""

    def __init__(self, device: "LazyDevice", eager: bool):
        self.device, self.eager = device, eager
        self.queue: deque[Callable[[], bool]] = deque()

    def add(self, operation: Callable[[], bool]) -> None:
        self.queue.append(operation)
        self.device.run_eager()

    def advance(self) -> bool:
        """Run one operation, if there is one and it need not wait."""
        if self.queue and self.queue[0]():
            self.queue.popleft()
            return True
        return False

    def wait_event(self, event: "Event") -> None:
        recorded = event.recorded  # later records do not matter
        self.add(lambda: event.count >= recorded)

    def synchronize(self) -> None:
        self.device.run_until(lambda: not self.queue)


class Event:
    """Counts how often it was recorded, and how many of these have been reached."""

    def __init__(self, device: "LazyDevice"):
        self.device, self.recorded, self.count = device, 0, 0

    @property
    def done(self) -> bool:
        """Whether all that came before the last `record` is done."""
        return self.count >= self.recorded

    def record(self, stream: Stream) -> None:
        self.recorded += 1
        number = self.recorded

        def reached() -> bool:
            self.count = number
            return True

        stream.add(reached)

    def synchronize(self) -> None:
        number = self.recorded
        self.device.run_until(lambda: self.count >= number)


class Array:
    """Memory of the device. `shape`, slices, `view` and `reshape` as NumPy's."""

    def __init__(self, content: np.ndarray):
        self.content, self.shape, self.size = content, content.shape, content.size

    def __len__(self) -> int:
        return len(self.content)

    def __getitem__(self, index: Any) -> "Array":
        return Array(self.content[index])

    def view(self, dtype: Any) -> "Array":
        return Array(self.content.view(dtype))

    def reshape(self, *shape: int) -> "Array":
        return Array(self.content.reshape(shape))

    def set(self, host: np.ndarray, stream: Stream) -> None:
        assert (host.shape, host.dtype) == (self.shape, self.content.dtype)

        def copy() -> bool:
            self.content[...] = host
            return True

        stream.add(copy)


class LazyDevice:
    """`xp` for the code under test. eager: which of its streams, "compute" and "copy", run as early as they can.

    without: a method, such as "copy.wait_event", that does nothing, so that a test can show that it notices.
    """

    int32, int64, float32 = np.int32, np.int64, np.float32

    def __init__(self, eager: tuple[str, ...], without: str = ""):
        self.arrays: list[Array] = []
        self.streams: list[Stream] = []

        def new(kind: str) -> Any:
            thing: Any = Event(self) if kind == "event" else Stream(self, kind in eager)
            if kind != "event":
                self.streams.append(thing)
            if without.partition(".")[0] == kind:
                setattr(thing, without.partition(".")[2], lambda *arguments: None)
            return thing

        self.compute = new("compute")
        self.cuda = SimpleNamespace(
            Stream=lambda non_blocking: new("copy"), Event=lambda: new("event"), get_current_stream=lambda: self.compute
        )

    def asarray(self, x: np.ndarray) -> Array:
        return Array(np.array(x))

    def empty(self, shape: Any, dtype: Any) -> Array:
        self.arrays.append(Array(np.zeros(shape, dtype)))
        return self.arrays[-1]

    def read(self, array: Array, into: list[np.ndarray]) -> None:
        """Queue that `array`, as it is when that runs, is added to a list: what a consumer does."""

        def read() -> bool:
            into.append(array.content.copy())
            return True

        self.compute.add(read)

    def run_eager(self) -> None:
        while any(stream.advance() for stream in self.streams if stream.eager):
            pass

    def run_until(self, condition: Callable[[], bool]) -> None:
        """Run no more than needed, one operation of each stream in turn."""
        while not condition():
            for stream in reversed(self.streams):
                if not condition():
                    stream.advance()

    def finish(self) -> None:
        self.run_until(lambda: not any(stream.queue for stream in self.streams))


SCHEDULES = [(), ("copy",), ("compute",), ("compute", "copy")]  # the streams that run as early as they can


@pytest.fixture(autouse=True)
def cupyx(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupyx", SimpleNamespace(empty_pinned=np.empty))


def loader(**options):
    images = np.random.default_rng(0).integers(0, 256, (23, 4, 6, 1), dtype=np.uint8)
    dataset = ArrayDataset(images, np.arange(23) % 5, list("abcde"), "noise")
    objective = Classification(Module(), mixup=options.pop("mixup", 0.0), classes=5)
    options = {"total_steps": 9, "seed": 3, **options}
    return Loader(dataset, 5, Augment((4, 6), flip=True, crop_padding=1), objective, **options)


def pairs(batches):
    return [(batch["images"], batch["labels"]) for batch in batches]


def prefetched(eager, without="", **options):
    """What a consumer reads, batch for batch, on a device with this schedule."""
    device, images, labels = LazyDevice(eager, without), [], []
    for batch in Prefetcher(loader(**options), device):
        device.read(batch["images"], images)
        device.read(batch["labels"], labels)
    device.finish()
    return list(zip(images, labels, strict=True))


def same(a, b):
    return len(a) == len(b) and all(
        np.array_equal(x, y) and x.dtype == y.dtype
        for one, two in zip(a, b, strict=True)
        for x, y in zip(one, two, strict=True)
    )


@pytest.mark.parametrize("eager", SCHEDULES)
@pytest.mark.parametrize("options", [{}, {"mixup": 0.5}, {"start_step": 8}, {"start_step": 7}, {"start_step": 9}])
def test_every_batch_arrives_whole(eager, options):
    assert same(prefetched(eager, **options), pairs(loader(**options)))


@pytest.mark.parametrize("missing", ["event.synchronize", "copy.wait_event", "compute.wait_event"])
def test_without_waiting_it_would_not(missing):
    assert not all(same(prefetched(eager, missing), pairs(loader())) for eager in SCHEDULES)


def test_the_next_batch_is_copied_before_it_is_asked_for():
    device, expected = LazyDevice(("compute", "copy")), [batch["images"] for batch in loader()]
    batches = iter(Prefetcher(loader(), device))
    images = next(batches)["images"]
    assert np.array_equal(images.content, expected[0])
    assert np.array_equal(device.arrays[2].content, expected[1])  # images and labels of one buffer, then of the other


def test_new_memory_is_not_written_before_earlier_work_is_done():
    device = LazyDevice(("copy",))
    device.compute.add(lambda: True)  # may read memory that the pool has given out again
    images = next(batches := iter(Prefetcher(loader(), device)))["images"]
    assert not images.content.any()
    device.finish()
    assert images.content.any()
    batches.close()


def test_leaving_the_loop_waits_for_the_copies_and_stops_the_threads(data_threads):
    device = LazyDevice(())
    with Prefetcher(loader(), device) as prefetcher:
        for _ in prefetcher:
            break
        assert not device.streams[1].queue
        held = iter(prefetcher)
        next(held)
        assert data_threads()
    assert data_threads() == []
    assert len(Prefetcher(loader(start_step=2), device)) == 7


def drawn_and_received(monkeypatch, eager, without=""):
    """The changes of each step as they were drawn, and as the kernel on the GPU gets them."""
    device, received = LazyDevice(eager, without), []
    monkeypatch.setattr(kernels, "augment", lambda a, b, changes, *rest: device.read(changes, received))
    batches = DeviceLoader(loader(), device)
    for _ in batches:
        pass
    device.finish()
    return [batches._draw(step).packed for step in range(9)], received


@pytest.mark.parametrize("eager", SCHEDULES)
def test_the_kernel_gets_what_was_drawn_for_its_step(monkeypatch, eager):
    drawn, received = drawn_and_received(monkeypatch, eager)
    assert all(np.array_equal(a, b) for a, b in zip(drawn, received, strict=True))
    assert len({packed.tobytes() for packed in drawn}) == 9


def copied_and_received(monkeypatch, eager, without=""):
    """The images of each step as they were read, and as the kernel gets them where they do not stay on the GPU."""
    device, received = LazyDevice(eager, without), []
    monkeypatch.setattr(kernels, "augment", lambda images, *rest: device.read(images, received))
    batches = DeviceLoader(loader(), device, room=0)
    for _ in batches:
        pass
    device.finish()
    return [batches._draw(step).columns["images"] for step in range(9)], received


@pytest.mark.parametrize("eager", SCHEDULES)
def test_the_kernel_gets_the_images_of_its_step(monkeypatch, eager):
    read, received = copied_and_received(monkeypatch, eager)
    assert all(np.array_equal(a, b) for a, b in zip(read, received, strict=True))


@pytest.mark.parametrize("missing", ["event.synchronize", "copy.wait_event", "compute.wait_event"])
def test_without_waiting_it_would_get_images_of_another_step(monkeypatch, missing):
    results = [copied_and_received(monkeypatch, eager, missing) for eager in SCHEDULES]
    assert not all(np.array_equal(a, b) for pair in results for a, b in zip(*pair, strict=True))


def test_the_images_of_the_next_batch_are_copied_while_the_gpu_computes(monkeypatch):
    monkeypatch.setattr(kernels, "augment", lambda *arrays: None)
    device = LazyDevice(("copy",))
    loading = DeviceLoader(loader(), device, room=0)
    batches = iter(loading)
    for _ in range(2):
        next(batches)
    device.finish()
    for _ in range(2):
        next(batches)  # and the GPU has not begun to work on it
    copied = [array.content for array in device.arrays if array.content.dtype == np.uint8]
    assert [x.tolist() for x in copied] == [loading._draw(step).columns["images"].tolist() for step in (2, 3)]


def test_leaving_the_loop_waits_for_the_images(monkeypatch):
    monkeypatch.setattr(kernels, "augment", lambda *arrays: None)
    device = LazyDevice(())
    for _ in DeviceLoader(loader(), device, room=0):
        assert device.streams[1].queue
        break
    assert not device.streams[1].queue


def test_without_waiting_it_would_get_those_of_another_step(monkeypatch):
    drawn, received = drawn_and_received(monkeypatch, (), "event.synchronize")
    assert not all(np.array_equal(a, b) for a, b in zip(drawn, received, strict=True))
