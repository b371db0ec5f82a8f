"""Describes how the results of an answer differ from the right ones: `fitted` reads a result, `diagnosis` compares."""

import itertools
from collections.abc import Callable, Iterable, Sequence, ValuesView
from dataclasses import dataclass
from typing import Any

import numpy as np

from minivit.lessons.calling import NO_RETURN, described, kind
from minivit.lessons.exercise import Wrong
from minivit.lessons.likeness import alike, relation, reshaped
from minivit.lessons.places import place
from minivit.tensor import Tensor

Arrays = tuple[np.ndarray, ...]
_DIFFERS = 3  # the number of the fault that says least
FLOAT32 = 1e-5  # a relative difference this small is that of float32, or of an epsilon


def _is_collection(result: Any) -> bool:
    """Whether it holds several results: a tuple, a list, a deque, the values of a dict."""
    return isinstance(result, Sequence | ValuesView) and not isinstance(result, str | bytes)


def data(part: Any) -> Any:
    """The array of a Tensor, anything else as it is."""
    return part.data if isinstance(part, Tensor) else part


def array(part: Any, name: str = "It") -> np.ndarray:
    """Numbers as an array of float64, or of the narrower type they have; Wrong for text, None and complex numbers."""
    try:
        values = np.asarray(data(part))
        if values.dtype == object and any(item is None for item in values.flat):
            raise Wrong(
                f"{NO_RETURN} a value? {name} is None." if part is None else f"{name} has None among its numbers."
            )
        if values.dtype.kind in "OiubfV":
            return values if values.dtype.kind == "f" else values.astype(float)
    except (TypeError, ValueError, OverflowError):
        pass
    raise Wrong(f"It should return numbers or arrays, this is {kind(part)}.")


def arrays(result: Any, several: bool = False) -> Arrays:
    """One array, or a tuple of arrays, as a tuple of arrays; Wrong for anything else.

    several: more than one array is expected; then a list counts as a tuple.
    """
    parts = tuple(result) if isinstance(result, tuple) or (several and _is_collection(result)) else (result,)
    return tuple(
        array(part, "It" if len(parts) == 1 else f"Result {i + 1} of {len(parts)}") for i, part in enumerate(parts)
    )


def fitted(result: Any, wanted: Arrays, names: Sequence[str] = ()) -> Arrays:
    """The result of an answer, in the form of the right results if only its form differs.

    Accepts one array for a tuple of results of one shape, a tuple of numbers for an array, and an array of one entry
    for a number.
    """
    result = data(result)
    count = len(wanted)
    if count == 1:
        parts: Iterable = (_single(result, wanted[0]),)
    elif isinstance(result, np.ndarray) and result.ndim and len(result) == count:
        parts = tuple(result)
    else:
        parts = tuple(result) if _is_collection(result) else (result,)
    parts = tuple(parts)
    if len(parts) != count:
        raise Wrong(f"It should return {_count(count, names)}, and returns {_count(len(parts))}.")
    read = [array(part, name_of(i, count, names)) for i, part in enumerate(parts)]
    return tuple(
        a.reshape(b.shape) if a.size == b.size == 1 and min(a.ndim, b.ndim) == 0 else a
        for a, b in zip(read, wanted, strict=True)
    )


def _single(result: Any, wanted: np.ndarray) -> Any:
    """The one result of an answer, which may be a tuple of one, or of the numbers of an array."""
    if not _is_collection(result):
        return result
    items = [data(item) for item in result]
    if len(items) == 1 and (np.ndim(items[0]) >= wanted.ndim or not wanted.ndim):
        return items[0]
    if isinstance(result, tuple) and any(np.shape(item) != wanted.shape[1:] for item in items):
        raise Wrong(f"It should return one array, and returns {_count(len(items))}.")
    return items


def name_of(i: int, count: int, names: Sequence[str]) -> str:
    """The name of the i-th result in a verdict."""
    if count == 1:
        return "It"
    return names[i] if names else f"Result {i + 1} of {count}"


