"""What a check of an assignment is, for students and for the grader alike. This file travels with every release.

Python and NumPy alone. A check is a function of a `Trial`, named after its question and itself: `q1_v_one_head` is the
check `v_one_head` of q1. Names with v_ are visible, those with h_ hidden. It draws arguments, calls adapters, and
compares: every comparison is made here, never in the student's code.
"""

from __future__ import annotations

import copy
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["Apart", "Direct", "Engine", "NotAnswered", "Own", "Scratch", "Trial", "Wrong", "close", "plain", "same"]


class Wrong(Exception):
    """What is wrong with an answer, in words for the student who wrote it. It never gives the answer."""


class NotAnswered(Wrong):
    """The adapter is still as it was handed out: it raises NotImplementedError or returns None."""


class Own:
    """Stands for one of the student's own adapters where a function is an argument, as in find_bugs(run_program)."""

    def __init__(self, adapter: str) -> None:
        self.adapter = adapter


class Engine:
    """Stands for an adapter of a solution that the student does not see, where a function is an argument."""

    def __init__(self, solution: str, adapter: str) -> None:
        self.solution, self.adapter = solution, adapter


class Scratch(dict):
    """A dict that is an argument and that the adapter may change."""


class Apart(dict):
    """A dict that is an argument, with whose arrays the result must share no memory."""


