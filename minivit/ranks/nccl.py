"""Sums over ranks of arrays that lie on GPUs, one GPU for each rank, by NVIDIA's NCCL."""

import importlib
from collections.abc import Callable, Sequence
from typing import Any

from minivit.backend import Array
from minivit.errors import BackendError, reasons
from minivit.ranks import Ranks


class GpuRanks(Ranks):
    """The same ranks for arrays of CuPy: they stay on the GPUs, in the order of the current stream, and sums can be
    recorded in a CUDA graph.   xp: CuPy. Raises BackendError, on every rank, without NCCL."""

    def __init__(self, ranks: Ranks, xp: Any):
        self.rank, self.count, self._xp = ranks.rank, ranks.count, xp
        self._nccl = ranks.each(lambda: usable(lambda: importlib.import_module("cupy.cuda.nccl")))
        key = ranks.first(lambda: usable(self._nccl.get_unique_id))
        self._comm = ranks.each(lambda: usable(lambda: self._nccl.NcclCommunicator(self.count, key, self.rank)))

    def add(self, arrays: Sequence[Array]) -> None:
        """Add each array over the ranks, in place."""
        stream = self._xp.cuda.get_current_stream().ptr
        self._nccl.groupStart()
        for x in arrays:
            self._comm.allReduce(x.data.ptr, x.data.ptr, x.size, self._type(x), self._nccl.NCCL_SUM, stream)
        self._nccl.groupEnd()

    def joined(self, array: Array) -> Array:
        own = self._xp.ascontiguousarray(array)
        whole = self._xp.empty((self.count * len(own), *own.shape[1:]), own.dtype)
        stream = self._xp.cuda.get_current_stream().ptr
        self._comm.allGather(own.data.ptr, whole.data.ptr, own.size, self._type(own), stream)
        return whole

    def _type(self, x: Array) -> int:
        return getattr(self._nccl, f"NCCL_{x.dtype.name.upper()}")


def usable(action: Callable[[], Any]) -> Any:
    """action(). Raises BackendError if CuPy lacks NCCL, or NCCL fails, as for two processes with the same GPU."""
    try:
        return action()
    except Exception as error:  # CuPy reports a missing library in its own ways
        raise BackendError(f"several processes need NCCL and a GPU each, but NCCL fails ({reasons(error)})") from error
