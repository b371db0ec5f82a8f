"""Judges that tell which terms of a formula are wrong, in which cases, or what about one of them."""

import numpy as np
import pytest

from minivit.lessons.diagnosis import diagnosed

TERMS = {"D^2": lambda D, F: D * D, "D F": lambda D, F: D * F, "F": lambda D, F: F, "no letter": lambda D, F: 1}
NUMBERS = diagnosed(
    lambda D, F: 3 * D * D + D * F + F,
    lambda rng: [(2, 3), (5, 7), (4, 1), (9, 2), (1, 8)],
    {"D^2 has the factor 3.": lambda D, F: D * D + D * F + F},
    terms=TERMS,
    where={"D is above 4": lambda D, F: D > 4, "D is above 1": lambda D, F: D > 1},
    advice="Draw a picture.",
)


def doubled_if_large(D, F):
    return (3 * D * D + D * F + F) * (1 + (D > 4))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda D, F: D * D + D * F + F, "D^2 has the factor 3."),
        (lambda D, F: 3 * D * D + 2 * D * F + F, "The terms with D^2, F are right; those with D F are not."),
        (lambda D, F: 3 * D * D + D * F + F + 5, "those with no letter are not."),
        (doubled_if_large, "Of the cases tried, it is wrong only where D is above 4."),
        (lambda D, F: D**F, "Draw a picture."),
    ],
)
def test_a_wrong_number_is_told_what_is_wrong_in_it(answer, said):
    assert said in NUMBERS(answer)


def test_a_right_number_passes():
    assert NUMBERS(lambda D, F: D * (3 * D + F) + F) is None


def test_a_known_mistake_is_told_nothing_else():
    assert NUMBERS(lambda D, F: D * D + D * F + F) == "D^2 has the factor 3."


def test_no_term_is_called_right_when_the_answer_is_no_sum_of_them():
    assert "terms" not in NUMBERS(lambda D, F: 3 * D * D + D * F + F**3 / D)


def test_an_answer_that_raises_is_told_so_and_no_more():
    assert NUMBERS(lambda D, F: 1 // (D - 2)).startswith("It raised ZeroDivisionError")


def scaled(x, factor):
    return x * factor


def scaled_as_elsewhere(x, factor):
    return x * (factor + 1e-6)


ARRAYS = diagnosed(
    scaled,
    lambda rng: [(rng.standard_normal(3), 2.0), (rng.standard_normal(4), 5.0)],
    also=scaled_as_elsewhere,
    explained=lambda args, results: f"For the factor {args[1]:g} it is {results[0].sum():.3g} in all.",
    allowed=(),
)


def test_another_convention_is_right_too():
    assert ARRAYS(scaled_as_elsewhere) is None
    assert ARRAYS(lambda x, factor: x * (factor + 3e-6)) is not None


def test_a_wrong_case_is_explained():
    assert ARRAYS(lambda x, factor: np.where(np.arange(len(x)) == 3, 1.0, factor * x)).startswith("For the factor 5")


def test_the_library_is_refused_under_the_other_convention_as_well():
    from minivit import ops

    said = ARRAYS(lambda x, factor: ops.linear(x[None], np.eye(len(x)) * (factor + 1e-6), np.zeros(len(x)))[0][0])
    assert "The library did this" in said
