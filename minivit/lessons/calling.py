"""Calls an answer and reports everything that can go wrong before its result is compared."""

import contextlib
import copy
import dis
import functools
import inspect
import itertools
import os
import sys
import tracemalloc
import types
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import minivit
from minivit.errors import with_article
from minivit.lessons.exercise import Unanswered, Wrong
from minivit.tensor import Tensor

NO_RETURN = "Your function returned None: does it end in `return`"
_LIBRARY = str(Path(minivit.__file__).parent) + os.sep
_LESSONS = _LIBRARY + "lessons" + os.sep
# What a Tensor around an array needs, and a module on its first import: nothing is computed there.
_HARMLESS = frozenset({"<module>", "Tensor.__init__", "Tensor.shape", "Tensor.__repr__", "to_numpy"})
# The instructions of a function that only names what it would return, as the cells of a fresh notebook do.
_IDLE = ("RESUME", "NOP", "RETURN_", "LOAD_CONST", "LOAD_FAST", "STORE_FAST", "BUILD_", "UNPACK_", "COPY", "SWAP")
_LONGEST = 100_000  # items that are taken from an iterator


def call(answer: Any, *args: Any, allowed: Collection[str] | None = None) -> Any:
    """answer(*args), with copies of the arguments; an iterator, such as a generator's, becomes a tuple.

    allowed: names of the library's functions that the answer may call, None for all.
    Raises Wrong if the answer is not a function, raises an error, changes an argument, calls a forbidden function, or
    forgets its `return`; also if using an argument raises Wrong. Raises Unanswered if it is still empty, returns
    Ellipsis, or is not implemented.
    """
    given = copy.deepcopy(args)
    result = run(answer, *given, allowed=allowed)
    if any(_changed(now, then) for now, then in zip(given, args, strict=True)):
        raise Wrong("It changes one of its arguments; work on a copy, or write `x = x - ...` instead of `x -= ...`.")
    return result


def run(answer: Any, *args: Any, allowed: Collection[str] | None = None) -> Any:
    """As `call`, with the arguments themselves, which may be changed."""
    if not callable(answer):
        raise Wrong(f"The answer should be a function, this is {kind(answer)}.")
    with _without_library(allowed) as refused, _unset_shows():
        try:
            result = answer(*args)
            if isinstance(result, Iterator):
                result = tuple(itertools.islice(result, _LONGEST))
        except NotImplementedError:
            raise Unanswered from None
        except (Wrong, Unanswered):
            raise
        except (Exception, SystemExit) as error:
            if not refused:
                raise Wrong(f"It raised {type(error).__name__}: {error}.{_given(args)}") from None
    if refused:  # also if the answer caught the error
        raise Wrong(_refusal(refused[0]))
    parts = result if isinstance(result, tuple | list) and result else (result,)
    if result is ... or (all(part is None or part is ... for part in parts) and _idle(answer)):
        raise Unanswered
    if result is None:
        raise Wrong(f"{NO_RETURN}?{_given(args)}")
    return result


def says(answer: Any, *args: Any, allowed: Collection[str] | None = None) -> bool:
    """The answer of a function as True or False (1 and 0 count). Raises as `call`, and Wrong for anything else."""
    said = call(answer, *args, allowed=allowed)
    value = np.asarray(said.data if isinstance(said, Tensor) else said)
    if value.size != 1 or value.dtype.kind not in "biu" or value.item() not in (0, 1):
        raise Wrong(f"It should return True or False, this is {kind(said)}.")
    return bool(value.item())


def pulled_back(op: Any, *args: Any, g: Any, allowed: Collection[str] | None = None) -> tuple[Any, tuple]:
    """The value of an op, `(y, vjp)`, and the tuple of its vjp for g, with one part for each argument."""
    result = call(op, *args, allowed=allowed)
    if not isinstance(result, tuple | list) or len(result) != 2 or not callable(result[1]):
        raise Wrong(f"The op should end in `return value, vjp`, with a function `vjp`; it returned {kind(result)}.")
    value, vjp = result
    try:
        gradients = call(vjp, g, allowed=allowed)
    except Wrong as wrong:
        raise Wrong(f"In `vjp`: {wrong}") from None
    if isinstance(gradients, tuple | list) and len(gradients) == len(args):
        return value, tuple(gradients)
    if len(args) == 1:
        return value, (gradients,)
    if isinstance(gradients, np.ndarray) and gradients.shape[:1] == (len(args),):  # stacked
        return value, tuple(gradients)
    raise Wrong(f"`vjp(g)` should return a tuple of {len(args)} gradients, it returned {kind(gradients)}.")


def peak_bytes(answer: Callable, *args: Any) -> int:
    """The peak number of bytes that an answer held while it ran, beyond those held before."""
    tracing = tracemalloc.is_tracing()
    if not tracing:
        tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        run(answer, *args)
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        if not tracing:
            tracemalloc.stop()