def _short(i: int, names: Sequence[str]) -> str:
    """The same where another result was named before."""
    return names[i] if names else f"result {i + 1}"


def _count(n: int, names: Sequence[str] = ()) -> str:
    listed = f": {', '.join(names)}" if names and n == len(names) else ""
    return "one array" if n == 1 else f"a tuple of {n} arrays{listed}"


def distance(got: Sequence[np.ndarray], wanted: Sequence[np.ndarray]) -> float:
    """The largest difference relative to the largest entry of its right array; infinite where shapes or NaN differ."""
    largest = 0.0
    for a, b in zip(got, wanted, strict=True):
        if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
            largest = largest if alike(a, b) else np.inf
            continue
        size = float(np.abs(b).max(initial=0)) or 1e-3
        largest = max(largest, float(np.abs(a - b).max(initial=0)) / size)
    return largest


@dataclass
class Comparison:
    """Results beside the right ones, for each case, with the arguments.

    got, wanted: for each case, the results.   tried: the arguments.   parameters, names: of arguments and results.
    """

    got: list[Arrays]
    wanted: list[Arrays]
    tried: Sequence[tuple]
    rtol: float
    parameters: Sequence[str] = ()
    names: Sequence[str] = ()

    def __post_init__(self) -> None:
        self.count = len(self.wanted[0])
        self.off = [
            [distance(a[i : i + 1], b[i : i + 1]) for i in range(self.count)]
            for a, b in zip(self.got, self.wanted, strict=True)
        ]
        self.worst = [max(case[i] for case in self.off) for i in range(self.count)]
        self.failed = [i for i in range(self.count) if not self.worst[i] <= self.rtol]

    def pairs(self, i: int, of: int | None = None) -> list[tuple[np.ndarray, np.ndarray]]:
        """Result i and the right one (or the right result `of`), for each case."""
        return [(a[i], b[i if of is None else of]) for a, b in zip(self.got, self.wanted, strict=True)]

    def shows(self, mistake: Callable[..., Arrays]) -> tuple[int, float]:
        """2 if the answer returns the same as this mistake; 1 if it does so only in its wrong results; otherwise 0.

        The distance is subtracted, to choose between mistakes that are nearly the same. It must be below a tenth of
        that between the mistake and the right results.
        """
        made = [mistake(*args) for args in self.tried]
        if any(len(results) != self.count for results in made):
            return 0, 0.0

        def off(i: int, k: int | None = None) -> float:
            """The distance of the mistake's result i from the answer's, or from the right result k."""
            compared = self.got if k is None else self.wanted
            place = i if k is None else k
            return distance([m[i] for m in made], [results[place] for results in compared])

        same = [off(i) <= max(self.rtol, min(FLOAT32, off(i, i) / 10)) for i in range(self.count)]
        moved = any(off(i, k) <= self.rtol < off(i, i) for i in range(self.count) for k in range(self.count) if i != k)
        level = 2 if all(same) else int(all(same[i] for i in self.failed) and not moved)
        return level, -max(off(i) for i in self.failed)


def diagnosis(of: Comparison, hint: str | None = None) -> str:
    """The fault in a sentence or more: which results are wrong, what they are instead, or where they differ.

    hint: used if nothing more is known than that they differ.
    """
    if fault := _exchanged(of):
        return fault
    faults = [(_fault(of, i), i) for i in of.failed]
    first, i = min(faults, key=lambda fault: fault[0][0])
    right = [_short(k, of.names) for k in range(of.count) if k not in of.failed]
    others = [_short(k, of.names) for _, k in faults if k != i]
    said = hint if hint and first[0] == _DIFFERS else first[1]
    for some, verdict in ((right, "right"), (others, "not right either")):
        if some:
            listed = _listed(some)
            listed = listed if of.names else listed[0].upper() + listed[1:]
            said += f" {listed} {'is' if len(some) == 1 else 'are'} {verdict}."
    case = int(np.argmax([off[i] for off in of.off]))
    return f"{said} The arguments were {described(of.tried[case])}."


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _exchanged(of: Comparison) -> str | None:
    """The right arrays in another order."""
    if len(of.failed) < 2 or of.count > 6:
        return None
    names = [_short(k, of.names) for k in range(of.count)]
    for order in itertools.islice(itertools.permutations(range(of.count)), 1, None):  # the first changes nothing
        if all(distance([p[0]], [p[1]]) <= max(of.rtol, FLOAT32) for i, k in enumerate(order) for p in of.pairs(i, k)):
            found, asked = (", ".join(names[k] for k in places) for places in (order, range(of.count)))
            return f"The arrays are right, but in another order: it returns ({found}), expected ({asked})."
    return None


