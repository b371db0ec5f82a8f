"""An exercise: what is asked, who judges the answer, and what is wrong about the common wrong answers.

A judge takes an answer and returns None if it is right, otherwise what is wrong with it in a sentence or two. The three
builders below, `function_like`, `number` and `choice`, make most judges; any function of that form will do.
"""

import copy
import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

Judge = Callable[[Any], str | None]
Arrays = tuple[np.ndarray, ...]


class Unanswered(Exception):
    """The answer's function still returns None or Ellipsis, or raises NotImplementedError."""


@dataclasses.dataclass(frozen=True)
class Exercise:
    """id: number of the notebook and of the exercise, "7.2".   judge: see above.   lesson: what to take away."""

    id: str
    judge: Judge
    lesson: str = ""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """right: True, False, or None for an exercise that is not answered yet.   text: why, or what to take away."""

    id: str
    right: bool | None
    text: str

    @property
    def headline(self) -> str:
        """The verdict in three words or fewer."""
        return {True: "right", False: "not yet right", None: "not answered yet"}[self.right]

    def __repr__(self) -> str:
        return f"Exercise {self.id}: {self.headline}. {self.text}".rstrip()

    def _repr_markdown_(self) -> str:
        sign = {True: "✅", False: "❌", None: "✏️"}[self.right]
        return f"{sign} **Exercise {self.id}: {self.headline}.** {self.text}".rstrip()


def judged(exercise: Exercise, answer: Any) -> Verdict:
    """The verdict on an answer; None and Ellipsis are no answer."""
    if answer is None or answer is ...:
        return Verdict(exercise.id, None, "")
    try:
        fault = exercise.judge(answer)
    except Unanswered:
        return Verdict(exercise.id, None, "")
    return Verdict(exercise.id, fault is None, exercise.lesson if fault is None else fault)


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
            x = float(answer)
        except (TypeError, ValueError):
            return f"The answer should be one number, this is {_kind(answer)}."
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


def function_like(
    reference: Callable,
    cases: Callable[[np.random.Generator], Sequence[tuple]],
    mistakes: Mapping[str, Callable] | None = None,
    rtol: float = 1e-7,
) -> Judge:
    """A judge of a function, by what it returns.

    reference: returns the right arrays (one, or a tuple of them) for the same arguments.
    cases: given a generator, the lists of arguments to try, in float64; of several shapes, no two lengths alike, so
    that axes cannot be confused, and more than one head.
    mistakes: what is wrong -> a function that makes just this mistake. An answer that returns what such a function
    returns, in every case, gets its explanation.
    rtol: allowed difference, relative to the largest entry of the right array.
    Constant factors and signs, shapes, changed arguments and NaN are recognised without being listed.
    """

    def judge(answer: Any) -> str | None:
        if not callable(answer):
            return f"The answer should be a function, this is {_kind(answer)}."
        tried = cases(np.random.default_rng(0))
        wanted = [_arrays(reference(*copy.deepcopy(args))) for args in tried]
        got = []
        for args in tried:
            result = _called(answer, args, several=len(wanted[0]) > 1)
            if isinstance(result, str):
                return result
            got.append(result)
        if _all_equal(got, wanted, rtol):
            return None
        for hint, wrong in (mistakes or {}).items():
            if _all_equal(got, [_arrays(wrong(*copy.deepcopy(args))) for args in tried], rtol):
                return hint
        failed = next(i for i, pair in enumerate(zip(got, wanted, strict=True)) if not _equal(*pair, rtol))
        return _difference(got, wanted, rtol) + f" The arguments were {_describe(tried[failed])}."

    return judge


