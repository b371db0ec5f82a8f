"""Solutions of the staff as texts of Python files: each is loaded beside others, and abandoned if it does not end."""

import builtins
import contextlib
import functools
import itertools
import signal
import sys
import threading
import types
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

__all__ = ["TooLong", "limited", "load"]

_numbers = itertools.count()
_compiled = functools.lru_cache(maxsize=512)(compile)


def load(files: Mapping[str, str], entry: str = "adapters", given: Mapping[str, Any] | None = None) -> types.ModuleType:
    """The module `entry` of a solution.   files: file name -> text.   given: the contents of `from given import ...`.

    Its modules import each other by plain names, as in the student's folder, and are kept apart from those of other
    solutions. Use it only for code of the course: nothing here restrains it.
    """
    package = f"_course_solution_{next(_numbers)}"
    loaded: dict[str, types.ModuleType] = {}

    def module(name: str) -> types.ModuleType:
        if name not in loaded:
            made = loaded[name] = sys.modules[f"{package}.{name}"] = types.ModuleType(f"{package}.{name}")
            made.__dict__["__builtins__"] = {**vars(builtins), "__import__": importing}
            try:
                exec(_compiled(files[f"{name}.py"], f"{name}.py", "exec"), made.__dict__)
            finally:  # a dataclass looks its module up while it is made; afterwards nobody does
                del sys.modules[made.__name__]
        return loaded[name]

    def importing(name: str, *rest: Any, **named: Any) -> Any:
        if f"{name}.py" in files:
            return module(name)
        if name == "given" and given is not None:
            return types.SimpleNamespace(**given)
        return builtins.__import__(name, *rest, **named)

    return module(entry)


class TooLong(BaseException):
    """The time is up. It is not an Exception, so that no solution catches it."""


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise TooLong after this many seconds of CPU time, if the system can measure it; warnings are off meanwhile.

    CPU time makes the result independent of other load on the machine.
    """

    def up(*_: Any) -> None:
        raise TooLong

    can = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGPROF, up) if can else None
    try:
        if can:
            signal.setitimer(signal.ITIMER_PROF, seconds)
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if can:
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.signal(signal.SIGPROF, before)
