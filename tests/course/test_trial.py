"""Comparisons, and what a check may ask."""

import contextlib

import numpy as np
import pytest

from minivit.course.student.trial import Direct, Engine, NotAnswered, Own, Trial, Wrong, close, plain, same

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
        ([1.0], [1.0, 2.0], "the result: expected 2 results, got 1"),
        (3.0, [1.0, 2.0], "expected 2 results, got a float"),
        ({"a": 1}, {"a": 1, "b": 2}, "the result lacks 'b'"),
        ({"a": 1, "b": 2}, {"a": 1}, "has 'b'; expected exactly these names: 'a'"),
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


def test_a_mistake_that_hardly_shows_is_not_taken_for_another_one():
    known = {"a little more": ("Is anything added?", [2 * X * (1 + 5e-8)])}
    for factor, mistake in ((1 + 5e-8, "a little more"), (1 - 4e-8, None), (1 + 3e-8, None)):
        t = trial({"f": lambda x, factor=factor: 2 * x * factor}, lambda: known)
        with pytest.raises(Wrong):
            t.agree("f", X)
        assert t.mistake == mistake


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


ONES = np.ones(3)


@pytest.mark.parametrize(
    ("got", "want", "what", "said"),
    [
        ((ONES, X), (ONES, X, X), "(dq, dk, dv)", "(dq, dk, dv): expected 3 results, got 2"),
        (np.ones((2, 4)), (ONES, X, X), "(dq, dk, dv)", "got one array of shape (2, 4)"),
        ((X, ONES, X), (ONES, ONES, X), "(dq, dk, dv)", "dq has shape (2,), it should be (3,)"),
        ((X, None, X), (X, X, X), "(dq, dk, dv) of 2 heads", "dk of 2 heads should be numbers, it is None"),
        (([1], [X, X]), ([1], [ONES, X]), "mul of (2, 3), (3,): (values, grads)", "mul of (2, 3), (3,): grads[0] has"),
        (([X], [X]), ([ONES], [X]), "(values, grads) of x", "values[0] of x has shape (2,)"),
        ((1, {"a": X}), (1, {"a": X, "b": X}), "(dx, gradients)", "gradients lacks 'b'"),
        ((1, {"a": X}), (1, {"a": ONES}), "(dx, gradients)", "gradients['a'] has shape"),
        ((X, X), (X, ONES), "a pair", "a pair[1] has shape"),
        ((X, X, X), (X, ONES, X), "(a, b)", "(a, b)[1] has shape"),
        ([], [1.0], "grads", "grads: expected 1 result, got 0"),
        (None, {"a": 1}, "the state", "the state should be a dict, it is None"),
    ],
)
def test_a_part_is_called_by_its_name(got, want, what, said):
    assert said in (close(got, want, what=what) or "")


def deeper():
    raise NotImplementedError("q6")


def gradients(x):
    return deeper()


@pytest.mark.parametrize(
    ("adapter", "said"),
    [
        (gradients, r"^f reaches what is not answered yet: q6, in test_trial.py line \d+ \(deeper\)$"),
        (lambda x: None, r"^f returns None: is a `return` missing\?$"),
        (None, "^adapters.py has no f$"),
    ],
)
def test_what_is_open_is_told(adapter, said):
    with pytest.raises(NotAnswered, match=said):
        Direct({"f": adapter})("f", (1,))


def test_the_place_of_an_exception_is_the_students():
    def flat(x):
        return np.linalg.inv(x)

    with pytest.raises(Wrong, match=r"^f raises LinAlgError: .*, in test_trial.py line \d+ \(flat\)$"):
        Direct({"f": flat})("f", (np.ones((2, 2)) * 0,))


def test_the_argument_that_changes_is_named():
    def run(program, cotangents, params=None):
        program[1]["axis"][0] = 7
        return 1

    def grow(*args):
        args[0]["out.bias"][:] = 0
        return 1

    with pytest.raises(Wrong, match=r"^f changes program\[1\]\['axis'\]\[0\], an argument; compute on a copy$"):
        Direct({"f": run})("f", (["sum", {"axis": [1]}], X))
    with pytest.raises(Wrong, match=r"^f changes argument 1\['out.bias'\], an argument"):
        Direct({"f": grow})("f", ({"a": X, "out.bias": X.copy()}, 1))


def test_the_case_that_raises_is_told():
    def f(x):
        raise ValueError("no")

    t = trial({"f": f})
    with pytest.raises(Wrong, match=r"f raises ValueError: no, in .* \(asked for the sum of 2 axes\)$"):
        t.agree("f", X, what="the sum of 2 axes: (values, grads)")
    with pytest.raises(Wrong, match=r"\(f\)$"):
        t.agree("f", X, what="(dq, dk)")


def test_a_function_may_be_called_so_often_and_no_more():
    def find(run):
        for _ in range(4):
            with contextlib.suppress(Exception):
                run(1)
        return False

    adapters = {"find": find, "f": lambda x: 1 / 0}
    assert Direct(adapters, calls=4)("find", (Own("f"),)) is False
    with pytest.raises(Wrong, match=r"^find calls the function more than 3 times$"):
        Direct(adapters, calls=3)("find", (Own("f"),))


@pytest.mark.parametrize(
    ("find", "right", "said"),
    [
        (lambda run: False, True, (True, "no false alarm on your own functions; this says nothing about what it")),
        (lambda run: True, False, (False, "says nothing: your own f is not right here")),
        (lambda run: True, True, "find says that your own f is wrong"),
        (lambda run: 1, True, r"find returned 1 \(an int\), expected True or False"),
        (lambda run: run(1)[0], True, "find raises TypeError"),
        (lambda run: deeper(), True, "find reaches what is not answered yet: q6"),
    ],
)
def test_what_an_own_function_proves_of_find_bugs(find, right, said):
    t = trial({"find": find, "f": lambda x: 2 * x})
    assert t.right("f", X)
    assert not trial({"f": lambda x: 3 * x}).right("f", X)
    if isinstance(said, str):
        with pytest.raises(Wrong, match=said):
            t.innocent("find", "f", right=right)
    else:
        t.innocent("find", "f", right=right)
        assert t.remark[0] is said[0]
        assert t.remark[1].startswith(said[1])


def test_missing_results_names_and_shapes_are_told():
    t = trial({})
    with pytest.raises(Wrong, match=r"^attention_backward: expected 3 results, got 2$"):
        t.parts((X, X), 3, "attention_backward")
    with pytest.raises(Wrong, match=r"^gradients lacks 'out.bias'$"):
        t.entries({"a": X}, ["a", "out.bias"], "gradients")
    with pytest.raises(Wrong, match=r"^dv is None, it should be"):
        t.shape(None, (2,), "dv")
    with pytest.raises(Wrong, match=r"^dv has shape \(2,\), it should be \(3,\)$"):
        t.shape(X, (3,), "dv")
    t.recording = True
    assert t.parts((X, X), 3, "attention_backward") == [None] * 3
    assert t.entries(None, ["a"], "gradients") == {"a": None}
    t.shape([X, [1]], (3,), "dv")
