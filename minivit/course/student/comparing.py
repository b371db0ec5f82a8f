"""Reads and compares the results of adapters, for students and for the grader alike. It travels with every release.

Python and NumPy only. Every comparison is made here, never in the student's code.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

__all__ = ["Apart", "Engine", "NotAnswered", "Own", "Scratch", "Wrong", "alike", "close", "plain", "same", "shared"]

NAMES = re.compile(r"\(([A-Za-z_]\w*(?:, [A-Za-z_]\w*)+)\)")  # "(dq, dk, dv)"


class Wrong(Exception):
    """The fault of an answer, in words for the student who wrote it. It never gives the answer."""


class NotAnswered(Wrong):
    """The adapter is unchanged: it raises NotImplementedError or returns None."""


class Own:
    """Stands for one of the student's own adapters where a function is an argument, as in find_bugs(run_program)."""

    def __init__(self, adapter: str) -> None:
        self.adapter = adapter


class Engine:
    """Stands for an adapter of a solution that the student does not see, where a function is an argument."""

    def __init__(self, solution: str, adapter: str) -> None:
        self.solution, self.adapter = solution, adapter


class Scratch(dict):
    """A dict argument that the adapter may change."""


class Apart(dict):
    """A dict argument with whose arrays the result must share no memory."""


