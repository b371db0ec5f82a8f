"""The judges: what they accept, what they reject, and what they say."""

import numpy as np
import pytest

from minivit.lessons import Exercise, Verdict, check
from minivit.lessons.exercise import Wrong, judged
from minivit.lessons.judges import call, choice, function_like, number, says
from minivit.tensor import Tensor


def double(x):
    return 2 * x


def in_place(x):
    x *= 2
    return x


CASES = lambda rng: [(rng.standard_normal((3, 4)),), (rng.standard_normal((2, 5)),)]
DOUBLE = Exercise("7.1", function_like(double, CASES, {"That is the square.": lambda x: x**2}), "Twice is twice.")
PAIR = Exercise("7.1", function_like(lambda x: (x, 3 * x), CASES))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda x: x**2, "That is the square."),
        (lambda x: -2 * x, "right but for its sign"),
        (lambda x: x / 2, "0.25 times the right one"),
        (
            lambda x: 2 * x.T,
            "has shape (4, 3), expected (3, 4): it is the right one transposed. The arguments were an array (3, 4)",
        ),
        (lambda x: x[:2] * 2, "has shape (2, 4), expected (3, 4)"),
        (lambda x: 0 * x, "It is 0 everywhere."),
        (lambda x: np.exp(x), "differs from the right values by up to"),
        (lambda x: np.where(x > 0, 2 * x, np.nan), "not finite everywhere"),
        (lambda x: (2 * x, x), "should return one array, and returns a tuple of 2"),
        (lambda x: 1 / 0, "raised ZeroDivisionError: division by zero. The arguments were an array (3, 4)"),
        (lambda: 1, "raised TypeError"),
        (lambda x: {"y": x}, "should return numbers or arrays, this is a dict"),
        (in_place, "changes one of its arguments"),
        (lambda x: 2 * x if len(x) == 3 else x, "The arguments were an array (2, 5)"),
        (3, "should be a function, this is an int"),
    ],
)
def test_a_wrong_function_is_told_why(answer, said):
    verdict = judged(DOUBLE, answer)
    assert verdict.right is False
    assert said in verdict.text


@pytest.mark.parametrize("answer", [double, lambda x: x + x, lambda x: 2 * x * (1 + 1e-11)])
def test_a_right_function(answer):
    assert judged(DOUBLE, answer) == Verdict("7.1", True, "Twice is twice.")


def test_faults_of_several_kinds_do_not_confuse_the_judge():
    """Wrong values of the right shape in one case, another shape, count or NaN in a later one."""
    assert "has shape (3, 4), expected (2, 5)" in judged(DOUBLE, lambda x: np.zeros((3, 4))).text
    assert "a tuple of 2 arrays" in judged(DOUBLE, lambda x: x if len(x) == 3 else (x, x)).text
    assert "not finite" in judged(DOUBLE, lambda x: x if len(x) == 3 else x * np.nan).text


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda x: 2 * x.astype(np.float32), "computed in float32; work in float64"),
        (lambda x: (2 * x.astype(np.float32)).astype(float), "float32 on the way?"),
        (lambda x: 2 * x * (1 + 3e-7), "differs by a relative 3e-07: an epsilon, a rounded constant"),
        (lambda x: 2 * x * (1 + 1e-8), "differs by a relative 1e-08"),
    ],
)
def test_answers_that_are_nearly_right_are_told_how_near(answer, said):
    verdict = judged(DOUBLE, answer)
    assert verdict.right is False
    assert said in verdict.text


def test_a_changed_list_is_noticed():
    exercise = Exercise("7.1", function_like(len, lambda rng: [([1, 2, 3],)]))
    assert judged(exercise, lambda x: sum(1 for _ in x)).right

    def empties(x):
        return sum(bool(x.pop()) for _ in range(3))

    assert "changes one of its arguments" in judged(exercise, empties).text


def test_functions_among_the_arguments_are_named():
    exercise = Exercise("7.1", function_like(lambda x, f: f(x), lambda rng: [(1.0, double)]))
    assert (
        judged(exercise, lambda x, f: 5.0).text
        == "It differs from the right value by 3. The arguments were 1.0, double."
    )


def test_what_an_answer_says_is_no_markup():
    text = judged(DOUBLE, lambda: 1)._repr_markdown_()
    assert r"\<lambda\>() takes 0" in text
    assert r"\*" in judged(Exercise("7.1", choice("b", {"a": "x * y"})), "a")._repr_markdown_()
    assert "`x -= ...`" in judged(DOUBLE, in_place)._repr_markdown_()


def test_rounding_is_allowed_a_wrong_sixth_digit_is_not():
    assert judged(DOUBLE, lambda x: 2 * x * (1 + 1e-6)).right is False


