"""The grader's side of a student's process: it starts one for each check, speaks with it, watches its time, and ends it.

A server (child.py) has NumPy loaded and forks; a `Remote` is one such process with one submission, called as
`trial.Direct` is. What comes back are plain arrays made here of bytes whose size and dtype were tested. Protects
against crashes, endless loops, floods of memory and output, forged results, patched libraries, reading of files, and
further processes. Does not protect against somebody who breaks Python or the kernel itself: run the grader in a
container, without network, as a user who owns nothing.
"""

import atexit
import contextlib
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minivit.course import wire
from minivit.course.guard import BANNED
from minivit.course.trial import Apart, Engine, NotAnswered, Own, Wrong, plain, same
from minivit.errors import shown

__all__ = ["Remote", "SandboxError", "Slow", "Terms", "close"]

OUTPUT = 1 << 20
LOADING = 10.0  # CPU seconds that importing a submission may take, apart from the check's own
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
KEPT = ("SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")  # without which Python may not start


class SandboxError(Exception):
    """A student's process cannot be started at all; nobody's fault but the machine's."""


class Late(Wrong):
    """The CPU time of a check ran out."""


class Slow(Wrong):
    """The wall time ran out, but not the CPU time: the machine may have been busy."""


@dataclass(frozen=True)
class Terms:
    """What a process is given.   files: path -> bytes.   seconds: of CPU for a check; of wall time three times that."""

    files: Mapping[str, bytes]
    seconds: float = 10.0
    memory_mib: int = 2048
    banned: Sequence[str] = ()
    seed: int = 0
    own: frozenset[str] = field(default_factory=frozenset)

    def modules(self) -> list[str]:
        """The names that an import finds in the folder first."""
        return sorted({path.split("/")[0].removesuffix(".py") for path in self.files if path.endswith(".py")})


class _Server:
    """The process that forks."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        ours, theirs = socket.socketpair()
        environment = ENVIRONMENT | {name: os.environ[name] for name in KEPT if name in os.environ}
        command = [sys.executable, "-P", "-s", "-B", str(Path(__file__).with_name("child.py")), str(theirs.fileno())]
        try:
            self.process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, env=environment, cwd=os.sep, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise SandboxError(f"no process can be started: {error}") from None
        finally:
            theirs.close()
        self.control = ours
        self.control.settimeout(120)
        if self.control.recv(1) != b"r":
            self.stop()
            raise SandboxError("the process that runs submissions does not start")

    def fork(self, job: Mapping[str, Any]) -> tuple[int, socket.socket, int]:
        """A new child: its process number, the line to it, its output."""
        ours, theirs = socket.socketpair()
        output, out = os.pipe()
        try:
            socket.send_fds(self.control, [json.dumps(job).encode()], [theirs.fileno(), out])
            number = self.control.recv(4)
        except OSError:
            number = b""
        finally:
            theirs.close()
            os.close(out)
        if len(number) != 4:
            ours.close()
            os.close(output)
            raise ConnectionError
        ours.setblocking(False)
        os.set_blocking(output, False)
        return int.from_bytes(number, "little"), ours, output

    def end(self, pid: int) -> int | None:
        """End a child with all that is left of it; how it ended, or None if the server is gone."""
        try:
            self.control.sendall(b"e%d" % pid)
            status = self.control.recv(4)
        except OSError:
            status = b""
        return int.from_bytes(status, "little", signed=True) if len(status) == 4 else None

    def stop(self) -> None:
        self.control.close()
        if self.owner == os.getpid():
            self.process.kill()
            self.process.wait()


_server: _Server | None = None


def _running(afresh: bool = False) -> _Server:
    """The server of this process."""
    global _server
    if _server is not None and (afresh or _server.owner != os.getpid()):
        close()
    if _server is None:
        _server = _Server()
    return _server


@atexit.register
def close() -> None:
    """End the server of this process."""
    global _server
    if _server is not None:
        _server.stop()
        _server = None


def used(pid: int) -> float:
    """CPU seconds of a process so far; 0 where that cannot be read."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        fields = text.rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return 0.0


