"""The grader's side of a student's process: starts one for each check, talks to it, and ends it.

A server (child.py) has NumPy loaded and forks; a `Remote` is one such process with one submission, called as
`trial.Direct` is. Its results are plain arrays made here from bytes whose size and dtype were tested. It protects
against crashes, endless loops, floods of memory and output, forged results, patched libraries, reading of files, and
further processes. It does not protect against somebody who breaks Python or the kernel itself: run the grader in a
container, without network, as a user who owns nothing.
"""

import ast
import contextlib
import signal
from collections.abc import Callable, Mapping
from typing import Any

from minivit.course.sandbox import wire
from minivit.course.sandbox.processes import Process, SandboxError, Slow, Terms
from minivit.course.student.comparing import changed
from minivit.course.student.packing import parsed
from minivit.course.student.trial import Apart, Engine, NotAnswered, Own, Wrong, plain, same

__all__ = ["Remote", "SandboxError", "Terms"]


def ending(status: int | None) -> str:
    """The end of a process in words."""
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
    """Adapters of a submission in a process of their own, called as `trial.Direct`: (name, arguments) -> result.

    engines: name of a solution -> the terms of its process; an `Engine` among the arguments refers to one.
    calls: how often a student's function may call one engine.   watched: whether arguments must stay unchanged.
    """

    def __init__(
        self,
        terms: Terms,
        engines: Callable[[str], Terms] | None = None,
        calls: int = 2000,
        watched: bool = True,
    ) -> None:
        self.terms, self.engines, self.calls, self.watched = terms, engines, calls, watched
        self.process: Process | None = None
        self.broken: Wrong | None = None
        self.output = ""
        self.unloaded = False  # adapters.py cannot be imported
        self.slow = False  # wall time ran out

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

    def _lost(self, name: str) -> Wrong:
        self.broken = None
        self.broken = Wrong(f"{name} {ending(self._stop())}")
        return self.broken

    def _loaded(self) -> Process:
        """A new process with the submission imported."""
        process = self.process = Process(self.terms)
        try:
            word, *rest = process.receive(wire.LIMIT)
        except (Wrong, ValueError, TypeError) as error:
            self.slow = self.slow or isinstance(error, Slow)
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
        process.allow(self.terms.seconds)
        return process

    def _call(self, process: Process, name: str, args: tuple) -> Any:
        places = [place for place, arg in enumerate(args) if isinstance(arg, (Own, Engine))]
        apart = [place for place, arg in enumerate(args) if isinstance(arg, Apart)]
        message = wire.encode((name, args, places, apart), _stand_in(args), limit=1 << 40)
        limit = len(message) + wire.LIMIT
        try:
            process.send(message)
            with contextlib.ExitStack() as stack:
                running: dict[int, tuple[Remote, list[int]]] = {}
                while True:
                    reply = process.receive(limit)
                    if not (type(reply) is tuple and reply and reply[0] == "engine"):
                        break
                    process.send(self._asked(reply, args, running, stack))
        except Wrong as error:
            self.slow = self.slow or isinstance(error, Slow)
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

    def _judged(self, process: Process, name: str, args: tuple, places: list[int], reply: Any) -> Any:
        """The result that a reply brings, if it is one."""
        if type(reply) is not tuple or len(reply) < 2 or reply[0] not in ("ok", "open", "wrong"):
            raise wire.BadValue("its reply is malformed")
        if reply[0] != "ok":
            raise (NotAnswered if reply[0] == "open" else Wrong)(process.clean(reply[1]))
        if len(reply) != 3 or type(reply[2]) is not list or len(reply[2]) != len(args):
            raise wire.BadValue("its reply is malformed")
        pairs = [(arg, reply[2][place]) for place, arg in enumerate(args) if place not in places]
        if self.watched and not all(same(before, after) for before, after in pairs):
            names = _parameters(self.terms.files, name, len(args))
            places_left = [place for place in range(len(args)) if place not in places]
            which = next(filter(None, (changed(args[i], reply[2][i], names[i]) for i in places_left)))
            raise Wrong(f"{name} changes {which}, an argument; compute on a copy")
        return plain(reply[1])


def _parameters(files: Mapping[str, bytes], name: str, count: int) -> list[str]:
    """The names of the first `count` parameters of an adapter, from its source; by number where that is not plain."""
    found: list[str] = []
    for node in parsed(files.get("adapters.py", b"")).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            found = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
    return [*found, *(f"argument {number + 1}" for number in range(len(found), count))][:count]


def _stand_in(args: tuple) -> Callable[[Any], Any]:
    """What crosses in place of a function."""

    def special(value: Any) -> Any:
        if isinstance(value, Own):
            return ["own", value.adapter]
        if isinstance(value, Engine):
            return ["engine", next(place for place, arg in enumerate(args) if arg is value)]
        return None

    return special
