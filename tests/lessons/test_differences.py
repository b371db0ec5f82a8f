"""What a wrong result is told: which one, in what form, and never anything that is not so."""

from collections import deque
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from minivit.lessons import Exercise
from minivit.lessons.exercise import judged
from minivit.lessons.judges import choice, function_like, number
from minivit.lessons.likeness import relation, reshaped
from minivit.tensor import Tensor


def cases(rng):
    return [(rng.standard_normal((n, d)), rng.standard_normal(d), n + 0.5) for n, d in ((3, 4), (6, 2))]


def right(x, gamma, tau):
    return x * gamma, (x * x).sum(axis=0), x.sum(axis=0) / tau


THREE = Exercise("7.1", function_like(right, cases, results="a b c"))
ONE = Exercise("7.1", function_like(lambda x, gamma, tau: x * gamma / tau, cases))
NUMBER = Exercise("7.1", function_like(lambda x, gamma, tau: x.sum(), cases))
ROW = Exercise("7.1", function_like(lambda x, gamma, tau: gamma + tau, cases))


def test_results_that_are_right_are_named_with_those_that_are_not():
    said = judged(THREE, lambda x, g, t: (x * g, np.exp(x[0]), x.sum(axis=0) / t)).text
    assert said.startswith("b has the right shape, but differs")
    assert "a and c are right." in said
    said = judged(THREE, lambda x, g, t: (x * g, 2 * (x * x).sum(axis=0), np.exp(x[0]))).text
    assert said.startswith("b is 2 times the right one. a is right. c is not right either.")


def test_the_right_arrays_in_another_order():
    said = judged(THREE, lambda *args: right(*args)[::-1]).text
    assert "it returns (c, b, a), expected (a, b, c)" in said
    unnamed = Exercise("7.1", function_like(right, cases))
    assert "returns (result 3, result 2, result 1)" in judged(unnamed, lambda *args: right(*args)[::-1]).text
    said = judged(THREE, lambda *args: (lambda a, b, c: (a, c, c))(*right(*args))).text
    assert said.startswith("b is what c should be. a and c are right.")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda x, g, t: x * g / t * len(x), "multiplied by the length of axis 0 of x: a sum instead of a mean?"),
        (lambda x, g, t: -x * g / t / len(g), "is -1 times the right one divided by the length of axis 1 of x"),
        (lambda x, g, t: x * g, "is the right one multiplied by tau"),
        (
            lambda x, g, t: x * g / t * len(x) / len(g),
            "by the length of axis 0 of x over the length of axis 1",
        ),
        (lambda x, g, t: x * g / t * np.exp(t), "is right but for a factor of its own in each case: 33.1155, 665.142"),
        (lambda x, g, t: x * g / t**0.5, "is the right one multiplied by the square root of tau"),
        (lambda x, g, t: x / t, "is the right one divided by gamma, entry by entry"),
        (lambda x, g, t: x, "is x itself"),
        (lambda x, g, t: x * g / t - x, "is the right one minus x"),
        (lambda x, g, t: x * g / t + 0.5 * g, "is the right one plus a multiple of gamma, 0.5 times"),
        (lambda x, g, t: x * g / t + 3, "is off by the same number everywhere, by 3"),
        (lambda x, g, t: (x * g / t)[::-1], "has its rows in reversed order"),
        (lambda x, g, t: np.roll(x * g / t, 1, axis=1), "has its columns shifted by one place"),
        (lambda x, g, t: np.abs(x * g / t), "has entries of the right size with the wrong sign"),
        (lambda x, g, t: np.ones_like(x), "has the same number everywhere"),
        (lambda x, g, t: x * g / t * np.exp(x[:1]), "is right but for a factor of its own in each column"),
        (lambda x, g, t: x * g / t + x[:, :1] ** 2, "is right but for an added number of its own in each row"),
        (lambda x, g, t: np.where(x > 0, x * g / t, 7), "only where x is negative"),
        (lambda x, g, t: x * g / t + (np.arange(len(x))[:, None] == 0) * np.exp(x), "only in the first row"),
        (lambda x, g, t: x * g / t + np.tri(*x.shape, k=-1) * np.exp(x), "only below the diagonal"),
        (lambda x, g, t: np.where(x == x.max(), 7, x * g / t), "in 1 of 12 entries, the first at"),
        (lambda x, g, t: np.where(x == x.max(), 0, x * g / t), "entries that are 0 and should not be, 2 in all cases"),
        (lambda x, g, t: x * g / t + np.exp(x), "it is too large everywhere"),
        (lambda x, g, t: (x * g / t).T, "expected (3, 4): it is the right one transposed"),
        (lambda x, g, t: (x * g / t).ravel(), "has the right numbers in the right order: `reshape` it"),
        (lambda x, g, t: (x * g / t).sum(axis=1), "it is summed over axis 1, and should not be"),
        (
            lambda x, g, t: np.where(x > x[0, 0], np.nan, x * g),
            "not finite everywhere: there are NaN or infinite values, the",
        ),
        (
            lambda x, g, t: x * g / t if len(x) == 3 else np.exp(x),
            "It is right for an array (3, 4), an array (4,), 3.5.",
        ),
    ],
)
def test_what_can_be_said_for_certain(answer, said):
    verdict = judged(ONE, answer)
    assert verdict.right is False
    assert said in verdict.text