class _Process:
    """One child, from its start to its end."""

    def __init__(self, terms: Terms) -> None:
        self.terms, self.output = terms, bytearray()
        self.folder = os.path.realpath(tempfile.mkdtemp(prefix="course-"))
        job = {
            "folder": self.folder,
            "modules": terms.modules(),
            "banned": [*BANNED, *terms.banned],
            "memory_mib": terms.memory_mib,
            "cpu_seconds": LOADING + terms.seconds,
            "seed": terms.seed,
        }
        try:
            for path, data in terms.files.items():
                file = Path(self.folder, path)
                if ".." in file.parts or not file.is_relative_to(self.folder):
                    continue
                if "/" in path:
                    file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
            try:
                self.server = _running()
                self.pid, self.line, self.pipe = self.server.fork(job)
            except ConnectionError:  # something ended the server: the next one has to do
                self.server = _running(afresh=True)
                self.pid, self.line, self.pipe = self.server.fork(job)
        except (ConnectionError, OSError) as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise SandboxError(f"no process can be started: {error}") from None
        self.start = 0.0  # CPU seconds at the start of what is timed
        self.alive = True

    def clean(self, text: Any, limit: int = 600) -> str:
        """Words of the process without what differs from run to run."""
        text = str(text).replace(self.folder + "/", "").replace(self.folder, ".")
        return shown(re.sub(r"0x[0-9a-fA-F]{6,}", "0x...", text), limit)

    def drain(self) -> None:
        """Take what was printed; keep its beginning."""
        with contextlib.suppress(BlockingIOError, OSError):
            while text := os.read(self.pipe, 1 << 16):
                self.output += text[: max(0, OUTPUT - len(self.output))]

    def _wait(self, deadline: float, cpu: float, writing: bool = False) -> None:
        """Until the line can be used; Wrong when time is up."""
        while True:
            reads = [self.pipe] if writing else [self.line, self.pipe]
            ready, free, _ = select.select(reads, [self.line] if writing else [], [], 0.1)
            if self.pipe in ready:
                self.drain()
                if self.line not in ready and not free:
                    time.sleep(0.001)  # a pipe that was closed is always ready
            if self.line in ready or free:
                return
            if used(self.pid) - self.start > cpu:
                raise Late(f"takes more than {cpu:g} seconds of computing")
            if time.monotonic() > deadline:
                raise Slow(f"does not come back within {3 * cpu:g} seconds")

    def send(self, message: bytes, deadline: float, cpu: float) -> None:
        view = memoryview(message)
        while len(view):
            self._wait(deadline, cpu, writing=True)
            with contextlib.suppress(BlockingIOError):
                view = view[self.line.send(view) :]

    def exactly(self, count: int, deadline: float, cpu: float) -> bytearray:
        found = bytearray()
        while len(found) < count:
            self._wait(deadline, cpu)
            with contextlib.suppress(BlockingIOError):
                more = self.line.recv(min(count - len(found), 1 << 20))
                if not more:
                    raise ConnectionError
                found += more
        return found

    def receive(self, deadline: float, cpu: float, limit: int) -> Any:
        """A message; Wrong if it is none."""
        skeleton, blobs = wire.frame(bytes(self.exactly(16, deadline, cpu)), limit)
        head = bytes(self.exactly(skeleton, deadline, cpu))
        return wire.decode(head, self.exactly(blobs, deadline, cpu))

    def end(self) -> int | None:
        """Kill it and all that it started; how it ended."""
        if not self.alive:
            return None
        self.alive = False
        self.line.close()
        status = self.server.end(self.pid)
        self.drain()
        os.close(self.pipe)
        shutil.rmtree(self.folder, ignore_errors=True)
        return status


def ending(status: int | None) -> str:
    """How a process ended, in words."""
    if status is None or status >= 0:
        return "ends the process (exit)"
    if -status == getattr(signal, "SIGXCPU", 0) or -status == getattr(signal, "SIGKILL", 9):
        return "uses up its time or its memory and is stopped"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"crashes the process ({name})"


