"""Every engine runs in a process of its own, one step at a time on request, so that engines can take turns: the speed
of a shared machine changes by the minute, and only neighbouring steps can be compared."""

import contextlib
import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, TextIO

from minivit.bench.engines import ENGINES
from minivit.bench.gpu_engines import GPU_ENGINES
from minivit.bench.launching import end, environment, launch
from minivit.bench.ranked import Ranked
from minivit.bench.workload import Workload
from minivit.errors import MinivitError
from minivit.models import ViTConfig
from minivit.ranks.launch import joined


class EngineProcess:
    """A child process that runs `engine` on `load`; a context manager. backend: "numpy", or "cupy" for a GPU. ranks: as
    so many processes under mpirun, a group of their own; 0 for one process without it.

    run(n): n steps, returns seconds per step.   peak_memory(): the most MB of memory that it ever held.
    Raises MinivitError, with the engine's last output, if it ends.
    """

    def __init__(
        self,
        engine: str,
        load: Workload,
        training: bool,
        options: Mapping[str, Any],
        backend: str = "numpy",
        ranks: int = 0,
    ):
        self.engine, self.ranks = engine, ranks
        request = {
            "load": dataclasses.asdict(load),
            "training": training,
            "options": dict(options),
            "backend": backend,
        }
        launcher = launch(ranks) if ranks else []
        # a pipe that nobody reads would block a talkative engine
        self._words = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [*launcher, sys.executable, "-m", "minivit.bench.process", engine, json.dumps(request)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            text=True,
            start_new_session=ranks > 0,
            env=environment(options.get("workers") or 1) if ranks else None,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.ranks:
            end(self._process)
        else:
            self._process.kill()
            self._process.communicate()
        self._words.close()

    def run(self, steps: int = 1) -> float:
        """Seconds per step."""
        return self.ask(str(steps))

    def peak_memory(self) -> float:
        """Most MB of memory held so far."""
        return self.ask("memory")

    def ask(self, request: str) -> float:
        """The answer to one line, see `serve`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(request + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except OSError:  # on Windows a broken pipe is no BrokenPipeError
            answer = ""
        if not answer:
            self._process.wait()
            self._words.seek(0)
            words = self._words.read().strip().splitlines() or [f"no message, exit status {self._process.returncode}"]
            errors = [line for line in words if re.match(r"([\w.]+(Error|Exception)|error): ", line)]
            raise MinivitError(f"{self.engine} ended: {(errors or words)[-1]}")  # mpirun adds words of its own
        return json.loads(answer)


def peak_memory() -> float:
    """The most MB of memory that this process ever held; NaN if the system does not report it."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text(encoding="utf-8").split("VmHWM:")[1].split()[0]) * 1024 / 1e6
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e6 / 1024)


def serve(engine: str, request: dict[str, Any]) -> None:
    """Answer requests, one a line, until standard input ends. Several ranks get them from the first, which answers."""
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)  # what the engine prints must not look like an answer
    load = Workload(**{**request["load"], "model": ViTConfig(**_sizes(request["load"]["model"]))})
    with joined() if engine == "ranks" else contextlib.nullcontext() as ranks:
        if ranks:
            step: Any = Ranked(load, request["training"], ranks, **request["options"])
        else:
            engines = GPU_ENGINES if request["backend"] == "cupy" else ENGINES
            step = engines[engine](load, request["training"], **request["options"])
        answer_all(step, answers)


def answer_all(step: Any, answers: TextIO) -> None:
    """Answer the requests of standard input."""
    for line in step.requests(sys.stdin) if hasattr(step, "requests") else sys.stdin:
        answer = reply(step, line.strip())
        if getattr(step, "first", True):
            answers.write(json.dumps(answer) + "\n")


def reply(step: Any, request: str) -> float:
    """The peak of memory in MB for "memory", what the engine itself knows by a name, or seconds per step for a number
    of steps."""
    name, *numbers = request.split()
    if name == "memory":
        return step.peak_memory() if hasattr(step, "peak_memory") else peak_memory()
    if name in getattr(step, "replies", ()):
        return step.replies[name](*map(int, numbers))
    steps = int(name)
    if hasattr(step, "seconds"):  # by the clock of the device
        return step.seconds(steps)
    begin = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - begin) / steps


def _sizes(fields: dict[str, Any]) -> dict[str, Any]:
    """JSON has lists where ViTConfig has tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


if __name__ == "__main__":
    serve(sys.argv[1], json.loads(sys.argv[2]))