def _fault(of: Comparison, i: int) -> tuple[int, str]:
    """The fault of result i, with a number by which faults are ordered."""
    name, pairs = name_of(i, of.count, of.names), of.pairs(i)
    for k in range(of.count):
        if k != i and all(alike(a, b) for a, b in of.pairs(i, k)) and any(b.any() for _, b in of.pairs(i, k)):
            return 0, f"{name} is what {_short(k, of.names)} should be."
    for a, b in pairs:
        if a.shape != b.shape:
            why = reshaped(pairs)
            said = f"{'The result' if of.count == 1 else name} has shape {a.shape}, expected {b.shape}"
            return 0, f"{said}{f': it {why}' if why else ''}."
    for a, _ in pairs:
        if not np.isfinite(a).all():
            subject = "The result" if of.count == 1 else name
            return 1, f"{subject} is not finite everywhere: there are NaN or infinite values{_not_finite(a)}."
    if max(of.worst) <= FLOAT32:
        return _DIFFERS + 1, _nearly(of, i, name)
    if like := relation(pairs, of.tried, of.parameters):
        return 2, f"{name} {like}{'' if like.endswith('?') else '.'}"
    return _DIFFERS, _elsewhere(of, i, name)


def _not_finite(a: np.ndarray) -> str:
    """Where they are."""
    bad = ~np.isfinite(a)
    if bad.all():
        return " only"
    lines = bad.reshape(len(bad), -1)
    rows = np.flatnonzero(lines.any(axis=1))
    if a.ndim > 1 and lines[rows].all() and len(rows) < 4:
        return f", in row {_listed([str(row) for row in rows])}"
    return f", the first at {[int(k) for k in np.argwhere(bad)[0]]}"


def _nearly(of: Comparison, i: int, name: str) -> str:
    """A difference of a few parts in a million: float32, by the type of the result, or else something like it."""
    narrow = next((a[i].dtype for a in of.got if a[i].dtype.itemsize < 8), None)
    said = f"{name} is right to a few digits, it differs by a relative {of.worst[i]:.1g}:"
    if narrow is not None:
        return f"{said} it is computed in {narrow}; work in float64."
    return f"{said} an epsilon, a rounded constant, or float32 on the way?"


def _elsewhere(of: Comparison, i: int, name: str) -> str:
    """How far off, where, and in which cases."""
    wrong = [case for case in range(len(of.tried)) if not of.off[case][i] <= of.rtol]
    pairs = of.pairs(i)
    wrong.sort(key=lambda case: -of.off[case][i])
    where = place([pairs[case] for case in wrong], [of.tried[case] for case in wrong], of.parameters, of.rtol)
    a, b = pairs[wrong[0]]
    said = (
        f"{name} has the right shape, but differs from the right values by up to {np.abs(a - b).max():.3g}"
        if b.ndim
        else f"{name} differs from the right value by {float(np.abs(a - b)):.3g}"
    )
    said += f", {where}." if where else "."
    if len(wrong) < len(of.tried):
        fine = next(k for k in range(len(of.tried)) if k not in wrong)
        said += f" It is right for {described(of.tried[fine])}."
    return said
