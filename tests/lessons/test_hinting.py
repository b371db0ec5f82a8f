"""Hints come one by one, for every form of an exercise's number."""

import pytest

from minivit.lessons import hint, hinting
from minivit.lessons.checking import exercise_number


@pytest.fixture
def three_hints(monkeypatch):
    monkeypatch.setattr(hinting, "hints_of", {"07": {"7.3": ("one", "two", "three")}}.get)
    monkeypatch.setattr(hinting, "_given", type(hinting._given)())


def test_each_call_gives_the_next_hint_and_they_begin_again(three_hints):
    given = [hint("7.3") for _ in range(4)]
    assert [text.rpartition(" ")[2] for text in given] == ["one", "two", "three", "one"]
    assert repr(given[1]) == "Hint 2 of 3 for 7.3: two"
    assert given[1]._repr_markdown_().endswith("two")


def test_two_spellings_of_a_number_are_one_exercise(three_hints):
    assert [hint(number)[-3:] for number in ("7.3", "07.3", " 7.3 ")] == ["one", "two", "ree"]


@pytest.mark.parametrize("number", ["7.9", "9z.1", "", "seven"])
def test_a_number_without_hints_is_said(number):
    with pytest.raises(ValueError, match=f'there is no hint for an exercise "{number}"'):
        hint(number)


@pytest.mark.parametrize(
    ("written", "notebook", "exercise"),
    [("7.2", "07", "7.2"), ("07.2", "07", "7.2"), ("0.1", "00", "0.1"), ("00.1", "00", "0.1"), ("6b.1", "06b", "6b.1"),
     ("06b.1", "06b", "6b.1"), ("12.4", "12", "12.4"), (7.2, "07", "7.2"), ("x", "", "x")],
)  # fmt: skip
def test_the_number_of_an_exercise(written, notebook, exercise):
    assert exercise_number(written) == (notebook, exercise)
