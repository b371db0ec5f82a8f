"""Calling an answer: what is empty, what forgot its `return`, what may not be called, and what an answer holds."""

import functools
import sys
import tracemalloc

import numpy as np
import pytest

from minivit import functional as F
from minivit import ops
from minivit.gradcheck import check_vjp
from minivit.lessons.calling import call, described, kind, peak_bytes, pulled_back
from minivit.lessons.exercise import Unanswered, Wrong
from minivit.tensor import Tensor, grad

X = np.arange(3.0)


def only_a_docstring(x):
    """x -> y"""


def only_an_ellipsis(x):
    """x -> y"""
    ...


def names_what_it_would_return(x):
    dx, dw = None, ...
    return dx, dw


def not_implemented(x):
    raise NotImplementedError


class Empty:
    def __call__(self, x): ...


@pytest.mark.parametrize(
    "stub",
    [
        only_a_docstring,
        only_an_ellipsis,
        names_what_it_would_return,
        not_implemented,
        Empty(),
        functools.partial(lambda x, y: None, y=1),
        lambda x: ...,
        lambda x: [None, None],
    ],
)
def test_an_empty_function_is_no_answer_yet(stub):
    with pytest.raises(Unanswered):
        call(stub, X)


def computes_and_forgets(x):
    y = 2 * x  # noqa: F841


def returns_in_one_branch(x):
    if x[0] > 0:
        return x


def bare_return(x):
    x = x + 1
    return


@pytest.mark.parametrize(
    "forgetful",
    [computes_and_forgets, returns_in_one_branch, bare_return, lambda x: [].append(x), functools.partial(bare_return)],
)
def test_a_forgotten_return_is_told(forgetful):
    with pytest.raises(Wrong, match=r"^Your function returned None: does it end in `return`\? The arguments"):
        call(forgetful, X)


def test_a_generator_gives_a_tuple_and_its_errors_are_told():
    def parts(x):
        yield x
        yield 2 * x

    first, second = call(parts, X)
    assert np.array_equal(second, 2 * first)
    with pytest.raises(Wrong, match="raised ZeroDivisionError"):
        call(lambda x: (1 / 0 for _ in x), X)


def quietly(x):
    try:
        return check_vjp(ops.tanh, x)
    except Exception:
        return x


LIBRARY = [
    (lambda x: grad(F.sum(Tensor(x, requires_grad=True)), []), "`minivit.functional`"),
    (lambda x: ops.softmax(x)[0], "`softmax`"),
    (ops.gelu, "`gelu`"),
    (functools.partial(ops.gelu, form="erf"), "`gelu`"),
    (lambda x: Tensor(x) + 1, r"`Tensor.__add__`"),
    (lambda x: F.exp(Tensor(x)), "`minivit.functional`"),
    (lambda x: list(map(ops.exp, [x])), "`exp`"),
    (lambda x: check_vjp(ops.tanh, x), "`check_vjp`"),
    (quietly, "`check_vjp`"),
]


@pytest.mark.parametrize(("answer", "name"), LIBRARY)
def test_the_library_refuses_by_whatever_name(answer, name):
    with pytest.raises(Wrong, match=r"^The library did this \(.*was called\); write it yourself\.$") as refused:
        call(answer, X, allowed=())
    assert name in str(refused.value)
    assert sys.getprofile() is None


def test_what_is_allowed_may_use_the_library_itself():
    assert np.allclose(call(lambda x: ops.erf(x)[0], X, allowed=("erf",)), ops.erf(X)[0])
    with pytest.raises(Wrong, match="the pullback of `erf` was called"):
        call(lambda x: ops.erf(x)[1](x), X, allowed=("erf",))
    call(lambda x: ops.erf(x)[1](x), X, allowed=("erf", "erf.<locals>.vjp"))
    assert isinstance(call(lambda x: Tensor(2 * x), X, allowed=()), Tensor)


def test_a_profiler_is_there_again_afterwards():
    seen = []

    def profiler(frame, event, argument):
        seen.append(event)

    sys.setprofile(profiler)
    try:
        call(lambda x: x + 1, X, allowed=())
        assert sys.getprofile() is profiler
    finally:
        sys.setprofile(None)
    assert seen


def op(vjp):
    return lambda x, y: (x * y, vjp)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda x, y: x * y, "should end in `return value, vjp`"),
        (lambda x, y: (x * y, x), "should end in `return value, vjp`"),
        (op(lambda g: g), "should return a tuple of 2 gradients, it returned an array"),
        (op(bare_return), "In `vjp`: Your function returned None"),
        (op(lambda: 1), "In `vjp`: It raised TypeError"),
    ],
)
def test_an_op_without_a_pullback_is_told_what_is_missing(answer, said):
    with pytest.raises(Wrong, match=said):
        pulled_back(answer, X, X, g=X)


def test_gradients_may_be_a_list_or_stacked_or_for_one_argument_alone():
    assert pulled_back(op(lambda g: [g, 2 * g]), X, X, g=X)[1][1][1] == 2
    assert pulled_back(op(lambda g: np.stack([g, 2 * g])), X, X, g=X)[1][1][1] == 2
    assert pulled_back(lambda x: (x, lambda g: g), X, g=X)[1][0] is not None
    with pytest.raises(Unanswered):
        pulled_back(op(lambda g: ...), X, X, g=X)


@pytest.mark.parametrize("make", [np.empty, np.empty_like])
def test_what_an_answer_leaves_unset_is_never_right_by_chance(make):
    def forgets_the_last(x):
        y = np.empty(x.shape) if make is np.empty else np.empty_like(x)
        y[:-1] = x[:-1]
        return y

    assert np.array_equal(call(forgets_the_last, X), [0, 1, np.nan], equal_nan=True)
    assert np.array_equal(call(lambda n: np.empty(n, int), 2), [99, 99])
    assert call(lambda n: np.empty(n, object), 2)[0] is None
    with pytest.raises(Wrong, match="ZeroDivisionError"):
        call(lambda x: 1 / 0, X)
    assert make is getattr(np, make.__name__)


@pytest.mark.parametrize("already", [False, True])
def test_the_peak_is_what_was_held_at_once(already):
    if already:
        tracemalloc.start()
    try:
        one = peak_bytes(lambda n: [np.ones(n).sum() for _ in range(5)], 100_000)
        five = peak_bytes(lambda n: sum(np.ones(n) for _ in [np.ones(n)] * 4).sum(), 100_000)
        assert tracemalloc.is_tracing() == already
    finally:
        tracemalloc.stop()
    assert 0.8e6 <= one < 1.7e6
    assert 1.6e6 <= five < 4e6


def test_changes_deep_in_an_argument_are_noticed():
    def changes(weights):
        weights["a"][1500] += 1
        return 1

    with pytest.raises(Wrong, match="changes one of its arguments"):
        call(changes, {"a": np.zeros(3000), "b": [1, [2]]})


@pytest.mark.parametrize(
    ("thing", "words"),
    [
        (np.zeros((2, 3)), "an array (2, 3)"),
        ((1, 2), "a tuple of 2"),
        (None, "None"),
        (lambda: 1, "a function"),
        (only_a_docstring, "a function (only_a_docstring)"),
        (np.int64(1), "an int64"),
        (np.uint8(1), "a uint8"),
        ({}, "a dict"),
    ],
)
def test_things_have_their_article(thing, words):
    assert kind(thing) == words


def test_functions_without_a_name_of_their_own_are_just_functions():
    assert described([lambda: 1, only_a_docstring, 2.0]) == "a function, only_a_docstring, 2.0"
