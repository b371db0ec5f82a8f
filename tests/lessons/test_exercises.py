"""Every exercise accepts right answers and rejects wrong ones with words that help; the answers stand in `answers/`."""

import importlib
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest

from minivit.lessons import check, exercises
from minivit.lessons.checking import exercises_of
from minivit.lessons.judges import function_like

MODULES = sorted(module.name for module in pkgutil.iter_modules(exercises.__path__))
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def answers(module: str):
    try:
        return importlib.import_module(f"lessons.answers.{module}")
    except ModuleNotFoundError as error:
        raise AssertionError(
            f"write tests/lessons/answers/{module}.py, with RIGHT and WRONG as in the others"
        ) from error


def numbers(module: str) -> set[str]:
    return set(exercises_of(module[1:3]))


RIGHT = [(n, i, a) for m in MODULES for n, given in answers(m).RIGHT.items() for i, a in enumerate(given)]
WRONG = [(n, i, *pair) for m in MODULES for n, given in answers(m).WRONG.items() for i, pair in enumerate(given)]


@pytest.mark.parametrize(("number", "answer"), [pytest.param(n, a, id=f"{n}-{i}") for n, i, a in RIGHT])
def test_a_right_answer_passes(number, answer):
    verdict = check(number, answer)
    assert verdict.right, verdict


@pytest.mark.parametrize(("number", "answer", "said"), [pytest.param(n, a, s, id=f"{n}-{i}") for n, i, a, s in WRONG])
def test_a_wrong_answer_is_rejected(number, answer, said):
    verdict = check(number, answer)
    assert verdict.right is False, verdict
    assert said
    assert said in verdict.text


@pytest.mark.parametrize("module", MODULES)
def test_every_exercise_has_a_right_answer_and_two_wrong_ones(module):
    given = answers(module)
    assert set(given.RIGHT) == set(given.WRONG) == numbers(module)
    assert all(len(right) >= 1 for right in given.RIGHT.values())
    assert all(len(wrong) >= 2 for wrong in given.WRONG.values())


@pytest.mark.parametrize("module", MODULES)
def test_the_notebook_asks_for_every_exercise(module):
    source = (NOTEBOOKS / f"{module[1:]}.py").read_text(encoding="utf-8")
    asked = re.findall(r'^check\("([\d.]+)", ', source, flags=re.MULTILINE)
    assert len(asked) == len(set(asked))
    assert set(asked) == numbers(module)
    assert 3 <= len(asked) <= 5


def test_every_notebook_has_exercises():
    notebooks = {path.stem for path in NOTEBOOKS.glob("[0-9]*.py")}
    assert notebooks == {module[1:] for module in MODULES}


def not_implemented(*args):
    raise NotImplementedError


FUNCTIONS = [n for m in MODULES for n, given in answers(m).RIGHT.items() if callable(given[0])]


@pytest.mark.parametrize("number", FUNCTIONS)
@pytest.mark.parametrize("nothing", [lambda *args: None, lambda *args: ..., not_implemented])
def test_a_function_that_returns_nothing_is_no_wrong_answer(number, nothing):
    """As the cells of a fresh notebook."""
    assert check(number, nothing).right is None


JUDGES = {n: exercise.judge for m in MODULES for n, exercise in exercises_of(m[1:3]).items()}
HINTS = [
    (n, hint, wrong) for n, j in JUDGES.items() if isinstance(j, function_like) for hint, wrong in j.mistakes.items()
]


@pytest.mark.parametrize(
    ("number", "hint", "mistake"), [pytest.param(*given, id=f"{given[0]}-{i}") for i, given in enumerate(HINTS)]
)
def test_every_known_mistake_gets_its_own_explanation(number, hint, mistake):
    """None is right by accident, hidden behind another, or the cause of an error."""
    with np.errstate(all="ignore"):
        assert check(number, mistake).text == hint


@pytest.mark.parametrize("number", [exercise for module in MODULES for exercise in sorted(numbers(module))])
@pytest.mark.parametrize("nonsense", ["a text", 12345.678, lambda *args: 1 / 0, lambda *args: "a text"])
def test_nonsense_is_rejected_in_words(number, nonsense):
    verdict = check(number, nonsense)
    assert verdict.right is False
    assert verdict.text
