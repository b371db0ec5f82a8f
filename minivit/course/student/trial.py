"""The checks of an assignment, for students and for the grader alike. This file travels with every release.

Python and NumPy only. A check is a function of a `Trial`, named after its question and itself: `q1_v_one_head` is the
check `v_one_head` of q1. Names with v_ are visible, those with h_ hidden. It draws arguments, calls adapters, and
compares: every comparison is made by `comparing`, never in the student's code.
"""

from __future__ import annotations

import copy
import inspect
import os
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from . import comparing
from .comparing import Apart, Engine, NotAnswered, Own, Scratch, Wrong, alike, close, plain, same, shared

__all__ = ["Apart", "Direct", "Engine", "NotAnswered", "Own", "Scratch", "Trial", "Wrong", "close", "plain", "same"]


def _right(seen: Any) -> bool:
    """Does what a wrong solution gave stand for what the reference gives, as in the record of a visible check?"""
    return isinstance(seen, str) and seen.startswith("\0")


class Direct:
    """Calls adapters in this process: for students' own checks and for the staff's solutions.

    adapters: a module, or names to functions.   engines: (solution, adapter) -> the function behind an `Engine`.
    calls: how often a function argument may be called.
    """

    def __init__(
        self, adapters: Any, engines: Callable[[str, str], Callable] | None = None, calls: float = float("inf")
    ) -> None:
        self.find = adapters.get if isinstance(adapters, Mapping) else lambda name: getattr(adapters, name, None)
        self.engines, self.calls = engines, calls
        self.most = 0  # calls of one function that was an argument

    def _function(self, stand_in: Any) -> Any:
        """The function that an argument stands for; its calls are counted."""
        if isinstance(stand_in, Engine) and self.engines is not None:
            function: Any = self.engines(stand_in.solution, stand_in.adapter)
        else:
            function = self.find(stand_in.adapter)
        count = 0

        def counted(*args: Any, **named: Any) -> Any:
            nonlocal count
            count += 1
            self.most = max(self.most, count)
            if count > self.calls:
                raise _Enough
            return function(*args, **named)

        return counted if function is not None and self.calls != float("inf") else function

    def __call__(self, name: str, args: tuple) -> Any:
        """The result of the adapter, made plain. Wrong if it fails, returns None, is missing or changes arguments."""
        function = self.find(name)
        if function is None:
            raise NotAnswered(f"adapters.py has no {name}")
        given, self.most = copy.deepcopy(args), 0
        sent = tuple(self._function(arg) if isinstance(arg, (Own, Engine)) else arg for arg in given)
        try:
            result = function(*sent)
        except _Enough:
            result = None
        except NotImplementedError as error:
            raise NotAnswered(unanswered(name, error)) from error
        except Exception as error:
            raise Wrong(raised(name, error)) from error
        if self.most > self.calls:
            raise Wrong(f"{name} calls the function more than {self.calls} times")
        if result is None:
            raise NotAnswered(f"{name} returns None: is a `return` missing?")
        for number, (a, b) in enumerate(zip(args, sent)):  # noqa: B905 - Python 3.9
            if not isinstance(a, (Own, Engine)) and not same(a, b):
                which = comparing.changed(a, b, _parameter(function, number))
                raise Wrong(f"{name} changes {which}, an argument; compute on a copy")
        if any(isinstance(a, Apart) and shared(a, result) for a in sent):
            raise Wrong(f"{name}: its result shares memory with its argument; copy the arrays")
        return plain(result)


class _Enough(BaseException):
    """A function that is an argument was called too often. Not an Exception, so that few catch it."""


def _parameter(function: Callable, number: int) -> str:
    """The name of a parameter, counted from 0."""
    try:
        parameter = list(inspect.signature(function).parameters.values())[number]
    except (TypeError, ValueError, IndexError):
        return f"argument {number + 1}"
    return f"argument {number + 1}" if parameter.kind is parameter.VAR_POSITIONAL else parameter.name


