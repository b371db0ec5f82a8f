"""`check`: the verdict on an answer, given the number of its exercise."""

import functools
import importlib
import pkgutil
import re
from typing import Any

from minivit.lessons import exercises
from minivit.lessons.exercise import Exercise, Verdict, judged


def check(number: str, answer: Any) -> Verdict:
    """The verdict on `answer` to an exercise: "7.2" is the second one of notebook 07.

    answer: the answer, or None or ... while there is none yet.
    Raises ValueError for an unknown number.
    """
    notebook, number = exercise_number(number)
    known = exercises_of(notebook)
    if not known:
        raise ValueError(f'there is no exercise "{number}": write notebook and exercise, such as "7.2"')
    if number not in known:
        raise ValueError(f'there is no exercise "{number}"; this notebook has {", ".join(known)}')
    return judged(known[number], answer)


def exercise_number(number: str) -> tuple[str, str]:
    """The notebook and the number of an exercise in the form of file names and exercises.

    "7.2" and "07.2" -> "07", "7.2";  "6b.1" -> "06b", "6b.1". Any other form is returned unchanged.
    """
    found = re.fullmatch(r"0*(\d+)([a-z]?)\.?(.*)", str(number).strip())
    if not found:
        return "", str(number)
    notebook, letter, exercise = found.groups()
    return f"{notebook:0>2}{letter}", f"{notebook}{letter}.{exercise}"


@functools.cache
def exercises_of(notebook: str) -> dict[str, Exercise]:
    """The exercises of a notebook, "07" or "06b", by their numbers; empty if it has none."""
    found: dict[str, Exercise] = {}
    for module in pkgutil.iter_modules(exercises.__path__):
        if module.name.startswith(f"n{notebook}_"):
            source = importlib.import_module(f"{exercises.__name__}.{module.name}")
            found |= {exercise.id: exercise for exercise in source.EXERCISES}
    return found
