"""How a wrong array relates to the right one: a factor, an offset, an order.

`pairs` are one result of an answer and the right one, for each case. A statement is made only if it holds in every
case, to a millionth of the largest entry: nothing is guessed.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

Pairs = Sequence[tuple[np.ndarray, np.ndarray]]
Named = tuple[str, list[Any]]  # the name of a quantity, and its value in each case
LIKE = 1e-6
_POWERS = {
    -1.0: "divided by {}",
    1.0: "multiplied by {}",
    -0.5: "divided by the square root of {}",
    0.5: "multiplied by the square root of {}",
    -2.0: "divided by the square of {}",
    2.0: "multiplied by the square of {}",
}


def alike(a: np.ndarray, b: np.ndarray, tolerance: float = LIKE) -> bool:
    """Same shape, and no difference above the tolerance times the largest entry of b; NaN equals NaN."""
    if a.shape != b.shape:
        return False
    finite = np.isfinite(a) & np.isfinite(b)
    size = float(np.abs(b[finite]).max(initial=0))
    near = bool(np.all(np.abs(a[finite] - b[finite]) <= (tolerance * size or 1e-12)))
    return near and np.array_equal(a[~finite], b[~finite], equal_nan=True)


def all_alike(pairs: Pairs, change: Callable = lambda a: a, to: Callable = lambda b: b) -> bool:
    """Whether change(a) is to(b) in all cases."""
    return all(alike(change(a), to(b)) for a, b in pairs)


def relation(pairs: Pairs, tried: Sequence[tuple], parameters: Sequence[str]) -> str | None:
    """How the wrong result relates to the right one, as the end of a sentence that begins with "It"."""
    finders = [_factor, _sizes, _plain, _arguments, _offsets, _orders, _signs, _zeros, _rows]
    if len({b.ndim for _, b in pairs}) > 1:
        finders = [_factor, _sizes, _signs, _zeros]
    with np.errstate(all="ignore"):
        return next((said for find in finders if (said := find(pairs, tried, parameters))), None)


def reshaped(pairs: Pairs) -> str | None:
    """Why the result has another shape, if its numbers show it, as the end of a sentence that begins with "It"."""
    if len({(a.ndim, b.ndim) for a, b in pairs}) > 1:
        return None
    if all_alike(pairs, np.ravel, np.ravel):
        return "has the right numbers in the right order: `reshape` it"
    for axes in itertools.permutations(range(pairs[0][0].ndim)):
        if pairs[0][0].ndim == pairs[0][1].ndim and all_alike(pairs, lambda a, axes=axes: a.transpose(axes)):
            return "is the right one transposed" if len(axes) == 2 else f"is right after `transpose{axes}`"
    for more, fewer, said in ((0, 1, "is not summed over {} yet"), (1, 0, "is summed over {}, and should not be")):
        ndim = pairs[0][more].ndim
        for axes in (c for n in range(1, ndim + 1) for c in itertools.combinations(range(ndim), n)):
            if all(alike(np.sum(pair[more], axis=axes).ravel(), pair[fewer].ravel()) for pair in pairs):
                return said.format(_axes(axes))
    return None


def _factors(pairs: Pairs) -> list[float] | None:
    """The factor of each case with a non-zero right array; None if some case has no factor."""
    factors = []
    for a, b in pairs:
        size = float((b * b).sum())
        if a.shape != b.shape or not np.isfinite(a).all():
            return None
        if size:
            factor = float((a * b).sum()) / size
            if not factor or not alike(a, factor * b):
                return None
            factors.append(factor)
        elif a.any():
            return None
    return factors if factors and sum(b.size for _, b in pairs) > 1 else None


def _equal(numbers: Sequence[float]) -> bool:
    return all(abs(x - numbers[0]) <= LIKE * abs(numbers[0]) for x in numbers)


def _factor(pairs: Pairs, tried: Sequence[tuple], parameters: Sequence[str]) -> str | None:
    factors = _factors(pairs)
    if not factors or len(factors) < min(2, len(pairs)) or not _equal(factors) or abs(factors[0] - 1) < LIKE:
        return None
    return "is right but for its sign" if abs(factors[0] + 1) < LIKE else f"is {factors[0]:.6g} times the right one"


def _sizes(pairs: Pairs, tried: Sequence[tuple], parameters: Sequence[str]) -> str | None:
    """A factor that differs between cases and follows a length or a number among the arguments."""
    factors = _factors(pairs)
    if not factors or len(factors) < len(pairs):
        return None
    for name, values in quantities(tried, parameters):
        for power, words in _POWERS.items():
            ratios = [factor / value**power for factor, value in zip(factors, values, strict=True)]
            if not _equal(ratios) or not any(abs(ratios[0] - c) < LIKE * abs(c) for c in (1, -1, 2, -2, 0.5, -0.5)):
                continue
            scale = "" if abs(ratios[0] - 1) < LIKE else f"{ratios[0]:.3g} times "
            said = f"is {scale}the right one {words.format(name)}"
            if name.startswith("the length") and " over " not in name and abs(power) == 1:
                said += ": a mean instead of a sum?" if power < 0 else ": a sum instead of a mean?"
            return said
    if all(b.size > 1 for _, b in pairs) and any(abs(factor - 1) > LIKE for factor in factors):
        return f"is right but for a factor of its own in each case: {', '.join(f'{f:.6g}' for f in factors)}"
    return None


def quantities(tried: Sequence[tuple], parameters: Sequence[str]) -> Iterator[Named]:
    """Lengths and numbers among the arguments, and products of two of them, that differ from case to case."""
    single: list[Named] = []
    for i, name in enumerate(parameters):
        given: list[Any] = [args[i] if i < len(args) else None for args in tried]
        if all(isinstance(x, np.ndarray) for x in given):
            for axis in range(min(x.ndim for x in given)):
                single.append((f"the length of axis {axis} of {name}", [x.shape[axis] for x in given]))
        elif all(isinstance(x, list | tuple) for x in given):
            single.append((f"the length of {name}", [len(x) for x in given]))
        elif all(isinstance(x, int | float) and x > 0 for x in given):
            single.append((name, given))
    products = [
        (f"{one} times {two}", [x * y for x, y in zip(a, b, strict=True)])
        for (one, a), (two, b) in itertools.combinations(single, 2)
    ]
    quotients = [
        (f"{one} over {two}", [x / y for x, y in zip(a, b, strict=True)])
        for (one, a), (two, b) in itertools.combinations(single, 2)
        if min(b) > 0
    ]
    seen = set()
    for name, values in (*single, *products, *quotients):
        if min(values, default=0) > 0 and not _equal(values) and tuple(values) not in seen:
            seen.add(tuple(values))
            yield name, values


def _like(x: Any, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """An argument beside a result of this shape: entry by entry, along the last axes, or row by row."""
    if isinstance(x, np.ndarray) and x.dtype.kind == "f" and x.ndim and len(shape) >= x.ndim:
        if shape[len(shape) - x.ndim :] == x.shape:
            yield np.broadcast_to(x, shape)
        elif shape[: x.ndim] == x.shape:
            yield np.broadcast_to(x.reshape(*x.shape, *[1] * (len(shape) - x.ndim)), shape)


def _beside(pairs: Pairs, tried: Sequence[tuple], parameters: Sequence[str]) -> Iterator[Named]:
    for i, name in enumerate(parameters):
        given = [
            list(_like(args[i], b.shape)) if i < len(args) else [] for args, (_, b) in zip(tried, pairs, strict=True)
        ]
        if all(given):
            yield name, [found[0] for found in given]
    ones = [np.ones(b.shape) for _, b in pairs]
    if pairs[0][1].ndim:
        yield "1", ones


def _arguments(pairs: Pairs, tried: Sequence[tuple], parameters: Sequence[str]) -> str | None:
    """An argument too many or too few as a factor, entry by entry; or the argument itself in place of a result."""
    for name, values in _beside(pairs, tried, parameters):
        if name == "1":
            continue
        for sign, itself in ((1, f"is {name} itself"), (-1, f"is {name} with its sign changed")):
            if all(alike(a, sign * x) for (a, _), x in zip(pairs, values, strict=True)):
                return itself
        for power, words in _POWERS.items():
            if power in (0.5, -0.5) and any((x < 0).any() for x in values):
                continue
            for sign in (1, -1):
                if all(alike(a, sign * b * x**power) for (a, b), x in zip(pairs, values, strict=True)):
                    return f"is {'minus ' if sign < 0 else ''}the right one {words.format(name)}, entry by entry"
    return None


def _offsets(pairs: Pairs, tried: Sequence[tuple], parameters: Sequence[str]) -> str | None:
    """What was added or left out: the same number everywhere, or a multiple of an argument."""
    off = [a - b for a, b in pairs]
    if not all(np.isfinite(d).all() for d in off):
        return None
    if not pairs[0][1].ndim:
        return _missing_term([float(d) for d in off], tried, parameters)
    for name, values in _beside(pairs, tried, parameters):
        factors = [float((d * x).sum() / max((x * x).sum(), 1e-300)) for d, x in zip(off, values, strict=True)]
        sizes = [max(np.abs(b).max(initial=0), 1e-300) for _, b in pairs]
        exact = all(
            np.abs(d - f * x).max(initial=0) <= LIKE * max(size, abs(f) * np.abs(x).max(initial=0))
            for d, f, x, size in zip(off, factors, values, sizes, strict=True)
        )
        if not exact or not all(abs(f) > 1e-4 for f in factors):
            continue
        same = _equal(factors)
        if name == "1":
            how = f"by {abs(factors[0]):.6g}" if same else "by one number in each case"
            return f"is off by the same number everywhere, {how}"
        if same and abs(abs(factors[0]) - 1) < LIKE:
            return f"is the right one {'plus' if factors[0] > 0 else 'minus'} {name}"
        return f"is the right one plus a multiple of {name}" + (f", {factors[0]:.6g} times" if same else "")
    return None


def _missing_term(off: list[float], tried: Sequence[tuple], parameters: Sequence[str]) -> str | None:
    """For numbers: the small multiple of a number or length among the arguments by which they are too large or
    small."""
    if len(off) > 1 and off[0] and _equal(off):
        return f"is too {'large' if off[0] > 0 else 'small'} by {abs(off[0]):.6g}"
    for name, values in quantities(tried, parameters):
        for power, words in ((1, "{}"), (2, "the square of {}")):
            ratios = [d / value**power for d, value in zip(off, values, strict=True)]
            if ratios[0] and _equal(ratios) and min(abs(abs(ratios[0]) - n) for n in (0.5, 1, 2, 3, 4)) < LIKE:
                scale = "" if abs(abs(ratios[0]) - 1) < LIKE else f"{abs(ratios[0]):g} times "
                return f"is too {'large' if ratios[0] > 0 else 'small'} by {scale}{words.format(name)}"
    return None


def _orders(pairs: Pairs, tried: Sequence[tuple], parameters: Sequence[str]) -> str | None:
    """The right numbers in other places."""
    ndim = pairs[0][1].ndim
    nouns = {1: ["entries"], 2: ["rows", "columns"]}.get(ndim, [f"parts along axis {i}" for i in range(ndim)])
    for axis in range(ndim):
        if all_alike(pairs, lambda a, axis=axis: np.flip(a, axis)):
            return f"has its {nouns[axis]} in reversed order"
        for shift in (1, -1):
            if all_alike(pairs, lambda a, axis=axis, shift=shift: np.roll(a, shift, axis)):
                return f"has its {nouns[axis]} shifted by one place"
    if ndim == 2 and all(a.shape == b.T.shape for a, b in pairs) and all_alike(pairs, np.transpose):
        return "is the right one transposed"
    if (
        ndim
        and all(len(np.unique(b)) > 1 for _, b in pairs)
        and all_alike(pairs, *[lambda x: np.sort(x, axis=None)] * 2)
    ):
        return "has the right numbers, but not in their places"
    return None


def _signs(pairs: Pairs, tried: Sequence[tuple], parameters: Sequence[str]) -> str | None:
    return "has entries of the right size with the wrong sign" if all_alike(pairs, np.abs, np.abs) else None


def _plain(pairs: Pairs, tried: Sequence[tuple], parameters: Sequence[str]) -> str | None:
    """An array with a single value, if the right one has several."""
    if any(b.size < 2 or np.ptp(b) <= LIKE * np.abs(b).max() for _, b in pairs):
        return "is 0 in every case" if all(b.any() and not a.any() for a, b in pairs) else None
    if all(np.ptp(a) <= 1e-12 * np.abs(a).max() for a, _ in pairs):
        return "is 0 everywhere" if all(not a.any() for a, _ in pairs) else "has the same number everywhere"
    return None


def _zeros(pairs: Pairs, tried: Sequence[tuple], parameters: Sequence[str]) -> str | None:
    """Entries that were never written."""
    left = [(a == 0) & (np.abs(b) > LIKE * np.abs(b).max(initial=0)) for a, b in pairs]
    if not any(bad.any() for bad in left) or not all_alike(
        [(np.where(bad, b, a), b) for bad, (a, b) in zip(left, pairs, strict=True)]
    ):
        return None
    return f"is right but for entries that are 0 and should not be, {sum(int(bad.sum()) for bad in left)} in all cases"


def _rows(pairs: Pairs, tried: Sequence[tuple], parameters: Sequence[str]) -> str | None:
    """A factor or an added number of its own for each row, column or other slice."""
    ndim = pairs[0][1].ndim
    if not all(np.isfinite(a).all() for a, _ in pairs):
        return None
    for axes in (c for n in range(ndim - 1, 0, -1) for c in itertools.combinations(range(ndim), n)):
        if any(math.prod(b.shape[i] for i in axes) < 2 for _, b in pairs):
            continue
        own = f"of its own in each {'row' if axes == (1,) else 'column'}"
        where = own if ndim == 2 else f"that is the same along {_axes(axes)}"
        if all(b.all() and np.all(np.ptp(a / b, axis=axes) <= LIKE * np.abs(a / b).max(axis=axes)) for a, b in pairs):
            return f"is right but for a factor {where}"
        if all(np.all(np.ptp(a - b, axis=axes) <= LIKE * np.abs(b).max()) for a, b in pairs):
            return f"is right but for an added number {where}"
    return None


def _axes(axes: Sequence[int]) -> str:
    return f"axis {axes[0]}" if len(axes) == 1 else f"the axes {', '.join(map(str, axes))}"