def place(error: BaseException) -> str:
    """The place of an exception: the deepest line of the student's own files, and its function."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = frame.filename.replace(chr(92), "/")
        if file.endswith(".py") and not file.startswith(OTHERS):
            function = "" if frame.name.startswith("<") else f" ({frame.name})"
            return f", in {file.rsplit('/', 1)[-1]} line {frame.lineno}{function}"
    return ""


def _folder(path: str) -> str:
    return os.path.dirname(os.path.abspath(path)).replace(chr(92), "/") + "/"


COURSE = _folder(__file__)
GIVEN = _folder(COURSE[:-1]) + "given"  # in a student zip
# the course's own files, the standard library, and where NumPy and others are installed
OTHERS = (COURSE, f"{GIVEN}/", f"{GIVEN}.py", _folder(os.__file__), _folder(os.path.dirname(np.__file__)), "<")


def raised(name: str, error: BaseException) -> str:
    """One line about an exception in student's code: its kind, file and line."""
    if type(error).__name__ == "BdbQuit":
        return f"{name} stops at a breakpoint{place(error)}: use `python -m pytest -s` for breakpoint()"
    text = str(error).strip().split("\n")[0]
    return f"{name} raises {type(error).__name__}{': ' + text[:200] if text else ''}{place(error)}"


def unanswered(name: str, error: BaseException) -> str:
    """One line about a NotImplementedError: the place that is still open."""
    where, text = place(error), str(error).strip().split("\n")[0][:200]
    verb = "is" if not where or where.endswith(f" ({name})") else "reaches what is"
    return f"{name} {verb} not answered yet{': ' + text if text else ''}{where}"