class Remote:
    """Adapters of a submission in a process of their own, called as `trial.Direct`: (name, arguments) -> result, or Wrong.

    engines: name of a solution -> the terms of a process for it; what an `Engine` among the arguments stands for.
    calls: how often a function of the students may call one engine.   watched: must arguments be unchanged?
    """

    def __init__(
        self,
        terms: Terms,
        engines: Callable[[str], Terms] | None = None,
        calls: int = 2000,
        watched: bool = True,
    ) -> None:
        self.terms, self.engines, self.calls, self.watched = terms, engines, calls, watched
        self.process: _Process | None = None
        self.broken: Wrong | None = None
        self.output = ""
        self.unloaded = False  # adapters.py cannot be imported
        self.slow = self.timeout = False  # wall time ran out; any time ran out

    def __enter__(self) -> "Remote":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        if self.process is not None:
            self.process.end()
            self.output += self.process.output.decode("utf-8", "replace").replace(self.process.folder + "/", "")
            self.process = None

    def __call__(self, name: str, args: tuple) -> Any:
        if any(isinstance(arg, Engine) for arg in args):
            self.close()  # an engine must not be compared with those before it
            self.broken = None
        if self.broken is not None:
            raise self.broken
        try:
            process = self.process or self._loaded()
            return self._call(process, name, args)
        except wire.BadValue as error:
            self._stop()
            raise Wrong(f"{name}: {error}") from None
        except ConnectionError:
            raise self._lost(name) from None

    def _stop(self) -> int | None:
        status = self.process.end() if self.process is not None else None
        self.close()
        self.broken = self.broken or Wrong("the process has ended")
        return status

    def _late(self, error: Exception) -> None:
        self.slow = self.slow or isinstance(error, Slow)
        self.timeout = self.timeout or isinstance(error, (Late, Slow))

    def _lost(self, name: str) -> Wrong:
        self.broken = None
        status = self._stop()
        self.timeout = self.timeout or status == -getattr(signal, "SIGXCPU", 0)
        self.broken = Wrong(f"{name} {ending(status)}")
        return self.broken

    def _loaded(self) -> _Process:
        """A new process with the submission imported."""
        process = self.process = _Process(self.terms)
        try:
            deadline = time.monotonic() + 3 * LOADING
            word, *rest = process.receive(deadline, LOADING, wire.LIMIT)
        except (Wrong, ValueError, TypeError) as error:
            self._late(error)
            self.unloaded = not self.slow
            self.broken = Wrong(f"adapters.py {error}, on import")
            self._stop()
            raise self.broken from None
        except ConnectionError:
            self.unloaded = True
            raise self._lost("adapters.py, on import,") from None
        if word != "loaded":
            text = process.clean(rest[0] if rest else "adapters.py cannot be imported")
            self.close()
            self.broken, self.unloaded = Wrong(text), True
            raise self.broken
        process.start = used(process.pid)
        return process

    def _call(self, process: _Process, name: str, args: tuple) -> Any:
        places = [place for place, arg in enumerate(args) if isinstance(arg, (Own, Engine))]
        apart = [place for place, arg in enumerate(args) if isinstance(arg, Apart)]
        message = wire.encode((name, args, places, apart), _stand_in(args), limit=1 << 40)
        cpu = self.terms.seconds
        deadline = time.monotonic() + 3 * cpu
        limit = len(message) + wire.LIMIT
        try:
            process.send(message, deadline, cpu)
            with contextlib.ExitStack() as stack:
                running: dict[int, tuple[Remote, list[int]]] = {}
                while True:
                    reply = process.receive(deadline, cpu, limit)
                    if not (type(reply) is tuple and reply and reply[0] == "engine"):
                        break
                    begun = time.monotonic()
                    process.send(self._asked(reply, args, running, stack), deadline, cpu)
                    deadline += time.monotonic() - begun
        except Wrong as error:
            self._late(error)
            self.broken = Wrong(f"{name} {error}")
            self._stop()
            raise self.broken from None
        return self._judged(process, name, args, places, reply)

    def _asked(self, request: tuple, args: tuple, running: dict, stack: contextlib.ExitStack) -> bytes:
        """The reply to a call of an engine, which runs in a process of its own."""
        if len(request) != 3 or type(request[1]) is not int or not 0 <= request[1] < len(args):
            raise wire.BadValue("its reply is malformed")
        place, values = request[1], request[2]
        engine = args[place]
        if not isinstance(engine, Engine) or type(values) is not tuple or self.engines is None:
            raise wire.BadValue("its reply is malformed")
        if place not in running:
            other = Remote(self.engines(engine.solution), watched=False)
            running[place] = stack.enter_context(other), [0]
        other, count = running[place]
        count[0] += 1
        if count[0] > self.calls:
            raise Wrong(f"calls the function more than {self.calls} times")
        try:
            return wire.encode(("ok", other(engine.adapter, values)))
        except (Wrong, wire.BadValue):
            return wire.encode(("failed", None))

    def _judged(self, process: _Process, name: str, args: tuple, places: list[int], reply: Any) -> Any:
        """The result that a reply brings, if it is one."""
        if type(reply) is not tuple or len(reply) < 2 or reply[0] not in ("ok", "open", "wrong"):
            raise wire.BadValue("its reply is malformed")
        if reply[0] != "ok":
            raise (NotAnswered if reply[0] == "open" else Wrong)(process.clean(reply[1]))
        if len(reply) != 3 or type(reply[2]) is not list or len(reply[2]) != len(args):
            raise wire.BadValue("its reply is malformed")
        pairs = [(arg, reply[2][place]) for place, arg in enumerate(args) if place not in places]
        if self.watched and not all(same(before, after) for before, after in pairs):
            raise Wrong(f"{name} changes its arguments; compute on a copy")
        return plain(reply[1])


def _stand_in(args: tuple) -> Callable[[Any], Any]:
    """What crosses in place of a function."""

    def special(value: Any) -> Any:
        if isinstance(value, Own):
            return ["own", value.adapter]
        if isinstance(value, Engine):
            return ["engine", next(place for place, arg in enumerate(args) if arg is value)]
        return None

    return special