def test_a_missing_sum_is_named_by_its_axis():
    total = Exercise("7.1", function_like(lambda x, gamma, tau: (x * x).sum(axis=0), cases))
    assert "it is not summed over axis 0 yet" in judged(total, lambda x, g, t: x * x).text


def test_numbers_are_told_the_term_that_is_missing():
    count = Exercise("7.1", function_like(lambda D, H: D * D + 3 * D, lambda rng: [(7, 2), (12, 5)]))
    assert judged(count, lambda D, H: D * D).text.startswith("It is too small by 3 times D.")
    assert judged(count, lambda D, H: D * D + 3 * D + H * H).text.startswith("It is too large by the square of H.")
    assert judged(count, lambda D, H: D * D + 3 * D - 1).text.startswith("It is too small by 1.")


def test_the_worst_case_is_reported_not_the_first():
    def far_off_in_the_second(x, g, t):
        return x * g / t * (1 + (1e-7 if len(x) == 3 else 1) * x)

    said = judged(ONE, far_off_in_the_second).text
    assert "up to 1e-07" not in said
    assert said.endswith("The arguments were an array (6, 2), an array (2,), 6.5.")


def test_one_case_that_outweighs_the_others_makes_no_factor():
    grows = Exercise("7.1", function_like(lambda x: x, lambda rng: [(1.0,), (3.0,), (1e20,)]))
    assert "times" not in judged(grows, lambda x: 2.0 if x < 2 else 3 * x if x < 5 else 0.7 * x).text


def test_a_known_mistake_in_one_result_of_several_is_known_where_nothing_more_exact_is():
    hint = "All squares are missing."
    mistakes = {hint: lambda x, g, t: (np.exp(x), x.sum(axis=0), 2 * x.sum(axis=0) / t)}
    exercise = Exercise("7.1", function_like(right, cases, mistakes, results="a b c"))
    assert judged(exercise, lambda *args: mistakes[hint](*args)).text == hint
    said = judged(exercise, lambda x, g, t: (np.exp(x), (x * x).sum(axis=0), x.sum(axis=0) / t)).text
    assert said.startswith(f"{hint} b and c are right.")
    said = judged(exercise, lambda x, g, t: (x * g, (x * x).sum(axis=0), 2 * x.sum(axis=0) / t)).text
    assert said.startswith("c is 2 times the right one. a and b are right.")


def test_a_mistake_is_known_though_an_epsilon_or_float32_is_in_it():
    mistakes = {"No factor.": lambda x, g, t: x, "Epsilon.": lambda x, g, t: x * g / (t + 1e-6)}
    exercise = Exercise("7.1", function_like(lambda x, gamma, tau: x * gamma / tau, cases, mistakes))
    assert judged(exercise, lambda x, g, t: x.astype(np.float32)).text == "No factor."
    assert judged(exercise, lambda x, g, t: x * (1 + 1e-7)).text == "No factor."
    assert judged(exercise, lambda x, g, t: x * g / (t + 1e-6)).text == "Epsilon."
    assert "an epsilon" in judged(exercise, lambda x, g, t: x * g / (t + 3e-6)).text


def named(*parts):
    return dict(zip("abc", parts, strict=True)).values()


