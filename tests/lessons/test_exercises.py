"""Every exercise accepts right answers and rejects wrong ones with words that help; the answers stand in `answers/`."""

import contextlib
import importlib
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest

from minivit import ops
from minivit.gradcheck import check_vjp
from minivit.lessons import check, exercises
from minivit.lessons.checking import exercises_of
from minivit.lessons.judges import function_like

MODULES = sorted(module.name for module in pkgutil.iter_modules(exercises.__path__))
NOTEBOOKS = Path(__file__).parents[2] / "notebooks/source"


def answers(module: str):
    try:
        return importlib.import_module(f"lessons.answers.{module}")
    except ModuleNotFoundError as error:
        raise AssertionError(
            f"write tests/lessons/answers/{module}.py, with RIGHT and WRONG as in the others"
        ) from error


def numbers(module: str) -> set[str]:
    return set(exercises_of(module[1:].partition("_")[0]))


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
    asked = re.findall(r'^check\("([\w.]+)", ', source, flags=re.MULTILINE)
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


JUDGES = {n: exercise.judge for m in MODULES for n, exercise in exercises_of(m[1:].partition("_")[0]).items()}
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


def in_float32(answer):
    """The same answer, by somebody who works in float32 throughout."""

    def narrow(part):
        if isinstance(part, list | tuple):
            return tuple(map(narrow, part))
        return part.astype(np.float32) if isinstance(part, np.ndarray) and part.dtype == float else part

    def answer_in_float32(*args):
        return narrow(answer(*map(narrow, args)))

    return answer_in_float32


BY_HAND = [(n, i, a) for n, i, a in RIGHT if int(re.match(r"\d+", n)[0]) <= 10 and callable(a)]
EXACT_OR_OTHERWISE = {"0.1", "0.2", "0.4", "1.1", "1.4", "2.4", "3.2", "8.2", "8.3"}  # whole numbers, ops, tests
DIFFERENCES = {("1.3", 1)}  # far off in float32
ON_ARRAYS = [(n, i, a) for n, i, a in BY_HAND if n not in EXACT_OR_OTHERWISE and (n, i) not in DIFFERENCES]


@pytest.mark.parametrize(("number", "answer"), [pytest.param(n, a, id=f"{n}-{i}") for n, i, a in ON_ARRAYS])
def test_float32_is_not_enough_for_any_exercise_and_is_told_by_its_name(number, answer):
    with np.errstate(all="ignore"):
        verdict = check(number, in_float32(answer))
    assert verdict.right is False
    assert "float32" in verdict.text, verdict


def beside_the_engine(answer):
    """Calls the library as well; what it returns may be right."""

    def cheating(*args):
        with contextlib.suppress(Exception):
            check_vjp(ops.tanh, np.ones(2))
        return answer(*args)

    return cheating


@pytest.mark.parametrize(
    ("number", "answer"), [pytest.param(n, a, id=f"{n}-{i}") for n, i, a in BY_HAND if n not in ("8.3",)]
)
def test_no_exercise_by_hand_lets_the_library_answer(number, answer):
    assert "The library did this (`check_vjp` was called)" in check(number, beside_the_engine(answer)).text