def plain(value: Any) -> Any:
    """The result of an adapter in plain arrays, numbers, text, lists, tuples and dicts; raises Wrong for others."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biufcO":
            raise Wrong(f"it returns an array of {value.dtype}, expected numbers")
        return np.array(value, order="C", subok=False)
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, complex, str)):
        return value
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(plain, value)) if type(value) in (list, tuple) else list(map(plain, value))
    raise Wrong(f"it returns an object of type {type(value).__name__}, expected arrays, numbers, lists or dicts")


def same(a: Any, b: Any) -> bool:
    """Whether two arguments are equal bit for bit, including type and shape. A Scratch may have changed."""
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


def changed(a: Any, b: Any, name: str) -> str | None:
    """The changed part of an argument, "params['out.bias']" of "params", or None."""
    if same(a, b):
        return None
    if isinstance(a, Mapping) and isinstance(b, Mapping) and list(a) == list(b):
        return next(filter(None, (changed(a[key], b[key], f"{name}[{key!r}]") for key in a)), name)
    if isinstance(a, (list, tuple)) and type(a) is type(b) and len(a) == len(b):
        return next(filter(None, (changed(x, y, f"{name}[{i}]") for i, (x, y) in enumerate(zip(a, b)))), name)  # noqa: B905 - Python 3.9
    return name


def _leaf(got: Any, want: np.ndarray, rtol: float, atol: float, what: str) -> str | None:
    """The fault of one array or number, or None."""
    if got is None or isinstance(got, (str, Mapping)):
        return f"{what} should be numbers, it is {_kind(got)}"
    try:
        got = np.asarray(got)
    except ValueError:
        return f"{what} should be one array, it is a list of arrays of different shapes"
    if got.shape != want.shape:
        return f"{what} has shape {got.shape}, it should be {want.shape}"
    if got.dtype.kind not in "biuf":
        return f"{what} holds {got.dtype}, expected real numbers"
    if not np.isfinite(got).all():
        return f"{what} is not finite: it holds {'nan' if np.isnan(got).any() else 'inf'}"
    error, scale = (np.abs(array).max(initial=0.0) for array in (np.asarray(got, float) - want, want))
    if error <= max(rtol * scale if scale else rtol * 1e-12, atol):
        return None
    if not scale:
        return f"{what} should be 0"
    single = " (is it float32? expected float64)" if got.dtype == np.float32 else ""
    return f"{what} is off by up to {error / scale:.2g} of its largest entry{single}"


def close(got: Any, want: Any, rtol: float = 1e-9, atol: float = 0.0, what: str = "the result") -> str | None:
    """The fault of `got`, or None. `want`: arrays and numbers in lists, tuples (a list is as good) and dicts.

    Arrays must have the same shape, be finite, and obey max|got - want| <= rtol * max|want|, or <= atol; if all of
    `want` is 0, <= rtol * 1e-12. rtol 0 asks for equality. Text and bool are compared for equality.
    what: in words. Names in brackets, as in "(dq, dk, dv) of one head", are those of the parts of `want`.
    """
    if isinstance(want, Mapping):
        fault = keys(got, want, what)
        faults = (close(got[key], want[key], rtol, atol, _part(what, [], repr(key))) for key in want)
    elif isinstance(want, (list, tuple)):
        fault, got = parts(got, len(want), what)
        names = _names(what)
        faults = (close(g, w, rtol, atol, _part(what, names, i, len(want))) for i, (g, w) in enumerate(zip(got, want)))  # noqa: B905 - Python 3.9
    elif isinstance(want, (str, bool)) or want is None:
        return None if type(got) is type(want) and got == want else f"{_said(what)} should not be {got!r:.50}"
    else:
        return _leaf(got, np.asarray(want), rtol, atol, _said(what))
    return fault or next(filter(None, faults), None)


PART = "\0"  # after the name of a part in the words for it: where an index of its own parts goes


def _said(what: str) -> str:
    return what.replace(PART, "")


def _names(what: str) -> list[str]:
    """The names in brackets, ["dq", "dk", "dv"] of "(dq, dk, dv) of one head"."""
    found = NAMES.search(what)
    return found.group(1).split(", ") if found and PART not in what else []


def _part(what: str, names: list[str], index: Any, count: int = -1) -> str:
    """The words for one part: by its name, or with its index behind."""
    if len(names) == count:
        return NAMES.sub(lambda _: names[index] + PART, what, count=1)
    return what.replace(PART, f"[{index}]{PART}") if PART in what else f"{what}[{index}]"


def keys(got: Any, want: Collection, what: str) -> str | None:
    """The fault of the names in a dict, or None. They must be exactly those of `want`."""
    what = _said(what)
    if not isinstance(got, Mapping):
        return f"{what} should be a dict, it is {_kind(got)}"
    lacking, surplus = set(want) - set(got), set(got) - set(want)
    missing, more = (", ".join(map(repr, sorted(names, key=str))) for names in (lacking, surplus))
    if missing:
        return f"{what} lacks {missing:.200}" + (f" and has {more:.200}" if more else "")
    return f"{what} has {more:.200}; expected exactly these names: {', '.join(map(repr, want)):.200}" if more else None


def parts(got: Any, count: int, what: str) -> tuple[str | None, list]:
    """The fault of the number of results, or None, and the results, padded or cut to `count`."""
    what, asked = _said(what), f"expected {count} results" if count != 1 else "expected 1 result"
    if isinstance(got, (list, tuple)) or (isinstance(got, np.ndarray) and got.ndim and len(got) == count):
        fault = f"{what}: {asked}, got {len(got)}" if len(got) != count else None
    elif isinstance(got, np.ndarray):
        fault = f"{what}: {asked}, got one array of shape {got.shape}"
    else:
        fault = f"{what}: {asked}, got {_kind(got)}"
    return fault, [None] * count if fault else list(got)


def _kind(got: Any) -> str:
    return "None" if got is None else f"a {type(got).__name__}"


def alike(a: Any, b: Any, rtol: float = 1e-7) -> bool:
    """Whether two results are the same up to rounding, with nan and inf at the same places."""
    return close(_marked(a), _marked(b), rtol, 1e-14) is None


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
    """Whether any two arrays of a and b, values in dicts and lists, share memory."""
    if isinstance(a, (Mapping, list, tuple)):
        return any(shared(item, b) for item in (a.values() if isinstance(a, Mapping) else a))
    if isinstance(a, np.ndarray):
        return np.may_share_memory(a, b) if isinstance(b, np.ndarray) else shared(b, a)
    return False
