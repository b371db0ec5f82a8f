"""Where the time of a step goes: every op on the tape timed, forward and backward.

The watcher of `minivit.tensor.watch` is called after every op; the time since the call before is the op's. For the
backward pass it puts a stop-watch around the node's vjp.
"""

import collections
import dataclasses
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from minivit.tensor import Tensor, watch


@dataclasses.dataclass
class OpTime:
    """One op's calls and seconds, summed over the worker threads."""

    calls: int = 0
    forward: float = 0.0
    backward: float = 0.0


class _TimedVjp:
    """A vjp that adds up its time. It shows the closure of the vjp, by which the engine knows the arrays it holds."""

    def __init__(self, vjp: Callable, entry: OpTime):
        self.vjp, self.entry = vjp, entry
        self.__closure__ = getattr(vjp, "__closure__", None)

    def __call__(self, g: Any) -> Any:
        begin = time.perf_counter()
        result = self.vjp(g)
        self.entry.backward += time.perf_counter() - begin
        return result


class Profile:
    """The watcher: `with profile: step(...)`, then `profile.ops`, by name with the shapes of the inputs' last axes."""

    def __init__(self) -> None:
        self.ops: dict[str, OpTime] = collections.defaultdict(OpTime)
        self._thread = threading.local()
        self._lock = threading.Lock()

    def __enter__(self) -> "Profile":
        self._watch = watch(self._look)
        self._watch.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._watch.__exit__(*exception)

    def start(self) -> None:
        """The forward pass of this thread begins now."""
        self._thread.last = time.perf_counter()

    def _look(self, op: str, inputs: Sequence[Any], output: Tensor) -> None:
        now = time.perf_counter()
        with self._lock:
            entry = self.ops[op]
            entry.calls += 1
            entry.forward += now - getattr(self._thread, "last", now)
        if output.node is not None and output.node.vjp is not None:
            output.node.vjp = _TimedVjp(output.node.vjp, entry)
        self._thread.last = time.perf_counter()