SAME = Exercise("7.1", function_like(lambda x, gamma, tau: (x, 2 * x, x * gamma), cases))
NUMBERS = Exercise("7.1", function_like(lambda x, gamma, tau: (len(x), tau, 3), cases))


@pytest.mark.parametrize(
    ("exercise", "answer"),
    [
        (SAME, lambda x, g, t: np.stack([x, 2 * x, x * g])),
        (SAME, lambda x, g, t: [x, Tensor(2 * x), (x * g).tolist()]),
        (SAME, lambda x, g, t: deque([x, 2 * x, x * g])),
        (SAME, lambda x, g, t: named(x, 2 * x, x * g)),
        (SAME, lambda x, g, t: (part for part in (x, 2 * x, x * g))),
        (NUMBERS, lambda x, g, t: np.array([len(x), t, 3])),
        (NUMBERS, lambda x, g, t: ([len(x)], np.array(t), Fraction(3))),
        (NUMBER, lambda x, g, t: [x.sum()]),
        (NUMBER, lambda x, g, t: (x.sum(),)),
        (NUMBER, lambda x, g, t: x.sum(keepdims=True)),
        (NUMBER, lambda x, g, t: Fraction(float(x.sum()))),
        (NUMBER, lambda x, g, t: Decimal(float(x.sum()))),
        (ROW, lambda x, g, t: tuple(g + t)),
        (ROW, lambda x, g, t: list(g + t)),
        (ROW, lambda x, g, t: (part + t for part in g)),
        (ROW, lambda x, g, t: (g + t,)),
    ],
)
def test_other_forms_of_the_right_results_are_right(exercise, answer):
    assert judged(exercise, answer).right, judged(exercise, answer)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda x, g, t: (x, None, x), "does it end in `return` a value? Result 2 of 3 is None."),
        (lambda x, g, t: (x, [None, 1], x), "Result 2 of 3 has None among its numbers."),
        (lambda x, g, t: (x, "2", x), "should return numbers or arrays, this is a str"),
        (lambda x, g, t: (x, 2 * x + 1j, x * g), "should return numbers or arrays, this is an array"),
        (lambda x, g, t: (x, 2 * x), "should return a tuple of 3 arrays, and returns a tuple of 2 arrays"),
        (lambda x, g, t: {x.shape}, "should return a tuple of 3 arrays, and returns one array"),
        (lambda x, g, t: (x, object(), x), "should return numbers or arrays, this is an object"),
    ],
)
def test_what_is_no_result_is_told_in_words(answer, said):
    assert said in judged(SAME, answer).text


@pytest.mark.parametrize("answer", [[25], (25,), np.array([25]), np.array(25), Fraction(25), Decimal(25), Tensor(25.0)])
def test_a_number_may_come_in_several_forms(answer):
    assert judged(Exercise("7.1", number(25)), answer).right


def test_text_is_no_number_and_a_wrong_number_is_shown_as_it_was_given():
    exercise = Exercise("7.1", number(151296))
    assert "should be one number, this is a str" in judged(exercise, "151296").text
    assert judged(exercise, 151296.4).text == "It is not 151296.4."
    assert judged(Exercise("7.1", number(0.999349)), 0.99934).text.startswith("Nearly.")  # cut, not rounded


def test_a_choice_may_be_written_in_capitals():
    exercise = Exercise("7.1", choice("hidden", {"out": "No."}))
    assert judged(exercise, " Hidden ").right
    assert judged(exercise, "OUT").text == "No."
    assert judged(exercise, np.zeros(3)).right is False


def test_of_unrelated_arrays_nothing_is_said():
    rng = np.random.default_rng(3)
    for _ in range(100):
        tried = cases(rng)
        pairs = [(rng.standard_normal(x.shape), rng.standard_normal(x.shape)) for x, _, _ in tried]
        assert relation(pairs, tried, ["x", "gamma", "tau"]) is None
        assert reshaped([(a.T, b) for a, b in pairs]) is None


def test_a_judge_that_fails_says_so_in_words():
    class Hostile:
        def __array__(self, *args, **kwargs):
            raise KeyError("no")

    assert judged(Exercise("7.1", number(1)), Hostile()).right is False
    assert "cannot be judged: KeyError" in judged(ONE, lambda *args: Hostile()).text
