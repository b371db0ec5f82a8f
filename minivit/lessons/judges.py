"""Judges of answers: of a number, of a choice, and of a function by what it returns.

`call` and `arrays` serve judges that need more: they say in words what is wrong with calling an answer.
"""

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np

from minivit.lessons.exercise import Judge, Unanswered, Wrong
from minivit.tensor import Tensor

Arrays = tuple[np.ndarray, ...]
FLOAT32 = 1e-5  # a difference this small, relative to the largest entry, is taken for that of float32


def number(value: float, mistakes: Mapping[float, str] | None = None, rtol: float = 1e-6) -> Judge:
    """A judge of one number.   mistakes: a wrong number -> what is wrong about it.   rtol: relative to the number.

    A rounded right number is told so, and a rounded mistake gets its hint, if at most a thousandth was rounded away.
    """

    def near(x: float, y: float) -> bool:
        return abs(x - y) <= rtol * max(abs(y), 1e-12)

    def rounding(x: float, y: float) -> bool:
        return abs(x - y) <= 1e-3 * abs(y) and x == round(y, -int(Decimal(repr(x)).as_tuple().exponent))

    def judge(answer: Any) -> str | None:
        try:
            x = float("no number" if isinstance(answer, str) else np.asarray(_data(answer)).item())
        except (TypeError, ValueError, OverflowError):
            return f"The answer should be one number, this is {kind(answer)}."
        if near(x, value):
            return None
        hints = {value: f"Nearly. Give more digits: a relative accuracy of {rtol:.0e} is asked.", **(mistakes or {})}
        said = [hint for alike in (near, rounding) for known, hint in hints.items() if alike(x, known)]
        return said[0] if said else f"It is not {x:.6g}."

    return judge


def choice(right: Any, mistakes: Mapping[Any, str]) -> Judge:
    """A judge of one of several given answers.   mistakes: every other one -> what is wrong about it."""

    def judge(answer: Any) -> str | None:
        options = ", ".join(sorted(map(repr, [right, *mistakes])))
        try:
            return {right: None, **mistakes}[answer]
        except (KeyError, TypeError):  # not among them, or nothing that could be, such as a list
            return f"Choose one of {options}; this is {answer!r}."

    return judge


@dataclass(frozen=True)
class function_like:
    """A judge of a function, by what it returns.

    reference: returns the right arrays (one, or a tuple of them) for the same arguments.
    cases: given a generator, the lists of arguments to try, in float64; of several shapes, no two lengths alike, so
    that axes cannot be confused, and more than one head.
    mistakes: what is wrong -> a function that makes just this mistake. An answer that returns what such a function
    returns, in every case, gets its explanation.
    rtol: allowed difference, relative to the largest entry of the right array.
    Constant factors and signs, shapes, changed arguments and NaN are recognised without being listed.
    """

    reference: Callable
    cases: Callable[[np.random.Generator], Sequence[tuple]]
    mistakes: Mapping[str, Callable] = field(default_factory=dict)
    rtol: float = 1e-7

    def __call__(self, answer: Any) -> str | None:
        try:
            return self._judge(answer)
        except Wrong as wrong:
            return str(wrong)

    def _judge(self, answer: Any) -> str | None:
        tried = self.cases(np.random.default_rng(0))
        wanted = [arrays(self.reference(*copy.deepcopy(args))) for args in tried]
        several = len(wanted[0]) > 1
        got = [arrays(call(answer, *args), several) for args in tried]
        if _all_equal(got, wanted, self.rtol):
            return None
        for hint, wrong in self.mistakes.items():
            if _all_equal(got, [arrays(wrong(*copy.deepcopy(args))) for args in tried], self.rtol):
                return hint
        fault, case = _difference(got, wanted, self.rtol)
        return f"{fault} The arguments were {described(tried[case])}."


def call(answer: Any, *args: Any) -> Any:
    """answer(*args), with copies of the arguments.

    Raises Wrong if the answer is no function, raises an error, or changes an argument, and what an argument raises as
    Wrong when it is used; Unanswered if the answer returns None or Ellipsis, or is not implemented.
    """
    if not callable(answer):
        raise Wrong(f"The answer should be a function, this is {kind(answer)}.")
    given = copy.deepcopy(args)
    try:
        result = answer(*given)
    except NotImplementedError:
        raise Unanswered from None
    except Wrong:
        raise
    except Exception as error:
        raise Wrong(f"It raised {type(error).__name__}: {error}. The arguments were {described(args)}.") from None
    if result is None or result is ...:
        raise Unanswered
    if any(_changed(now, then) for now, then in zip(given, args, strict=True)):
        raise Wrong("It changes one of its arguments; work on a copy, or write `x = x - ...` instead of `x -= ...`.")
    return result


def says(answer: Any, *args: Any) -> bool:
    """What a function answers with True or False. Raises as `call`, and Wrong for anything else than these two."""
    said = call(answer, *args)
    if not isinstance(said, bool | np.bool_):
        raise Wrong(f"It should return True or False, this is {kind(said)}.")
    return bool(said)


