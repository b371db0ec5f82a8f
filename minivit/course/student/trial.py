"""What a check of an assignment is, for students and for the grader alike. This file travels with every release.

Python and NumPy alone. A check is a function of a `Trial`, named after its question and itself: `q1_v_one_head` is the
check `v_one_head` of q1. Names with v_ are visible, those with h_ hidden. It draws arguments, calls adapters, and
compares: every comparison is made by `comparing`, never in the student's code.
"""

from __future__ import annotations

import copy
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .comparing import Apart, Engine, NotAnswered, Own, Scratch, Wrong, alike, close, plain, same, shared

__all__ = ["Apart", "Direct", "Engine", "NotAnswered", "Own", "Scratch", "Trial", "Wrong", "close", "plain", "same"]


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
