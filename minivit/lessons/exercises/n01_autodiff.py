"""Exercises of notebook 01, autodiff."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from minivit.lessons.exercise import Exercise, Wrong
from minivit.lessons.judges import function_like, kind, pulled_back, run


def _division(pullback: Callable) -> Callable:
    """What a division op gives: its value and both gradients.   pullback: (g, x, y, z) -> dx, dy."""
    return lambda x, y, g: (x / y, *pullback(g, x, y, x / y))


def _division_judge(answer: Any) -> str | None:
    """Judges an op by its value and its gradients together."""
    judge = function_like(
        _division(lambda g, x, y, z: (g / y, -g * z / y)),
        lambda rng: [tuple(rng.uniform(0.5, 2, (3, *shape)) * [[[1]], [[-1]], [[1]]]) for shape in ((3, 4), (2, 5))],
        {
            "The cotangent g is forgotten: both gradients are multiples of it.": _division(
                lambda g, x, y, z: (1 / y, -z / y)
            ),
            "The larger y, the smaller x / y: dy has the wrong sign.": _division(lambda g, x, y, z: (g / y, g * z / y)),
            "The derivative of 1/y is -1/y^2; in dy one of the two y is missing.": _division(
                lambda g, x, y, z: (g / y, -g * z)
            ),
            "dy lacks the factor x: z = x (1/y).": _division(lambda g, x, y, z: (g / y, -g / y**2)),
            "The two gradients are swapped: dx comes first.": _division(lambda g, x, y, z: (-g * z / y, g / y)),
        },
        results="z dx dy",
    )
    return judge(_value_and_gradients(answer) if callable(answer) else answer)


def _value_and_gradients(op: Callable) -> Callable:
    def value_and_gradients(x, y, g):
        z, (dx, dy) = pulled_back(op, x, y, g=g, allowed=())
        return z, dx, dy

    return value_and_gradients


# 1.2: what each result is made from, and which of its portions that is. With b = tanh a, c = b a, d = c + b, e = d c.
_MADE_FROM = {"e": ("d", "c"), "d": ("c", "b"), "c": ("b", "a"), "b": ("a",)}


def _breaking_order(answer: Any) -> str | None:
    if isinstance(answer, str):
        answer = [letter for letter in answer.lower() if letter in "bcde"]
    if isinstance(answer, Iterator):
        answer = list(itertools.islice(answer, 5))
    answer = [str(name).strip().lower() for name in answer] if isinstance(answer, list | tuple | np.ndarray) else []
    if sorted(answer) != ["b", "c", "d", "e"]:
        return 'The answer should be a list of the four names, each once, like ["e", "d", "c", "b"].'
    if answer[0] != "e":
        return "The backward pass begins with e, the only one that has a gradient."
    arrived = {"e"}
    for name in answer:
        if name not in arrived:
            return f"When the pullback of {name} runs, nothing has arrived there yet: what used {name} must run first."
        arrived.update(_MADE_FROM[name])
    if answer == ["e", "d", "c", "b"]:
        return "This is the topological order: each pullback runs after all that used its result. It is right."
    return None


def _rate(factor: float = 2, slope: bool = True, bias: bool = True) -> Callable:
    def rate(a, b, x, t, a_dot, b_dot):
        y = np.tanh(a @ x + b)
        y_dot = (a_dot @ x + bias * b_dot) * (1 - y * y if slope else 1)
        return factor * (y - t) * y_dot

    return rate


def _loss(a, b, x, t, a_dot, b_dot):
    return (np.tanh(a @ x + b) - t) ** 2


def _rate_cases(rng: np.random.Generator) -> list[tuple]:
    return [
        (rng.standard_normal(n), rng.standard_normal(), rng.standard_normal(n), rng.standard_normal(), direction, 0.7)
        for n in (1, 3, 6)
        for direction in (rng.standard_normal(n), np.zeros(n))
    ]


class _Made:
    """A value of a graph for exercise 1.4, which allows to be asked for its inputs a hundred times."""

    def __init__(self, *inputs: "_Made"):
        self._inputs = inputs
        self.asked = 0

    @property
    def inputs(self) -> tuple["_Made", ...]:
        self.asked += 1
        if self.asked > 100:
            raise Wrong(
                "It asks one value for its inputs more than 100 times. Once is enough: keep what you have seen, and do "
                "not come back to it by every path."
            )
        return self._inputs


def _graphs() -> Iterator[tuple[str, list[_Made]]]:
    """Name and values of each graph, oldest first; the last one is the loss."""
    a, other = _Made(), _Made()
    b = _Made(a)
    c = _Made(b, a)
    d = _Made(c, b, other)
    yield "a small one", [a, other, b, c, d, _Made(d, c)]
    for name, turned in (("one with a shortcut", False), ("one with a shortcut, turned", True)):
        x, y = _Made(), _Made()  # made anew: an answer may leave marks on them
        early, late = _Made(x), _Made(y)
        middle = _Made(early)
        last = _Made(middle)
        yield name, [x, y, early, late, middle, last, _Made(*((late, early) if turned else (early, late)), last)]
    for name, depth, uses in (("one with 2^60 paths", 60, 2), ("a chain of 5000", 5000, 1)):
        values = [_Made()]
        for _ in range(depth):
            values.append(_Made(*[values[-1]] * uses))
        yield name, values


def _order(answer: Any) -> str | None:
    for name, values in _graphs():
        try:
            fault = _order_fault(run(answer, values[-1], allowed=()), values)
        except Wrong as wrong:
            fault = str(wrong).partition(" The arguments were")[0]
            if "RecursionError" in fault:
                fault = "The recursion is too deep for Python. Keep a list of what is still to do instead."
        if fault:
            return f"{fault} The graph was {name}, with {len(values)} values."
    return None


def _order_fault(order: Any, values: list[_Made]) -> str | None:
    """What is wrong with the order that the answer finds in one graph."""
    if not isinstance(order, Iterable) or isinstance(order, set | frozenset):
        return f"It should return a list of the values, in their order; this is {kind(order)}."
    order = list(order)
    if not all(isinstance(value, _Made) for value in order):
        return "It should return a list of the values themselves."
    place = {id(value): i for i, value in enumerate(order)}
    if len(place) < len(order):
        return "A value stands in the list twice: its pullback would run twice."
    missing = len(values) - len(place)
    if missing:
        return f"The list lacks {missing} of the values that the loss was made from, itself and the leaves included."
    if all(place[id(source)] < place[id(value)] for value in values for source in value._inputs):
        return "It is the wrong way round: the loss comes first."
    if any(place[id(source)] < place[id(value)] for value in values for source in value._inputs):
        return "A value stands before one that was made from it: its pullback would run too early."
    return None


EXERCISES = [
    Exercise("1.1", _division_judge, "With z = x / y at hand, dy is -dx z: the library's op does it so."),
    Exercise(
        "1.2",
        _breaking_order,
        "Some pullback ran when only a part of its portions had arrived. What came later was never sent on.",
    ),
    Exercise(
        "1.3",
        function_like(
            _rate(),
            _rate_cases,
            {
                "The derivative of e * e is 2 e.": _rate(factor=1),
                "The tanh has a derivative, too: 1 - y^2.": _rate(slope=False),
                "The bias moves as well.": _rate(bias=False),
                "This is the loss itself, not its rate of change.": _loss,
            },
            allowed=(),
        ),
        "Carried along step by step, this is forward mode, the Jacobian times a vector: one pass for one direction. "
        "check_vjp measures the same number by differences.",
    ),
    Exercise(
        "1.4",
        _order,
        "Two ways lead there: a depth-first walk that lists a value after all its inputs, read backwards; or a count, "
        "for each value, of its users that are still to come. The engine's clock saves this work.",
    ),
]
