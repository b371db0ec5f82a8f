"""Judges of answers: of a number, of a choice, and of a function by its results.

`call`, `says`, `pulled_back` and `arrays` help judges with further needs; they describe the faults of an answer in
words.
"""

import copy
import dataclasses
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from minivit.lessons.calling import call, described, kind, peak_bytes, pulled_back, run, says
from minivit.lessons.differences import Arrays, Comparison, array, arrays, diagnosis, fitted
from minivit.lessons.exercise import Judge, Wrong

__all__ = [
    "Arrays",
    "arrays",
    "call",
    "choice",
    "described",
    "function_like",
    "kind",
    "number",
    "one_number",
    "peak_bytes",
    "pulled_back",
    "run",
    "says",
]


def one_number(answer: Any) -> float:
    """An answer that is one number, alone or as the only entry of a collection; Wrong for anything else, including
    text."""
    try:
        (value,) = array(list(answer) if isinstance(answer, tuple) else answer).flat
        return float(value)
    except (Wrong, TypeError, ValueError):
        raise Wrong(f"The answer should be one number, this is {kind(answer)}.") from None


def number(value: float, mistakes: Mapping[float, str] | None = None, rtol: float = 1e-6) -> Judge:
    """A judge of one number.   mistakes: a wrong number -> its explanation.   rtol: relative to the number.

    A rounded or truncated right number gets its own message, and a rounded mistake its explanation, if at most a
    thousandth was lost.
    """

    def near(x: float, y: float) -> bool:
        return abs(x - y) <= rtol * max(abs(y), 1e-12)

    def rounding(x: float, y: float) -> bool:
        places = -int(Decimal(repr(x)).as_tuple().exponent)
        cut = int(y * 10.0**places) / 10.0**places if abs(places) < 20 else y
        return abs(x - y) <= 1e-3 * abs(y) and (x == round(y, places) or near(x, cut))

    def judge(answer: Any) -> str | None:
        x = one_number(answer)
        if near(x, value):
            return None
        hints = {value: f"Nearly. Give more digits: the relative accuracy must be {rtol:.0e}.", **(mistakes or {})}
        said = [
            hint for alike in (near, rounding) for known, hint in hints.items() if np.isfinite(x) and alike(x, known)
        ]
        return said[0] if said else f"It is not {x:.6g}." if float(f"{x:.6g}") == x else f"It is not {x!r}."

    return judge


def choice(right: Any, mistakes: Mapping[Any, str]) -> Judge:
    """A judge of one choice among given answers, in either case.   mistakes: every other one -> its explanation."""

    def judge(answer: Any) -> str | None:
        options = ", ".join(sorted(map(repr, [right, *mistakes])))
        said = answer.strip().lower() if isinstance(answer, str) else answer
        for known, hint in {right: None, **mistakes}.items():
            try:
                if bool(said == (known.lower() if isinstance(known, str) else known)):
                    return hint
            except ValueError:  # an array, which is none of them
                break
        return f"Choose one of {options}; this is {answer!r}."

    return judge


@dataclasses.dataclass(frozen=True)
class function_like:
    """A judge of a function by its results.

    reference: returns the right arrays (one, or a tuple of them) for the same arguments.
    cases: given a generator, the lists of arguments to try, in float64; of several shapes, with no two lengths equal,
    so that axes cannot be confused, and more than one head.
    mistakes: explanation -> a function that makes exactly this mistake. An answer that returns the same in every case
    gets the explanation. So does one with the same in some of its results and the rest right, if nothing more exact is
    known.
    rtol: allowed difference, relative to the largest entry of the right array; float32 is not enough.
    allowed: names of the library's functions that the answer may call; None for all.
    results: names of the results, for the verdict, "dq dk dv".
    Factors, signs, orders, shapes, sums and means, missing terms, changed arguments and NaN are recognised without
    being listed, see `minivit.lessons.likeness`.
    """

    reference: Callable
    cases: Callable[[np.random.Generator], Sequence[tuple]]
    mistakes: Mapping[str, Callable] = dataclasses.field(default_factory=dict)
    rtol: float = 1e-9
    allowed: Collection[str] | None = None
    results: str = ""

    def __call__(self, answer: Any) -> str | None:
        try:
            return self._judge(answer)
        except Wrong as wrong:
            return str(wrong)

    def without(self, answer: Any, *left_out: int) -> str | None:
        """The fault, if any, when some cases are left out: does the answer fail only for large numbers?"""

        def others(rng: np.random.Generator) -> list[tuple]:
            return [args for i, args in enumerate(self.cases(rng)) if i not in left_out]

        with np.errstate(all="ignore"):
            return dataclasses.replace(self, cases=others)(answer)

    def _judge(self, answer: Any) -> str | None:
        tried = self.cases(np.random.default_rng(0))
        names = self.results.split()
        wanted = [arrays(self.reference(*copy.deepcopy(args))) for args in tried]
        returned = [call(answer, *args, allowed=self.allowed) for args in tried]
        got = [fitted(result, right, names) for result, right in zip(returned, wanted, strict=True)]
        compared = Comparison(got, wanted, tried, self.rtol, _parameters(self.reference, answer), names)
        if not compared.failed:
            return None

        def made(wrong: Callable) -> Callable[..., Arrays]:
            return lambda *args: arrays(wrong(*copy.deepcopy(args)))

        with np.errstate(all="ignore"):
            shown = {hint: compared.shows(made(wrong)) for hint, wrong in self.mistakes.items()}
            best = max(shown, key=lambda hint: shown[hint], default=None)
            if best and shown[best][0] == 2:
                return best
            return diagnosis(compared, hint=best if best and shown[best][0] else None)


def _parameters(*functions: Callable) -> list[str]:
    """The names of the arguments, by the first of the functions that names them all."""
    for function in functions:
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):
            continue
        if all(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) for p in parameters):
            return [p.name for p in parameters]
    return [f"argument {i + 1}" for i in range(9)]
