"""`cupy.cuda` of the stand-in: one device, which is the machine's memory."""

import contextlib
import time
import types
from collections.abc import Iterator
from typing import Any

from standin_cupy import device
from standin_cupy.device import CUDARuntimeError, Stream, current
from standin_cupy.machine import machine
from standin_cupy.memory import BLOCK, MemoryPointer, MemoryPool, OutOfMemoryError, Taken

MULTIPROCESSORS = 4


class CUDADriverError(RuntimeError):
    """An error that the CUDA driver reports, at a launch for example."""

    __module__ = "cupy_backends.cuda.api.driver"


class Event:
    """A moment in a stream."""

    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False):
        self.time: float | None = None

    def record(self, stream: Stream | None = None) -> None:
        self.time = time.perf_counter()

    def synchronize(self) -> None:
        device.synchronise("Event.synchronize")

    @property
    def done(self) -> bool:
        return True


def get_elapsed_time(start_event: Event, end_event: Event) -> float:
    """Milliseconds."""
    if start_event.time is None or end_event.time is None:
        raise CUDARuntimeError("cudaErrorInvalidResourceHandle: an event was not recorded")
    return 1000 * (end_event.time - start_event.time)


class Device:
    """A device; all of them are the machine's memory."""

    def __init__(self, device_id: int | None = None):
        self.id = current().device if device_id is None else device_id
        self._outer: list[int] = []

    @property
    def compute_capability(self) -> str:
        return "{}{}".format(*machine.capabilities[self.id])

    def __enter__(self) -> "Device":
        self._outer.append(current().device)
        return self.use()

    def __exit__(self, *error: Any) -> None:
        current().device = self._outer.pop()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and self.id == other.id

    def __hash__(self) -> int:
        return self.id

    def use(self) -> "Device":
        device_count()
        if self.id >= len(machine.capabilities):
            raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        current().device = self.id
        return self

    def synchronize(self) -> None:
        device.synchronise("Device.synchronize")

    @property
    def mem_info(self) -> tuple[int, int]:
        return memory_info()


def memory_info() -> tuple[int, int]:
    """(free, total) bytes."""
    return machine.memory - Taken.bytes, machine.memory


def alloc_pinned_memory(size: int) -> bytearray:
    """Host memory; at least `size` bytes, for pools give whole blocks."""
    return bytearray(-(-size // BLOCK) * BLOCK)


def alloc(size: int) -> MemoryPointer:
    return current().pool.malloc(size)


@contextlib.contextmanager
def using_allocator(allocator: Any = None) -> Iterator[None]:
    """Within this context (and this thread) arrays get their memory from the pool whose `malloc` is given."""
    outer, current().pool = current().pool, allocator.__self__
    try:
        yield
    finally:
        current().pool = outer


def device_count() -> int:
    if not machine.capabilities:
        raise CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")
    return len(machine.capabilities)


def properties(device_id: int) -> dict[str, Any]:
    return {
        "name": b"CPU behind the stand-in for CuPy",
        "totalGlobalMem": machine.memory,
        "major": machine.capabilities[device_id][0],
        "minor": machine.capabilities[device_id][1],
        "multiProcessorCount": MULTIPROCESSORS,
        "sharedMemPerBlockOptin": machine.shared_memory(device_id),
    }


def submodule(name: str, **members: Any) -> types.ModuleType:
    module = types.ModuleType(name)
    vars(module).update(members)
    return module


cuda = submodule(
    "cupy.cuda",
    Device=Device,
    Event=Event,
    Graph=device.Graph,
    MemoryPointer=MemoryPointer,
    MemoryPool=MemoryPool,
    Stream=Stream,
    alloc=alloc,
    alloc_pinned_memory=alloc_pinned_memory,
    driver=submodule(
        "cupy.cuda.driver",
        CUDADriverError=CUDADriverError,
        occupancyMaxActiveBlocksPerMultiprocessor=lambda func, blockSize, dynamicSMemSize: 1024 // blockSize,
    ),
    get_current_stream=lambda device_id=-1: current().stream,
    get_elapsed_time=get_elapsed_time,
    is_available=lambda: bool(machine.capabilities),
    memory=submodule("cupy.cuda.memory", OutOfMemoryError=OutOfMemoryError, MemoryPointer=MemoryPointer),
    runtime=submodule(
        "cupy.cuda.runtime",
        CUDARuntimeError=CUDARuntimeError,
        deviceSynchronize=lambda: device.synchronise("deviceSynchronize"),
        driverGetVersion=lambda: 13000,
        getDevice=lambda: current().device,
        getDeviceCount=device_count,
        cudaDevAttrMaxSharedMemoryPerBlockOptin=97,
        cudaDevAttrMultiProcessorCount=16,
        deviceGetAttribute=lambda attribute, device_id: {97: machine.shared_memory(device_id), 16: MULTIPROCESSORS}[
            attribute
        ],
        getDeviceProperties=properties,
        memGetInfo=memory_info,
        runtimeGetVersion=lambda: 1000 * machine.cuda,
        streamCaptureModeRelaxed=2,
    ),
    set_allocator=lambda allocator=None: None,  # every array is an allocation of its own already
    using_allocator=using_allocator,
)