def test_tensors_count_as_their_data():
    assert judged(DOUBLE, lambda x: Tensor(x) * 2).right


def test_results_of_a_tuple_are_named():
    assert judged(PAIR, lambda x: (x, 3 * x)).right
    assert judged(PAIR, lambda x: [x, 3 * x]).right  # a list will do
    assert "Result 2 of 2 is 2 times the right one" in judged(PAIR, lambda x: (x, 6 * x)).text
    assert "Result 2 of 2 has the right shape" in judged(PAIR, lambda x: (x, x**2)).text
    assert "a tuple of 2 arrays, and returns one array" in judged(PAIR, lambda x: x).text


@pytest.mark.parametrize("answer", [None, ..., lambda x: None, lambda x: ...])
def test_no_answer_yet(answer):
    assert judged(DOUBLE, answer).right is None


def test_not_implemented_is_no_answer_yet():
    def answer(x):
        raise NotImplementedError

    assert judged(DOUBLE, answer).right is None


def test_number():
    exercise = Exercise("7.1", number(0.25, {0.5: "Halve it again."}))
    assert judged(exercise, 0.25).right
    assert judged(exercise, np.float64(0.25 * (1 + 1e-8))).right
    assert judged(exercise, 0.5).text == "Halve it again."
    assert judged(exercise, 0.2501).text == "It is not 0.2501."
    assert judged(exercise, [1, 2]).text == "The answer should be one number, this is a list of 2."
    assert judged(exercise, float("nan")).right is False
    assert judged(exercise, "0.25").text == "The answer should be one number, this is a str."
    assert judged(exercise, 10**400).right is False
    assert judged(exercise, np.array([0.25])).right
    assert judged(exercise, Tensor(np.array(0.25))).right


def test_rounded_numbers_are_recognised():
    exercise = Exercise("7.1", number(2 / 3, {4 / 3: "Halve it.", 40: "Too many."}))
    assert judged(exercise, 0.6667).text == "Nearly. Give more digits: the relative accuracy must be 1e-06."
    assert judged(exercise, 1.333).text == "Halve it."
    assert judged(exercise, 0.6665).text == "It is not 0.6665."  # as close, but no rounding of it
    assert judged(exercise, 0.67).text == "It is not 0.67."  # too coarse to say what was meant
    assert judged(exercise, 40.01).text == "It is not 40.01."


def test_choice():
    exercise = Exercise("7.1", choice("b", {"a": "Not that one.", "c": "Nor that."}))
    assert judged(exercise, "b").right
    assert judged(exercise, "c").text == "Nor that."
    assert judged(exercise, "d").text == "Choose one of 'a', 'b', 'c'; this is 'd'."
    assert judged(exercise, ["b"]).right is False


def test_a_verdict_says_the_same_in_text_and_in_a_notebook():
    verdict = judged(DOUBLE, double)
    assert repr(verdict) == "Exercise 7.1: right. Twice is twice."
    assert verdict._repr_markdown_() == "✅ **Exercise 7.1: right.** Twice is twice."
    assert repr(judged(DOUBLE, None)) == "Exercise 7.1: not answered yet."


def test_an_unknown_number_is_refused_with_those_that_exist():
    with pytest.raises(ValueError, match=r'no exercise "7.9"; this notebook has 7.1, 7.2'):
        check("7.9", 1)
    for nonsense in ("99.1", "abc", ""):
        with pytest.raises(ValueError, match="write notebook and exercise"):
            check(nonsense, 1)


@pytest.mark.parametrize("spelling", ["7.1", "07.1", " 7.1 ", 7.1])
def test_a_number_may_be_written_in_several_ways(spelling):
    assert check(spelling, None).id == "7.1"


def test_says_takes_true_or_false_or_one_or_zero():
    assert says(lambda x: x > 0, 1) is True
    assert says(lambda x: np.bool_(x > 0), -1) is False
    assert says(lambda x: 1, 1) is True
    assert says(lambda x: np.array([0]), 1) is False
    for other in (2, 1.0, "yes", [True, False]):
        with pytest.raises(Wrong, match="should return True or False, this is a"):
            says(lambda x, other=other: other, 1)


def test_what_an_argument_finds_wrong_is_passed_on_in_its_words():
    def limited():
        raise Wrong("That is too often.")

    with pytest.raises(Wrong, match=r"^That is too often\.$"):
        call(lambda f: f(), limited)


def test_a_dict_among_the_arguments_is_counted_not_written_out():
    with pytest.raises(Wrong, match=r"The arguments were a dict of 2, 3\.$"):
        call(lambda w, x: 1 / 0, {"a": np.zeros(9), "b": 0}, 3)
