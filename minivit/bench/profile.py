"""Where the time of a step goes: every op on the tape timed, forward and backward.

The watcher of `minivit.tensor.watch` is called after every op; the time since the last call is the op's. For the
backward pass it puts a stop-watch around the node's vjp.
"""

import collections
import dataclasses
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from minivit.backward import Node
from minivit.bench.engines import Minivit
from minivit.bench.workload import Workload
from minivit.tape import saved_bytes
from minivit.tensor import Tensor, watch

# Arithmetic per element of the result, forward and backward, counting a pass of the kernel as one operation.
PASSES = {"gelu": 15, "layer_norm": 19}


@dataclasses.dataclass
class OpTime:
    """One op in one step: number of calls, seconds (of one worker; they run side by side), work, and the memory
    traffic that is unavoidable: arguments, results, cotangents and saved arrays, each once per pass."""

    calls: float = 0
    forward: float = 0.0
    backward: float = 0.0
    flop: float = 0.0
    bytes: float = 0.0


class Profile:
    """Times every op of the steps inside its `with` block, in all threads that they start."""

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

    def add(self, op: str, **amounts: float) -> None:
        """Add to the fields of an op."""
        with self._lock:
            entry = self.ops[op]
            for name, amount in amounts.items():
                setattr(entry, name, getattr(entry, name) + amount)

    def mark(self) -> None:
        """Count the further work of this thread towards the next op."""
        self._thread.last = time.perf_counter()

    def _look(self, op: str, inputs: Sequence[Any], output: Tensor) -> None:
        now = time.perf_counter()
        node = output.node
        if node is not None and node.vjp is not None:  # others, on the images, are the first after a pause
            self.add(op, calls=1, forward=now - getattr(self._thread, "last", now))
            arguments = sum(getattr(x, "data", x).nbytes for x in inputs if hasattr(x, "dtype"))
            kept = saved_bytes(node)
            moved = arguments + output.data.nbytes + kept
            moved *= 2 if kept else 1  # what saves nothing hands its cotangent on
            self.add(op, flop=flop(node), bytes=moved)
            node.vjp = _TimedVjp(node.vjp, op, self)
        self.mark()


class _TimedVjp:
    """A vjp that adds up its time. It shows the closure of the vjp, by which the engine knows the arrays it holds."""

    def __init__(self, vjp: Callable, op: str, profile: Profile):
        self.vjp, self.op, self.profile = vjp, op, profile
        self.__closure__ = getattr(vjp, "__closure__", None)

    def __call__(self, g: Any) -> Any:
        begin = time.perf_counter()
        result = self.vjp(g)
        self.profile.add(self.op, backward=time.perf_counter() - begin)
        self.profile.mark()
        return result


def flop(node: Node) -> float:
    """Arithmetic of an op, forward and backward; 0 for those that only move data."""
    y: tuple[int, ...] = node.output_shape
    if node.op in ("linear", "linear_gelu"):
        return 6 * math.prod(y) * _shape(node)[-1]
    if node.op == "attention":
        return 12 * math.prod(y) * _shape(node)[1]
    return PASSES.get(node.op, 0) * math.prod(y)


def _shape(node: Node) -> tuple[int, ...]:
    """Of the first argument."""
    return node.input_shapes[0]


def profile(load: Workload, steps: int = 3, **options: Any) -> tuple[dict[str, OpTime], float]:
    """The ops of a training step of minivit, slowest first, and the seconds of a step without the stop-watches."""
    engine = Minivit(load, training=True, **options)
    engine()
    begin = time.perf_counter()
    for _ in range(steps):
        engine()
    seconds = (time.perf_counter() - begin) / steps
    watcher = Profile()
    with watcher:
        for _ in range(steps):
            engine()
    engine.close()
    for entry in watcher.ops.values():
        entry.forward /= engine.workers.count
        entry.backward /= engine.workers.count
        for field in dataclasses.fields(entry):
            setattr(entry, field.name, getattr(entry, field.name) / steps)
    return dict(sorted(watcher.ops.items(), key=lambda item: -item[1].forward - item[1].backward)), seconds
