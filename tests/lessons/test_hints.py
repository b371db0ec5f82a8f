"""Each exercise has two or three hints, short ones, and no hint belongs to an exercise that is not there."""

import pkgutil

import pytest

from minivit.lessons import exercises
from minivit.lessons.checking import exercises_of
from minivit.lessons.hinting import hints_of

NOTEBOOKS = sorted(module.name[1:].partition("_")[0] for module in pkgutil.iter_modules(exercises.__path__))


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_each_exercise_has_hints_that_differ(notebook):
    given = hints_of(notebook)
    assert set(given) == set(exercises_of(notebook))
    for number, hints in given.items():
        assert 2 <= len(hints) <= 3, number
        assert len({text.strip() for text in hints}) == len(hints), number
        assert all(15 <= len(text) <= 400 and text.strip()[-1] in ".?:`)$" for text in hints), number