def arrays(result: Any, several: bool = False) -> Arrays:
    """One array, or a tuple of arrays, as a tuple of float64 arrays; Wrong if it is neither.

    several: more than one array is asked for; then a list counts as a tuple.
    """
    parts = tuple(result) if isinstance(result, tuple) or (several and isinstance(result, list)) else (result,)
    try:
        return tuple(np.asarray(_data(part), float) for part in parts)
    except (TypeError, ValueError):
        raise Wrong(f"It should return numbers or arrays, this is {kind(result)}.") from None


def described(args: Sequence[Any]) -> str:
    """Arguments in words: shapes of arrays, names of functions, lengths of dicts, the rest as Python writes it."""
    return ", ".join(map(_described, args))


def _described(argument: Any) -> str:
    if isinstance(argument, np.ndarray):
        return f"an array {argument.shape}"
    if inspect.isfunction(argument):
        return argument.__name__
    return f"a dict of {len(argument)}" if isinstance(argument, dict) else repr(argument)


def kind(answer: Any) -> str:
    """What an answer is, with its article."""
    if inspect.isfunction(answer):
        return f"a function ({answer.__name__})"
    name = type(answer).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _data(part: Any) -> Any:
    return part.data if isinstance(part, Tensor) else part


def _changed(now: Any, then: Any) -> bool:
    if isinstance(then, np.ndarray):
        return not np.array_equal(now, then, equal_nan=then.dtype.kind == "f")
    return isinstance(then, list | dict) and repr(now) != repr(then)


def _all_equal(got: Sequence[Arrays], wanted: Sequence[Arrays], rtol: float) -> bool:
    return all(_equal(a, b, rtol) for a, b in zip(got, wanted, strict=True))


def _equal(got: Arrays, wanted: Arrays, rtol: float) -> bool:
    return len(got) == len(wanted) and all(_close(a, b, rtol) for a, b in zip(got, wanted, strict=True))


def _close(a: np.ndarray, b: np.ndarray, rtol: float) -> bool:
    """Same shape, and no difference above rtol times the largest entry of b; if b is zero, above rtol * 1e-12."""
    size = float(np.max(np.abs(b), initial=0)) or 1e-12
    return a.shape == b.shape and bool(np.max(np.abs(a - b), initial=0) <= rtol * size)


def _difference(got: Sequence[Arrays], wanted: Sequence[Arrays], rtol: float) -> tuple[str, int]:
    """What is wrong, and in which case: how many arrays, which shape, NaN, a factor, or how far off."""
    failed = [i for i, pair in enumerate(zip(got, wanted, strict=True)) if not _equal(*pair, rtol)]
    for case in failed:
        if fault := _misfit(got[case], wanted[case]):
            return fault, case
    case, count = failed[0], len(wanted[0])
    i = next(i for i in range(count) if not _close(got[case][i], wanted[case][i], rtol))
    name = "It" if count == 1 else f"Result {i + 1} of {count}"
    factor = _factor([results[i] for results in got], [expected[i] for expected in wanted], rtol)
    if factor is not None:
        scaled = "right but for its sign" if factor == -1 else f"{factor:.6g} times the right one"
        return f"{name} is {scaled}.", case
    if _all_equal(got, wanted, FLOAT32):
        return f"{name} is right to a few digits, but not to as many as float64 has. Is something in float32?", case
    off = np.abs(got[case][i] - wanted[case][i]).max()
    if wanted[case][i].ndim:
        return f"{name} has the right shape, but differs from the right values by up to {off:.3g}.", case
    return f"{name} differs from the right value by {off:.3g}.", case


def _misfit(results: Arrays, expected: Arrays) -> str:
    """What keeps the numbers from being compared, or nothing."""
    if len(results) != len(expected):
        return f"It should return {_count(len(expected))}, and returns {_count(len(results))}."
    for i, (a, b) in enumerate(zip(results, expected, strict=True)):
        name = "The result" if len(expected) == 1 else f"Result {i + 1} of {len(expected)}"
        if a.shape != b.shape:
            return f"{name} has shape {a.shape}, expected {b.shape}."
        if not np.isfinite(a).all():
            return f"{name} is not finite everywhere: there are NaN or infinite values."
    return ""


def _factor(got: Sequence[np.ndarray], wanted: Sequence[np.ndarray], rtol: float) -> float | None:
    """The one factor, other than 0 and 1, by which the results of all cases are too large, if there is one."""
    a, b = (np.concatenate([x.ravel() for x in part]) for part in (got, wanted))
    size = float(b @ b)
    factor = float(a @ b) / size if size else 0.0
    if (
        b.size < 2
        or abs(factor) < 1e-9
        or abs(factor - 1) < FLOAT32
        or np.abs(a - factor * b).max() > rtol * np.abs(a).max()
    ):
        return None
    return -1 if abs(factor + 1) < 1e-6 else factor


def _count(n: int) -> str:
    return "one array" if n == 1 else f"a tuple of {n} arrays"
