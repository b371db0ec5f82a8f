"""`cupy.cuda` of the stand-in: one device, which is the machine's memory."""

import contextlib
import time
import types
from collections.abc import Iterator
from typing import Any

from standin_cupy import device
from standin_cupy.device import CUDARuntimeError, Stream, current
from standin_cupy.memory import BLOCK, TOTAL_MEMORY, MemoryPointer, MemoryPool, OutOfMemoryError

MULTIPROCESSORS = 4
DEVICES = 1  # tests set it to 0 for a machine without a GPU


class CUDADriverError(RuntimeError):
    """An error that the CUDA driver reports, at a launch for example."""


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
    """The one device."""

    compute_capability = "90"

    def __init__(self, device: int | None = None):
        self.id = device or 0

    def __enter__(self) -> "Device":
        return self

    def __exit__(self, *error: Any) -> None:
        pass

    def use(self) -> "Device":
        return self

    def synchronize(self) -> None:
        device.synchronise("Device.synchronize")

    @property
    def mem_info(self) -> tuple[int, int]:
        return memory_info()


def memory_info() -> tuple[int, int]:
    """(free, total) bytes."""
    return TOTAL_MEMORY - device.default_pool.total_bytes(), TOTAL_MEMORY


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
    if not DEVICES:
        raise CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")
    return DEVICES


def properties(device_id: int) -> dict[str, Any]:
    return {
        "name": b"CPU behind the stand-in for CuPy",
        "totalGlobalMem": TOTAL_MEMORY,
        "major": 9,
        "minor": 0,
        "multiProcessorCount": MULTIPROCESSORS,
        "sharedMemPerBlockOptin": 227 << 10,
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
    is_available=lambda: DEVICES > 0,
    memory=submodule("cupy.cuda.memory", OutOfMemoryError=OutOfMemoryError, MemoryPointer=MemoryPointer),
    runtime=submodule(
        "cupy.cuda.runtime",
        CUDARuntimeError=CUDARuntimeError,
        deviceSynchronize=lambda: device.synchronise("deviceSynchronize"),
        driverGetVersion=lambda: 13000,
        getDevice=lambda: 0,
        getDeviceCount=device_count,
        cudaDevAttrMaxSharedMemoryPerBlockOptin=97,
        cudaDevAttrMultiProcessorCount=16,
        deviceGetAttribute=lambda attribute, device: {97: 227 << 10, 16: MULTIPROCESSORS}[attribute],
        getDeviceProperties=properties,
        memGetInfo=memory_info,
        runtimeGetVersion=lambda: 13000,
        streamCaptureModeRelaxed=2,
    ),
    set_allocator=lambda allocator=None: None,  # every array is an allocation of its own already
    using_allocator=using_allocator,
)