def _called(answer: Callable, args: tuple, several: bool) -> Arrays | str:
    """What the answer returns for these arguments, or what is wrong with the call.

    several: more than one array is asked for; then a list counts as a tuple.
    """
    given = copy.deepcopy(args)
    try:
        result = answer(*given)
    except NotImplementedError:
        raise Unanswered from None
    except Exception as error:
        return f"It raised {type(error).__name__}: {error}. The arguments were {_describe(args)}."
    if result is None or result is ...:
        raise Unanswered
    for now, then in zip(given, args, strict=True):
        if isinstance(then, np.ndarray) and not np.array_equal(now, then, equal_nan=True):
            return "It changes one of its arguments; work on a copy, or write `x = x - ...` instead of `x -= ...`."
    try:
        return _arrays(tuple(result) if several and isinstance(result, list) else result)
    except (TypeError, ValueError):
        return f"It should return numbers or arrays, this is {_kind(result)}."


def _arrays(result: Any) -> Arrays:
    """One array or a tuple of them, as a tuple of float64 arrays."""
    parts = result if isinstance(result, tuple) else (result,)
    return tuple(np.asarray(getattr(part, "data", part) if hasattr(part, "node") else part, float) for part in parts)


def _all_equal(got: Sequence[Arrays], wanted: Sequence[Arrays], rtol: float) -> bool:
    return all(_equal(a, b, rtol) for a, b in zip(got, wanted, strict=True))


def _equal(got: Arrays, wanted: Arrays, rtol: float) -> bool:
    return len(got) == len(wanted) and all(
        a.shape == b.shape and bool(np.max(np.abs(a - b), initial=0) <= rtol * np.max(np.abs(b), initial=1e-12))
        for a, b in zip(got, wanted, strict=True)
    )


def _difference(got: Sequence[Arrays], wanted: Sequence[Arrays], rtol: float) -> str:
    """What is wrong, as far as it shows in the numbers: how many, which shape, NaN, a factor, or how far off."""
    results, expected = next(pair for pair in zip(got, wanted, strict=True) if not _equal(*pair, rtol))
    if len(results) != len(expected):
        return f"It should return {_count(len(expected))}, and returns {_count(len(results))}."
    for i, (a, b) in enumerate(zip(results, expected, strict=True)):
        name = "The result" if len(expected) == 1 else f"Result {i + 1} of {len(expected)}"
        if a.shape != b.shape:
            return f"{name} has shape {a.shape}, expected {b.shape}."
        if not np.isfinite(a).all():
            return f"{name} is not finite everywhere: there are NaN or infinite values."
    for i in range(len(expected)):
        factor = _factor([results[i] for results in got], [expected[i] for expected in wanted], rtol)
        if factor is not None:
            which = "It" if len(expected) == 1 else f"Result {i + 1} of {len(expected)}"
            return _scaled(which, factor)
    for i, (a, b) in enumerate(zip(results, expected, strict=True)):
        if not _equal((a,), (b,), rtol):
            name = "It" if len(expected) == 1 else f"Result {i + 1} of {len(expected)}"
            return f"{name} has the right shape, but differs from the right values by up to {np.abs(a - b).max():.3g}."
    raise AssertionError("no difference")


def _factor(got: Sequence[np.ndarray], wanted: Sequence[np.ndarray], rtol: float) -> float | None:
    """The one factor, other than 0 and 1, by which the results of all cases are too large, if there is one."""
    a, b = (np.concatenate([x.ravel() for x in part]) for part in (got, wanted))
    size = float(b @ b)
    factor = float(a @ b) / size if size else 0.0
    if abs(factor) < 1e-9 or abs(factor - 1) < 1e-6 or np.abs(a - factor * b).max() > rtol * np.abs(a).max():
        return None
    return -1 if abs(factor + 1) < 1e-6 else factor


def _scaled(which: str, factor: float) -> str:
    return f"{which} is right but for its sign." if factor == -1 else f"{which} is {factor:.6g} times the right one."


def _describe(args: tuple) -> str:
    return ", ".join(f"an array {a.shape}" if isinstance(a, np.ndarray) else repr(a) for a in args)


def _kind(answer: Any) -> str:
    return f"a function ({answer.__name__})" if inspect.isfunction(answer) else f"a {type(answer).__name__}"


def _count(n: int) -> str:
    return "one array" if n == 1 else f"a tuple of {n} arrays"
