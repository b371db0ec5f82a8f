"""Chooses among cuBLASLt's algorithms by timing them, instead of trusting the first.

Off by default, because the rounding of a run would then depend on which was fastest at its start;
MINIVIT_CUBLASLT_TUNE=1 turns it on. Every problem is timed once, at its first product, unless that is captured in a
graph.
"""

import math
import os
from typing import Any

from minivit.backend.arrays import Array, xp_of
from minivit.backend.cupy_kernels.cublaslt import Matmul
from minivit.errors import BackendError

ROUNDS = 10  # products per timing


def wanted(stream: Any) -> bool:
    """Whether to time algorithms now; never while the stream is captured, when nothing may wait."""
    return os.environ.get("MINIVIT_CUBLASLT_TUNE") == "1" and not stream.is_capturing()


def choose_fastest(matmul: Matmul, a: int, b: int, out: Array, bias: int | None, workspace: int, stream: Any) -> None:
    """Let `matmul` use the fastest of its algorithms.

    a, b, bias: addresses. What is computed goes to scratch memory laid out as `out`, which may be about to be added to.
    """
    cuda = xp_of(out).cuda
    last = sum((size - 1) * stride for size, stride in zip(out.shape, out.strides, strict=True))
    scratch = xp_of(out).empty(last + out.itemsize, dtype="uint8")

    def milliseconds(rounds: int) -> float:
        start, end = cuda.Event(), cuda.Event()
        start.record(stream)
        for _ in range(rounds):
            matmul.run(a, b, scratch.data.ptr, bias, 1.0, 0.0, workspace, stream.ptr)
        end.record(stream)
        end.synchronize()
        return cuda.get_elapsed_time(start, end)

    times = []
    for algorithm in matmul.algorithms:
        matmul.algorithm = algorithm
        try:
            milliseconds(1)  # the first run of a kernel also loads it
            times.append(milliseconds(ROUNDS))
        except BackendError:  # proposed, but refused
            times.append(math.inf)
    matmul.algorithm = matmul.algorithms[times.index(min(times))]
