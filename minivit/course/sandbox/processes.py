"""The grader's handles on students' processes: the server that forks them, and each from start to end."""

import atexit
import contextlib
import errno
import json
import os
import re
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minivit.course.sandbox import wire
from minivit.course.sandbox.guard import BANNED
from minivit.course.sandbox.watching import MOST_FILES, MOST_WRITTEN, bulky, busy, remove, used
from minivit.course.student.trial import Wrong
from minivit.errors import shown

__all__ = ["Process", "SandboxError", "Slow", "Terms"]

OUTPUT = 1 << 20
UNFIT = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.EINVAL, errno.EILSEQ)
LOADING = 10.0  # CPU seconds that importing a submission may take, apart from the check's own
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
KEPT = ("SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")  # without which Python may not start


class SandboxError(Exception):
    """A student's process cannot be started; the fault is the machine's."""


class Slow(Wrong):
    """The wall time ran out, but not the CPU time: the machine may have been busy."""


@dataclass(frozen=True)
class Terms:
    """The input of a process.   files: path -> bytes.   seconds: of CPU time for a check; the wall time is three times
    that."""

    files: Mapping[str, bytes]
    seconds: float = 10.0
    memory_mib: int = 2048
    banned: Sequence[str] = ()
    seed: int = 0

    def modules(self) -> list[str]:
        """The names that an import finds in the folder first."""
        return sorted({path.split("/")[0].removesuffix(".py") for path in self.files if path.endswith(".py")})


class _Server:
    """The process that forks."""

    def __init__(self) -> None:
        if not hasattr(os, "fork"):
            raise SandboxError("submissions are graded on Linux or macOS; on Windows use WSL or a container")
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
        text = json.dumps(job).encode()
        try:
            socket.send_fds(self.control, [len(text).to_bytes(4, "little")], [theirs.fileno(), out])
            self.control.sendall(text)
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
        """End a child with all its processes; how it ended, or None if the server is gone."""
        try:
            text = b"%d" % pid
            self.control.sendall(len(text).to_bytes(4, "little") + text)
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


class Process:
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
                self._put(path, data)
            try:
                self.server = _running()
                self.pid, self.line, self.pipe = self.server.fork(job)
            except ConnectionError:  # something ended the server: the next one has to do
                self.server = _running(afresh=True)
                self.pid, self.line, self.pipe = self.server.fork(job)
        except BaseException as error:
            remove(self.folder)
            if isinstance(error, OSError):
                raise SandboxError(f"no process can be started: {error}") from None
            raise
        self.alive = True
        self.allow(LOADING)

    def _put(self, path: str, data: bytes) -> None:
        """Write a file of the submission. One whose name no file can have is left out."""
        file = Path(self.folder, path)
        if ".." in file.parts or not file.is_relative_to(self.folder):
            return
        try:
            if "/" in path:
                file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        except ValueError:
            return
        except OSError as error:
            if error.errno not in UNFIT:
                raise

    def allow(self, seconds: float) -> None:
        """From now on allow this much CPU time, three times as much waiting, and at most thirty times by the clock.

        Only time during which somebody waits for the process counts. Its computing time, and time in which the machine
        was busy with others, is not waiting.
        """
        self.seconds, self.start, self.busy = seconds, used(self.pid), busy(self.pid)
        self.waited = self.clock = self.unseen = 0.0

    def _count(self, passed: float) -> None:
        """Wrong when time is up, or the disk fills."""
        self.clock, self.unseen = self.clock + passed, self.unseen + passed
        if self.unseen < 0.1:
            return
        done = busy(self.pid)
        self.waited += min(max(self.unseen - (done - self.busy), 0.0), self.unseen)
        self.busy, self.unseen = done, 0.0
        if used(self.pid) - self.start > self.seconds:
            raise Wrong(f"takes more than {self.seconds:g} seconds of computing")
        if self.waited > 3 * self.seconds or self.clock > 30 * self.seconds:
            raise Slow(f"does not come back within {3 * self.seconds:g} seconds")
        if bulky(self.folder):
            raise Wrong(f"writes more than {MOST_FILES:,} files or {MOST_WRITTEN >> 20} MiB")

    def clean(self, text: Any, limit: int = 600) -> str:
        """Output of the process without parts that differ from run to run."""
        text = str(text).replace(self.folder + "/", "").replace(self.folder, ".")
        return shown(re.sub(r"0x[0-9a-fA-F]{6,}", "0x...", text), limit)

    def drain(self) -> None:
        """Read the printed output; keep its beginning."""
        with contextlib.suppress(BlockingIOError, OSError):
            while text := os.read(self.pipe, 1 << 16):
                self.output += text[: max(0, OUTPUT - len(self.output))]

    def _wait(self, writing: bool = False) -> None:
        """Until the line can be used; Wrong when time is up."""
        while True:
            before = time.monotonic()
            reads: list[Any] = [self.pipe] if writing else [self.line, self.pipe]
            writes = [self.line] if writing else []
            ready, free, _ = select.select(reads, writes, [], 0.1)
            if self.pipe in ready:
                self.drain()
                if self.line not in ready and not free:
                    time.sleep(0.001)  # a pipe that was closed is always ready
            self._count(time.monotonic() - before)
            if self.line in ready or free:
                return

    def send(self, message: bytes) -> None:
        view = memoryview(message)
        while len(view):
            self._wait(writing=True)
            with contextlib.suppress(BlockingIOError):
                view = view[self.line.send(view) :]

    def exactly(self, count: int) -> bytearray:
        found = bytearray()
        while len(found) < count:
            self._wait()
            with contextlib.suppress(BlockingIOError):
                more = self.line.recv(min(count - len(found), 1 << 20))
                if not more:
                    raise ConnectionError
                found += more
        return found

    def receive(self, limit: int) -> Any:
        """A message; raises Wrong for anything else."""
        skeleton, blobs = wire.frame(bytes(self.exactly(16)), limit)
        head = bytes(self.exactly(skeleton))
        return wire.decode(head, self.exactly(blobs))

    def end(self) -> int | None:
        """Kill it and all that it started; how it ended."""
        if not self.alive:
            return None
        self.alive = False
        self.line.close()
        status = self.server.end(self.pid)
        self.drain()
        os.close(self.pipe)
        remove(self.folder)
        return status
