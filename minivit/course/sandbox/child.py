"""The student's process. Run by its path with Python and NumPy alone: `python child.py CONTROL`.

It is a server that has NumPy loaded and forks one process for each check; nothing of the course is in its memory. A
child takes limits and guard upon itself, loads adapters.py, and answers requests on a descriptor of its own: a
request is an adapter's name with arguments, the reply its result and the arguments as they are now (wire.py). It
needs a system with fork.
"""

import contextlib
import importlib
import os
import signal
import socket
import sys
import types
from typing import Any

HERE = os.path.dirname(os.path.abspath(__file__))
# what students are likely to import is there already, so that a check need not load it
WARM = """__future__ abc collections concurrent.futures.thread contextlib copy dataclasses decimal enum fractions
functools heapq inspect itertools json linecache logging math numbers operator queue random statistics
string tempfile threading time traceback types typing warnings weakref numpy.fft numpy.lib.stride_tricks
numpy.linalg numpy.random numpy.testing"""


def part(name: str) -> dict[str, Any]:
    """A file beside this one, run in a namespace with builtins of its own."""
    import builtins

    path = os.path.join(HERE, f"{name}.py")
    names = {"__name__": f"_course_{name}", "__file__": path, "__builtins__": dict(vars(builtins))}
    with open(path, encoding="utf-8") as file:
        exec(compile(file.read(), f"<{name}>", "exec"), names)
    return names


class Line:
    """Messages on a descriptor."""

    def __init__(self, descriptor: int, wire: dict[str, Any]) -> None:
        self.descriptor, self.wire = descriptor, wire
        self.read, self.write = os.read, os.write

    def exactly(self, count: int) -> bytearray:
        found = bytearray()
        while len(found) < count:
            more = self.read(self.descriptor, min(count - len(found), 1 << 20))
            if not more:
                raise EOFError
            found += more
        return found

    def receive(self, special: Any) -> tuple[Any, int]:
        """A message and the number of bytes of its arrays."""
        skeleton, blobs = self.wire["HEAD"].unpack(self.exactly(16))
        head = bytes(self.exactly(skeleton))
        return self.wire["decode"](head, self.exactly(blobs), special), blobs

    def send(self, message: bytes) -> None:
        view = memoryview(message)
        while len(view):
            view = view[self.write(self.descriptor, view) :]


def told(name: str, error: BaseException, own: str) -> str:
    """One line about an exception of the student's code, with the last line of their own files."""
    frame, where = error.__traceback__, ""
    while frame is not None:
        file = frame.tb_frame.f_code.co_filename
        if file.startswith(own + "/") and not file.startswith((f"{own}/given/", f"{own}/given.py")):
            function = frame.tb_frame.f_code.co_name
            where = f", in {os.path.basename(file)} line {frame.tb_lineno}"
            where += "" if function.startswith("<") else f" ({function})"
        frame = frame.tb_next
    kind = type(error).__name__
    if isinstance(error, SyntaxError) and error.lineno and error.filename:
        where = f", in {os.path.basename(error.filename)} line {error.lineno}"
    if isinstance(error, SystemExit):
        return f"{name} ends the program (sys.exit){where}"
    try:
        text = (error.msg if isinstance(error, SyntaxError) else str(error)).strip().split("\n")[0][:200]
    except BaseException:
        text = ""
    if isinstance(error, NotImplementedError) and name != "adapters.py":
        verb = "is" if not where or where.endswith(f" ({name})") else "reaches what is"
        return f"{name} {verb} not answered yet{': ' + text if text else ''}{where}"
    return f"{name} raises {kind}{': ' + text if text else ''}{where}"