def described(args: Sequence[Any]) -> str:
    """Arguments in words: shapes of arrays, names of functions, lengths of dicts, the rest as Python writes it."""
    return ", ".join(map(_described, args))


def kind(answer: Any) -> str:
    """The kind of an answer, with its article."""
    if answer is None:
        return "None"
    if isinstance(answer, np.ndarray):
        return f"an array {answer.shape}"
    if isinstance(answer, tuple | list):
        return f"a {type(answer).__name__} of {len(answer)}"
    if inspect.isfunction(answer):
        name = _name(answer)
        return f"a function ({name})" if name else "a function"
    return with_article(type(answer).__name__)


def _given(args: Sequence[Any]) -> str:
    return f" The arguments were {described(args)}." if args else ""


def _described(argument: Any) -> str:
    if isinstance(argument, np.ndarray):
        return f"an array {argument.shape}"
    if callable(argument):
        return _name(argument) or "a function"
    if isinstance(argument, float) and len(repr(argument)) > 9:
        return f"{argument:.6g}"
    return f"a dict of {len(argument)}" if isinstance(argument, dict) else repr(argument)


def _name(function: Any) -> str:
    """The name of a function, if somebody gave it one to be read."""
    name = getattr(function, "__name__", "")
    return name if name.isidentifier() and not name.startswith("_") else ""


def _idle(answer: Any) -> bool:
    """Whether a function does nothing but name what it would return."""
    while isinstance(answer, functools.partial):
        answer = answer.func
    answer = inspect.unwrap(answer)
    if not inspect.isroutine(answer) and not inspect.isclass(answer):
        answer = getattr(answer, "pyfunc", None) or inspect.getattr_static(type(answer), "__call__", answer)
    code = getattr(answer, "__code__", None)
    return isinstance(code, types.CodeType) and all(
        step.opname.startswith(_IDLE) and (step.opname not in ("LOAD_CONST", "RETURN_CONST") or _empty(step.argval))
        for step in dis.get_instructions(code)
    )


def _empty(constant: Any) -> bool:
    return constant is None or constant is ... or (isinstance(constant, tuple) and all(map(_empty, constant)))


@contextlib.contextmanager
def _without_library(allowed: Collection[str] | None) -> Iterator[list[str]]:
    """Refuses, in this thread, Python functions of the library except the allowed ones and those that they call.

    Yields a list that receives the names of forbidden functions that were called. The profiler sees every call,
    whatever the function's imported name; functions that the judge itself passes to the answer, in `lessons`, are
    exempt.
    """
    refused: list[str] = []
    if allowed is None:
        yield refused
        return
    free = _HARMLESS | set(allowed)
    caller = sys._getframe()
    judge = caller.f_back.f_back if caller.f_back is not None else None  # behind contextlib

    def look(frame: types.FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(_LIBRARY) or code.co_filename.startswith(_LESSONS):
            return
        above: types.FrameType | None = frame
        while above is not None and above is not judge:
            place = above.f_code.co_filename
            if place.startswith(_LESSONS) or (place.startswith(_LIBRARY) and above.f_code.co_qualname in free):
                return
            above = above.f_back
        refused.append(code.co_qualname)
        raise Wrong(_refusal(code.co_qualname))

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        yield refused
    finally:
        sys.setprofile(before)


@contextlib.contextmanager
def _unset_shows() -> Iterator[None]:
    """Fills new arrays of np.empty with NaN, those of integers with 99.

    Otherwise old memory may hold the right values by chance, and an answer that forgets a part would sometimes pass.
    """

    def filled(make: Callable) -> Callable:
        def new(*args: Any, **kwargs: Any) -> np.ndarray:
            array = make(*args, **kwargs)
            if array.dtype.kind in "fciub":
                array.fill(np.nan if array.dtype.kind in "fc" else 99)
            return array

        return new

    with mock.patch.object(np, "empty", filled(np.empty)), mock.patch.object(np, "empty_like", filled(np.empty_like)):
        yield


def _refusal(name: str) -> str:
    function, _, inner = name.partition(".<locals>.")
    if function == "lift":
        function = "minivit.functional"
    called = f"the pullback of `{function}`" if inner == "vjp" else f"`{function}`"
    return f"The library did this ({called} was called); write it yourself."


def _changed(now: Any, then: Any) -> bool:
    if isinstance(then, np.ndarray):
        return not np.array_equal(now, then, equal_nan=then.dtype.kind == "f")
    if isinstance(then, dict):
        return now.keys() != then.keys() or any(_changed(now[key], then[key]) for key in then)
    if isinstance(then, list):
        return len(now) != len(then) or any(map(_changed, now, then))
    return isinstance(then, int | float | str) and now != then