def plain(value: Any) -> Any:
    """What an adapter returned, of plain arrays, numbers, text, lists, tuples and dicts; Wrong for others."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biufcO":
            raise Wrong(f"it returns an array of {value.dtype}, where numbers are asked")
        return np.array(value, order="C", subok=False)
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, complex, str)):
        return value
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(plain, value)) if type(value) in (list, tuple) else list(map(plain, value))
    raise Wrong(f"it returns an object of type {type(value).__name__}; arrays, numbers, lists and dicts are asked")


def same(a: Any, b: Any) -> bool:
    """Are two arguments equal bit for bit, in type and shape too? A Scratch may have changed."""
    if isinstance(a, Scratch):
        return True
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        alike = isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and (a.dtype, a.shape) == (b.dtype, b.shape)
        return alike and a.tobytes() == b.tobytes()
    if isinstance(a, Mapping):
        return isinstance(b, Mapping) and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or a is b or a != a)


def _leaf(got: Any, want: np.ndarray, rtol: float, atol: float, what: str) -> str | None:
    """What is wrong with one array or number, or None."""
    if got is None or isinstance(got, (str, Mapping)):
        return f"{what} should be numbers, it is {got if got is None else 'a ' + type(got).__name__}"
    try:
        got = np.asarray(got)
    except ValueError:
        return f"{what} should be one array, it is a list of arrays of different shapes"
    if got.shape != want.shape:
        return f"{what} has shape {got.shape}, it should be {want.shape}"
    if got.dtype.kind not in "biuf":
        return f"{what} holds {got.dtype}, where real numbers are asked"
    if not np.isfinite(got).all():
        return f"{what} is not finite: it holds {'nan' if np.isnan(got).any() else 'inf'}"
    error, scale = (np.abs(array).max(initial=0.0) for array in (np.asarray(got, float) - want, want))
    if error <= max(rtol * scale if scale else rtol * 1e-12, atol):
        return None
    if not scale:
        return f"{what} should be 0"
    single = " (is it float32? float64 is asked)" if got.dtype == np.float32 else ""
    return f"{what} is off by up to {error / scale:.2g} of its largest entry{single}"


def close(got: Any, want: Any, rtol: float = 1e-9, atol: float = 0.0, what: str = "the result") -> str | None:
    """What is wrong with `got`, or None. `want`: arrays and numbers in lists, tuples (a list is as good) and dicts.

    Arrays must have the same shape, be finite, and obey max|got - want| <= rtol * max|want|, or <= atol; if all of
    `want` is 0, <= rtol * 1e-12. rtol 0 asks for equality. Text and bool are compared for equality.
    """
    if isinstance(want, Mapping):
        if not isinstance(got, Mapping):
            return f"{what} should be a dict, it is a {type(got).__name__}"
        missing, more = ", ".join(sorted(set(want) - set(got))), ", ".join(sorted(set(got) - set(want)))
        if missing or more:
            return f"{what} lacks {missing}" if missing else f"{what} has {more:.200}, which nobody asked for"
        faults = (close(got[key], want[key], rtol, atol, f"{what}[{key!r}]") for key in want)
    elif isinstance(want, (list, tuple)):
        if not isinstance(got, (list, tuple)) and not (isinstance(got, np.ndarray) and got.ndim):
            return f"{what} should have {len(want)} parts, it is a {type(got).__name__}"
        if len(got) != len(want):
            return f"{what} should have {len(want)} parts, it has {len(got)} parts"
        faults = (close(g, w, rtol, atol, f"{what}[{i}]") for i, (g, w) in enumerate(zip(got, want)))  # noqa: B905 - Python 3.9
    elif isinstance(want, (str, bool)) or want is None:
        return None if type(got) is type(want) and got == want else f"{what} should not be {got!r:.50}"
    else:
        return _leaf(got, np.asarray(want), rtol, atol, what)
    return next(filter(None, faults), None)


def alike(a: Any, b: Any) -> bool:
    """Are two results the same but for rounding, nan and inf at the same places?"""
    return close(_marked(a), _marked(b), 1e-7, 1e-14) is None


def _marked(value: Any) -> Any:
    """Each array as its finite numbers, and marks where they are not finite."""
    if isinstance(value, Mapping):
        return {key: _marked(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_marked(item) for item in value]
    if isinstance(value, (str, bool, type(None))) or np.asarray(value).dtype.kind != "f":
        return value
    finite, marks = np.isfinite(value), np.where(np.isnan(value), 2.0, np.sign(value))
    return [np.where(finite, value, 0.0), np.where(finite, 0.0, marks)]


def shared(a: Any, b: Any) -> bool:
    """Do any two arrays of a and b, values in dicts and lists, lie in the same memory?"""
    if isinstance(a, (Mapping, list, tuple)):
        return any(shared(item, b) for item in (a.values() if isinstance(a, Mapping) else a))
    if isinstance(a, np.ndarray):
        return np.may_share_memory(a, b) if isinstance(b, np.ndarray) else shared(b, a)
    return False


class Direct:
    """Calls adapters in this process: how students check themselves, how the staff's solutions are asked.

    adapters: a module, or names to functions.   engines: (solution, adapter) -> what an `Engine` stands for.
    """

    def __init__(self, adapters: Any, engines: Callable[[str, str], Callable] | None = None) -> None:
        self.find = adapters.get if isinstance(adapters, Mapping) else lambda name: getattr(adapters, name, None)
        self.engines = engines

    def _function(self, stand_in: Any) -> Any:
        """The function that an argument stands for."""
        if isinstance(stand_in, Engine) and self.engines is not None:
            return self.engines(stand_in.solution, stand_in.adapter)
        return self.find(stand_in.adapter)

    def __call__(self, name: str, args: tuple) -> Any:
        """What the adapter returns, made plain. Wrong if it raises, returns None, lacks, or changes its arguments."""
        function = self.find(name)
        if function is None:
            raise NotAnswered(f"adapters.py has no {name}")
        given = copy.deepcopy(args)
        sent = tuple(self._function(arg) if isinstance(arg, (Own, Engine)) else arg for arg in given)
        try:
            result = function(*sent)
        except NotImplementedError:
            raise NotAnswered(f"{name} is not answered yet") from None
        except Exception as error:
            raise Wrong(raised(name, error)) from error
        if result is None:
            raise NotAnswered(f"{name} returns None: it is not answered yet")
        kept = [(a, b) for a, b in zip(args, sent) if not isinstance(a, (Own, Engine))]  # noqa: B905 - Python 3.9
        if not all(same(a, b) for a, b in kept):
            raise Wrong(f"{name} changes its arguments; compute on a copy")
        if any(isinstance(a, Apart) and shared(a, result) for a in sent):
            raise Wrong(f"{name}: its result shares memory with its argument; copy the arrays")
        return plain(result)


def raised(name: str, error: BaseException) -> str:
    """One line about an exception in student's code: which, and in which line of which file."""
    where = ""
    for frame in traceback.extract_tb(error.__traceback__)[-1:]:
        where = f", in {frame.filename.replace(chr(92), '/').rsplit('/', 1)[-1]} line {frame.lineno}"
    text = str(error).strip().split("\n")[0]
    return f"{name} raises {type(error).__name__}{': ' + text[:200] if text else ''}{where}"


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

    def call(self, adapter: str, *args: Any) -> Any:
        """The result of an adapter of the student. Wrong if it fails, is not answered, or changes an argument."""
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
        """The result of the same adapter of the reference."""
        return self._reference(adapter, args)

    def close(self, got: Any, want: Any, rtol: float = 1e-9, atol: float = 0.0, what: str = "the result") -> None:
        """Compare as `close`; Wrong says what is off, and which mistake is behind it if a wrong solution gives this."""
        self.seen.append(got)
        fault = None if self.recording else close(got, want, rtol, atol, what)
        if fault is not None:
            raise Wrong(self._explained(fault, got, lambda seen: close(seen, want, rtol, atol) is not None))

    def agree(self, adapter: str, *args: Any, rtol: float = 1e-9, atol: float = 0.0, what: str | None = None) -> Any:
        """Call an adapter and compare it with the reference. Returns the student's result."""
        self.close(got := self.call(adapter, *args), self.ref(adapter, *args), rtol, atol, what or adapter)
        return got

    def require(self, holds: Any, sentence: str, seen: Any = None) -> None:
        """Ask for a property; a student reads `sentence` if it does not hold. seen: what tells mistakes apart."""
        self.seen.append(bool(holds) if seen is None else seen)
        if not self.recording and not holds:
            raise Wrong(self._explained(sentence, seen) if seen is not None else sentence)

    def partly(self, fraction: float, sentence: str) -> None:
        """Give a share of the check's points; the sentence says why it is not all. The last call of a check."""
        self.seen.append(fraction)
        self.fraction = float(fraction)
        if not self.recording and fraction < 1:
            raise Wrong(sentence)

    def catches(self, adapter: str, *functions: str) -> None:
        """Points by how many wrong engines the student's `adapter` returns True for; none if it does for a right one.

        functions: the adapters of each engine that it is given. An exception counts as False.
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

    def _explained(self, fault: str, got: Any, wrong: Callable[[Any], bool] = lambda seen: True) -> str:
        """The fault and the hint of the wrong solution that is wrong here too, in the same way."""
        place = len(self.seen) - 1
        for name, (hint, seen) in self._others().items():
            if place < len(seen) and wrong(seen[place]) and alike(got, seen[place]):
                self.mistake = name
                return f"{fault}. {hint}"
        return fault
