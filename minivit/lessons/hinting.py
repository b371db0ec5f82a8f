"""`hint`: up to three hints for an exercise, one per call, from a direction to nearly the formula."""

import functools
import importlib
import pkgutil
from collections import Counter

from minivit.lessons import hints
from minivit.lessons.checking import exercise_number

_given: Counter[str] = Counter()  # number of an exercise -> hints that this kernel has shown


class Hint(str):
    """A hint that a notebook shows as text with `code` in it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)

    def _repr_markdown_(self) -> str:
        return f"💡 {self}"


def hint(number: str) -> Hint:
    """The next hint for an exercise, "7.3": each call gives the next one; after the last they start again.

    Raises ValueError for an unknown number.
    """
    notebook, number = exercise_number(number)
    known = hints_of(notebook)
    if number not in known:
        raise ValueError(f'there is no hint for an exercise "{number}": write notebook and exercise, such as "7.2"')
    place = _given[number] % len(known[number])
    _given[number] += 1
    return Hint(f"Hint {place + 1} of {len(known[number])} for {number}: {known[number][place]}")


@functools.cache
def hints_of(notebook: str) -> dict[str, tuple[str, ...]]:
    """The hints for the exercises of a notebook, "07" or "06b", by their numbers; empty if it has none."""
    found: dict[str, tuple[str, ...]] = {}
    for module in pkgutil.iter_modules(hints.__path__):
        if module.name.startswith(f"n{notebook}_"):
            found |= importlib.import_module(f"{hints.__name__}.{module.name}").HINTS
    return found
