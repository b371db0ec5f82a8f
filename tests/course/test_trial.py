"""Comparisons, and what a check may ask."""

import contextlib

import numpy as np
import pytest

from minivit.course.student.trial import Direct, Engine, NotAnswered, Trial, Wrong, close, plain, same

X = np.array([1.0, -2.0])


@pytest.mark.parametrize(
    ("got", "want"),
    [
        (X * (1 + 5e-10), X), ([1, -2], X), (np.array([1, -2]), X), ((1.0, [X]), [1.0, (X,)]),
        ({"b": 2, "a": 1}, {"a": 1, "b": 2}),
        (np.zeros((0, 3)), np.zeros((0, 3))), (True, True), ("a", "a"), (np.zeros(2), np.zeros(2)),
        (np.array(1.0), 1.0),
    ],
)  # fmt: skip
def test_what_is_close(got, want):
    assert close(got, want) is None


@pytest.mark.parametrize(
    ("got", "want", "words"),
    [
        (X * (1 + 2e-9), X, "is off by up to 2e-09"),
        (X.astype(np.float32) / 3, X / 3, "is it float32"),
        (X[None], X, r"has shape \(1, 2\), it should be \(2,\)"),
        ([np.nan, 1], X, "it holds nan"),
        ([np.inf, 1], X, "it holds inf"),
        (X + 0j, X, "complex128"),
        (np.array([1, None]), X, "holds object"),
        ([1.0, [2.0]], X, "different shapes"),
        (None, X, "it is None"),
        ("x", X, "it is a str"),
        (np.full(2, 1e-20), np.zeros(2), "should be 0"),
        ([1.0], [1.0, 2.0], "should have 2 parts, it has 1"),
        (3.0, [1.0, 2.0], "it is a float"),
        ({"a": 1}, {"a": 1, "b": 2}, "lacks b"),
        ({"a": 1, "b": 2}, {"a": 1}, "has b, which nobody asked for"),
        (1, True, "should not be 1"),
    ],
)
def test_what_is_not_close(got, want, words):
    with pytest.raises(AssertionError, match=words):
        assert close(got, want) is None, close(got, want)


def test_equality_and_absolute_tolerance():
    assert close(X * (1 + 2e-16), X, 0.0) is not None
    assert close(X, X, 0.0) is None
    assert close([1e-9], [0.0], atol=1e-8) is None


def test_same_is_bit_for_bit():
    assert same([X, {"a": (1, X)}], [X.copy(), {"a": (1, X.copy())}])
    assert not same(X, X.astype(np.float32))
    assert not same(np.array([0.0]), np.array([-0.0]))
    assert not same([1], (1,))
    assert not same({"a": 1}, {"a": 1.0})


def test_plain_arrays_are_made_of_subclasses():
    assert type(plain(np.ma.masked_array([1.0]))) is np.ndarray
    assert plain({1: np.float64(2)}) == {"1": 2.0}
    with pytest.raises(Wrong, match="object of type object"):
        plain(object())


def trial(adapters, others=dict, engines=None, listed=()):
    return Trial(Direct(adapters, engines), Direct({"f": lambda x: 2 * x}), np.random.default_rng(0), others, listed)


def test_a_mistake_is_named_where_a_wrong_solution_gives_the_same():
    known = {"tripled": ("Twice or thrice?", [3 * X]), "right here": ("no", [2 * X])}
    t = trial({"f": lambda x: 3 * x}, lambda: known)
    with pytest.raises(Wrong, match=r"off by up to 0\.5 .* Twice or thrice\?"):
        t.agree("f", X)
    assert t.mistake == "tripled"
    other = trial({"f": lambda x: 4 * x}, lambda: known)
    with pytest.raises(Wrong, match=r"largest entry$"):
        other.agree("f", X)
    assert other.mistake is None


def test_nothing_is_judged_while_a_wrong_solution_is_recorded():
    t = trial({"f": lambda x: 3 * x})
    t.recording = True
    t.agree("f", X)
    t.require(False, "no")
    assert same(t.seen, [3 * X, False])


@pytest.mark.parametrize(
    ("find", "fraction"),
    [
        (lambda run: run(1) != 2, 1.0),
        (lambda run: run(1) == 3, 0.5),
        (lambda run: True, 0.0),
        (lambda run: False, 0.0),
        (lambda run: 1 / 0, 0.0),
    ],
)
def test_points_for_bugs_that_are_found(find, fraction):
    engines = {"good": lambda x: 2 * x, "bad": lambda x: 3 * x, "worse": lambda x: 4 * x}
    listed = [("good", False), ("bad", True), ("worse", True)]
    t = trial({"find": find}, engines=lambda name, adapter: engines[name], listed=listed)
    with contextlib.suppress(Wrong):
        t.catches("find", "f")
    assert t.fraction == fraction


def test_find_bugs_that_is_not_written_is_not_answered():
    t = trial({"find": lambda run: None}, engines=lambda name, adapter: print, listed=[("good", False)])
    with pytest.raises(NotAnswered):
        t.catches("find", "f")
    assert Engine("good", "f").solution == "good"