class Student:
    """The adapters of a submission, and the code that calls them."""

    def __init__(self, line: Line, own: str) -> None:
        self.line, self.own = line, own
        self.encode, self.bad = line.wire["encode"], line.wire["BadValue"]
        self.limit = line.wire["LIMIT"]
        self.adapters: Any = None

    def load(self) -> None:
        try:
            self.adapters = importlib.import_module("adapters")
            self.reply("loaded")
        except NotImplementedError as error:
            self.reply("broken", f"{told('adapters.py', error, self.own)}; leave the error inside the function")
        except BaseException as error:
            self.reply("broken", told("adapters.py", error, self.own))

    def stand_in(self, tree: list) -> Any:
        """The function behind an argument: one of the student's own, or a proxy of one elsewhere."""
        if tree[0] == "own":
            return getattr(self.adapters, tree[1], None)

        def function(*args: Any) -> Any:
            try:
                message = self.encode(("engine", tree[1], args))
            except self.bad as error:
                raise TypeError(f"an argument cannot be used: {error}") from None
            self.line.send(message)
            (word, result), _ = self.line.receive(None)
            if word != "ok":
                raise RuntimeError("the function failed")
            return result

        return function

    def flush(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(BaseException):
                stream.flush()

    def reply(self, *words: Any) -> None:
        self.flush()
        self.line.send(self.encode(words))

    def answer(self) -> None:
        """One request and its reply."""
        (name, args, functions, apart), size = self.line.receive(self.stand_in)
        function = getattr(self.adapters, name, None)
        if function is None:
            return self.reply("open", f"adapters.py has no {name}")
        try:
            result = function(*args)
        except NotImplementedError as error:
            return self.reply("open", told(name, error, self.own))
        except BaseException as error:
            return self.reply("wrong", told(name, error, self.own))
        if result is None:
            return self.reply("open", f"{name} returns None: is a `return` missing?")
        now = [None if place in functions else arg for place, arg in enumerate(args)]
        try:
            message = self.encode(("ok", result, now), limit=self.limit + size)
            if any(self.line.wire["overlap"](args[place], result) for place in apart):
                return self.reply("wrong", f"{name}: its result shares memory with its argument; copy the arrays")
            self.flush()
            self.line.send(message)
        except self.bad:
            try:
                self.encode(result)
            except self.bad as error:
                return self.reply("wrong", str(error))
            self.reply("wrong", f"{name} changes {self.unsendable(now)}; compute on a copy")

    def unsendable(self, now: list) -> str:
        """The argument that can no longer be sent."""
        for place, arg in enumerate(now):
            try:
                self.encode(arg)
            except self.bad:
                return f"argument {place + 1}"
        return "its arguments"


def settle(job: dict[str, Any], out: int) -> None:
    """Make this process the student's: its folder, its descriptors, its names."""
    folder = job["folder"]
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.close(null)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(
        HOME=folder, TMPDIR=folder, LANG="C.UTF-8", **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    )
    sys.argv[:] = ["adapters.py"]
    sys.path.insert(0, folder)
    sys.path_importer_cache.clear()
    # for those who set no seed: another one at each check, the same at each grading
    sys.modules["random"].seed(job["seed"])
    sys.modules["numpy"].random.seed(job["seed"] % 2**32)
    for name in job["modules"]:  # the student's random.py comes before Python's
        if name not in ("sys", "os", "builtins", "numpy", "importlib", "types"):
            sys.modules.pop(name, None)


def serve_student(job: dict[str, Any], data: int, out: int, parts: dict[str, Any]) -> None:
    """The life of a forked process, until it is killed or the grader hangs up."""
    limits, line = parts["limits"], Line(data, parts["wire"])
    settle(job, out)
    limits.apply(job["memory_mib"], job["cpu_seconds"])
    guard = parts["guard"]
    parts.clear()
    limits.folders(job["folder"])
    limits.filter()
    guard(job["folder"], frozenset(job["modules"]), tuple(job["banned"]))
    del guard, limits
    student = Student(line, job["folder"])
    student.load()
    try:
        while True:
            student.answer()
    except EOFError:
        pass


def prepared() -> dict[str, Any]:
    """Load NumPy and the usual imports of students; remove ctypes, with which memory could be written."""
    sys.path[:] = [path for path in sys.path if os.path.abspath(path or ".") != HERE]
    for name in WARM.split():
        importlib.import_module(name)
    parts = {"wire": part("wire"), "guard": part("guard")["guard"], "limits": part("limits")["Limits"]()}
    for name in [
        name for name in sys.modules if name.split(".")[0] in ("ctypes", "_ctypes", "subprocess", "_posixsubprocess")
    ]:
        del sys.modules[name]
    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("numpy") and isinstance(
            vars(module).get("ctypes"), types.ModuleType
        ):
            vars(module)["ctypes"] = None
    sys.path[:] = [path for path in sys.path if "-packages" not in path and os.path.isdir(path)]
    sys.path[:] = [
        path for path in sys.path if os.path.exists(os.path.join(path, "abc.py")) or path.endswith("lib-dynload")
    ]
    return parts


def server(control: socket.socket) -> None:
    """Fork a child for each job; on request, report how a child ended."""
    import gc
    import json

    parts = prepared()
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the grader's affair
    line = Line(control.fileno(), parts["wire"])
    control.sendall(b"r")
    while True:
        head, descriptors, _, _ = socket.recv_fds(control, 4, 2)
        if not head:
            return
        text = line.exactly(int.from_bytes(head, "little"))
        if not descriptors:
            control.sendall(ended(int(text)).to_bytes(4, "little", signed=True))
            continue
        data, out = descriptors
        pid = os.fork()
        if pid == 0:
            try:
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                os.setsid()
                control.close()
                serve_student(json.loads(text), data, out, parts)
            finally:
                os._exit(0)
        os.close(data)
        os.close(out)
        control.sendall(pid.to_bytes(4, "little"))


def ended(pid: int) -> int:
    """Kill the rest of a child and its group; the status with which it ended."""
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(OSError):
            kill(pid, signal.SIGKILL)
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:
        return 0


if __name__ == "__main__":
    server(socket.socket(fileno=int(sys.argv[1])))