class Trial:
    """One check of one solution: draws, calls and comparisons.

    call: (adapter's name, arguments) -> its result, or Wrong.
    reference: the same of the reference; for a student, what it returned when the release was made, in order of calls.
    rng: the draws of this check; all arguments come from it.   engines: (solution, is it wrong?) for `catches`.
    others: wrong solution's name -> (its hint, what it gave at each comparison of this check). They name a mistake.
    """

    def __init__(
        self,
        call: Callable[[str, tuple], Any],
        reference: Callable[[str, tuple], Any],
        rng: np.random.Generator,
        others: Callable[[], Mapping[str, tuple[str, Sequence[Any]]]] = dict,
        engines: Sequence[tuple[str, bool]] = (),
    ) -> None:
        self._call, self._reference, self.rng, self._others, self._engines = call, reference, rng, others, engines
        self.seen: list[Any] = []  # what was compared, in order: this is what tells one mistake from another
        self.recording = False  # a wrong solution is being recorded: nothing is judged
        self.mistake: str | None = None  # name of the wrong solution that was recognised
        self.fraction = 1.0
        self.asked = "the adapter"  # which was called last
        self.remark: tuple[bool, str] | None = None  # of a check that proves little: is it all well, and what to say

    def call(self, adapter: str, *args: Any) -> Any:
        """The result of an adapter of the student. Wrong if it fails, is not answered, or changes an argument."""
        self.asked = adapter
        return self._call(adapter, args)

    def own(self, adapter: str) -> Own:
        """One of the student's own adapters, as an argument of another."""
        return Own(adapter)

    def scratch(self, value: Any) -> Any:
        """An argument that the adapter may change, if it is a dict: state that it gave and gets back."""
        return Scratch(value) if isinstance(value, dict) else value

    def apart(self, value: dict) -> Any:
        """An argument, of arrays, with which the result must share no memory."""
        return Apart(value)

    def ref(self, adapter: str, *args: Any) -> Any:
        """The reference's result of the same adapter."""
        return self._reference(adapter, args)

    def close(self, got: Any, want: Any, rtol: float = 1e-9, atol: float = 0.0, what: str = "the result") -> None:
        """Compare as `close`; Wrong states the difference, and the mistake if a wrong solution gives the same."""
        self.seen.append(got)
        fault = None if self.recording else close(got, want, rtol, atol, what)
        if fault is not None:
            # A small error is that of a mistake only if the two are much nearer to each other than to what is asked.
            near = next((size for size in (1e-7, 1e-9, 1e-11) if close(got, want, 100 * size) is not None), 1e-13)
            raise Wrong(self._explained(fault, got, lambda seen: close(seen, want, rtol, atol) is not None, near))

    def agree(self, adapter: str, *args: Any, rtol: float = 1e-9, atol: float = 0.0, what: str | None = None) -> Any:
        """Call an adapter and compare it with the reference. Returns the student's result."""
        try:
            got = self.call(adapter, *args)
        except NotAnswered:
            raise
        except Wrong as wrong:
            case = comparing.NAMES.sub("", what or "").strip(" :")
            raise Wrong(f"{wrong} (asked for {case})" if case else str(wrong)) from wrong.__cause__
        self.close(got, self.ref(adapter, *args), rtol, atol, what or adapter)
        return got

    def right(self, adapter: str, *args: Any, rtol: float = 1e-9, atol: float = 0.0) -> bool:
        """Whether an adapter of the student agrees with the reference. Nothing is judged."""
        want = self.ref(adapter, *args)
        try:
            return close(self.call(adapter, *args), want, rtol, atol) is None
        except Wrong:
            return False

    def parts(self, got: Any, count: int, what: str) -> list:
        """Several results; raises Wrong for another number of them."""
        fault, found = comparing.parts(got, count, what)
        self.require(fault is None, fault or "")
        return found

    def entries(self, got: Any, names: Collection[str], what: str) -> dict[str, Any]:
        """A dict of results; raises Wrong unless it has exactly these names."""
        fault = comparing.keys(got, names, what)
        self.require(fault is None, fault or "")
        return dict.fromkeys(names) if fault else dict(got)

    def shape(self, got: Any, shape: tuple, what: str) -> None:
        """Raise Wrong unless it is an array of this shape."""
        try:
            has = f"has shape {np.shape(got)}" if got is not None else "is None"
        except ValueError:
            has = "has rows of different lengths"
        self.require(has == f"has shape {shape}", f"{what} {has}, it should be {shape}")

    def innocent(self, adapter: str, *functions: str, right: bool = True) -> None:
        """`adapter` must return False for the student's own functions. right: whether they pass."""
        says = self.call(adapter, *(Own(name) for name in functions))
        kind = type(says).__name__
        self.require(
            isinstance(says, bool),
            f"{adapter} returned {says!r:.50} ({'an' if kind[0] in 'aeiou' else 'a'} {kind}), expected True or False",
        )
        own = f"your own {' and '.join(functions)} {'is' if len(functions) == 1 else 'are'}"
        self.require(says is False or not right, f"{adapter} says that {own} wrong; this check finds no fault there")
        if right:
            self.remark = True, "no false alarm on your own functions; this says nothing about what it catches"
        else:
            self.remark = False, f"says nothing: {own} not right here"

    def require(self, holds: Any, sentence: str, seen: Any = None) -> None:
        """Require a property; a student reads `sentence` if it does not hold. seen: tells mistakes apart."""
        self.seen.append(bool(holds) if seen is None else seen)
        if not self.recording and not holds:
            raise Wrong(self._explained(sentence, seen) if seen is not None else sentence)

    def partly(self, fraction: float, sentence: str) -> None:
        """Give a share of the check's points; the sentence explains the missing part. The last call of a check."""
        self.seen.append(fraction)
        self.fraction = float(fraction)
        if not self.recording and fraction < 1:
            raise Wrong(sentence)

    def catches(self, adapter: str, *functions: str) -> None:
        """Points by the number of wrong engines that `adapter` reports; none if it reports a right one.

        `adapter` is the student's and returns True for a wrong engine. functions: the adapters of each engine that it
        is given. An exception counts as False.
        """
        caught = 0
        for index in self.rng.permutation(len(self._engines)):
            name, wrong = self._engines[index]
            try:
                says = self.call(adapter, *(Engine(name, function) for function in functions))
            except Wrong as error:
                if isinstance(error, NotAnswered):
                    raise
                says = False
            if says is True and not wrong:
                self.partly(0.0, f"{adapter} says of a right engine that it is wrong")
            caught += says is True and wrong
        count = sum(wrong for _, wrong in self._engines)
        self.partly(caught / count if count else 0.0, f"{adapter} caught {caught} of {count} wrong engines")

    def _explained(
        self, fault: str, got: Any, wrong: Callable[[Any], bool] = lambda seen: True, rtol: float = 1e-7
    ) -> str:
        """The fault and the hint of the wrong solution that is wrong here too, in the same way.

        Several may be. One that did as this one at all comparisons before comes first: its mistake shows here first.
        """
        place, hint = len(self.seen) - 1, ""
        for name, (words, seen) in self._others().items():
            if place < len(seen) and wrong(seen[place]) and alike(got, seen[place], rtol):
                exact = all(_right(there) or alike(here, there) for here, there in zip(self.seen, seen[:place]))  # noqa: B905 - Python 3.9
                if exact or not hint:
                    self.mistake, hint = name, words
                if exact:
                    break
        return f"{fault}. {hint}" if hint else fault
