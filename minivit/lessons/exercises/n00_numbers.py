"""Exercises of notebook 00, numbers and numerical derivatives."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minivit.lessons.exercise import Exercise, Wrong
from minivit.lessons.judges import function_like, one_number, says

# 0.3: functions of size about 1 that vary slowly, so that f''' is about 1e-3, each with its derivative
_FUNCTIONS: list[tuple[Callable, Callable]] = [
    (lambda x: np.sin(1 + x / 10), lambda x: np.cos(1 + x / 10) / 10),
    (lambda x: np.cos(1 + x / 10), lambda x: -np.sin(1 + x / 10) / 10),
    (lambda x: np.exp(-x / 10), lambda x: -np.exp(-x / 10) / 10),
]


def _float32_error(h: float) -> float:
    """Root mean square error of central differences in float32, over the functions, 500 places and 16 steps near h.

    With one step alone, the rounding of x + h would be the same at every place, and the verdict a matter of luck.
    """
    x = np.linspace(1, 1.5, 500, dtype=np.float32)[:, None]
    step = (h * np.linspace(0.98, 1.02, 16)).astype(np.float32)
    errors = [(f(x + step) - f(x - step)) / (2 * step) - derivative(x.astype(float)) for f, derivative in _FUNCTIONS]
    return float(np.sqrt(np.mean(np.square(errors))))


def _step_for_float32(answer: Any) -> str | None:
    h = one_number(answer)
    if not 0 < h < 1:
        return "The step should be between 0 and 1."
    if h < 2.0**-24:
        return "In float32, 1 + step is 1 for so small a step: the difference is 0, whatever the function."
    steps = [2.0 ** (-k / 2) for k in range(2, 40)]
    errors = [_float32_error(step) for step in steps]
    ratio = _float32_error(h) / min(errors)
    if ratio <= 3:
        return None
    fault = f"Its error is {ratio:.1f} times the smallest:"
    if h > steps[errors.index(min(errors))]:
        return f"{fault} the step is too large, the term with step^2 dominates."
    return f"{fault} the step is too small, the rounding error eps/step dominates. {_hint_to_small_step(h)}"


def _hint_to_small_step(h: float) -> str:
    """Where a step that is too small may come from."""
    if 2e-3 < h < 0.012:
        return "It would suit a function whose third derivative is about 1, as in the table. Here it is a thousandth."
    if 1e-4 < h <= 1e-3:
        return "The square root of eps is the best step of the forward difference; here it is another root."
    if 2.0**-24 <= h <= 2.0**-22:
        return "This is about eps itself: the difference of the two values is then a rounding error or two."
    if 1e-6 < h < 3e-5:
        return "It would suit float64. The epsilon of float32 is 2^-23, not 2^-52."
    return "Where is the bottom of the V for these functions in float32?"


def _pointwise(f: Callable, derivative: Callable) -> Callable:
    return lambda X: (f(X), lambda G: (G * derivative(X),))


def _softmax(pullback: Callable) -> Callable:
    def op(X):
        e = np.exp(X - X.max(axis=-1, keepdims=True))
        y = e / e.sum(axis=-1, keepdims=True)
        return y, lambda G: (pullback(G, y),)

    return op


def _column_sums(share: Callable) -> Callable:
    return lambda X: (X.sum(axis=0), lambda G: (np.broadcast_to(G, X.shape) * share(X),))


def _one_entry_wrong(place: int) -> Callable:
    def op(X):
        def vjp(G):
            dX = G * np.cos(X)
            dX.flat[place] *= 1.01
            return (dX,)

        return np.sin(X), vjp

    return op


# 0.4: what the op is called in the verdict -> the op
_RIGHT_OPS = {
    "tanh": _pointwise(np.tanh, lambda X: 1 - np.tanh(X) ** 2),
    "exp(3 X), whose entries differ much in size": _pointwise(lambda X: np.exp(3 * X), lambda X: 3 * np.exp(3 * X)),
    "1e-9 X, whose gradient is tiny": _pointwise(lambda X: 1e-9 * X, lambda X: 1e-9),
    "1e9 X, whose gradient is large": _pointwise(lambda X: 1e9 * X, lambda X: 1e9),
    "sum over the rows, whose result has another shape than X": _column_sums(lambda X: 1),
    "softmax": _softmax(lambda G, y: y * (G - (G * y).sum(axis=-1, keepdims=True))),
}
_WRONG_OPS = {
    "tanh with the sign of the gradient changed": _pointwise(np.tanh, lambda X: np.tanh(X) ** 2 - 1),
    "exp with a gradient too large by one part in a thousand": _pointwise(np.exp, lambda X: 1.001 * np.exp(X)),
    **{
        f"sin with a wrong entry in the gradient, {which} (try several directions, and a tighter tolerance)": op
        for which, op in {
            "the last": _one_entry_wrong(-1),
            "the first": _one_entry_wrong(0),
            "the sixth": _one_entry_wrong(5),
        }.items()
    },
    "1e-9 X with a gradient of zeros (is your tolerance absolute?)": _pointwise(lambda X: 1e-9 * X, lambda X: 0 * X),
    "sum over the rows with the gradient of the mean": _column_sums(lambda X: 1 / len(X)),
    "exp that forgets its cotangent G": lambda X: (np.exp(X), lambda G: (np.exp(X),)),
    "softmax with a gradient of zeros": _softmax(lambda G, y: 0 * G),
}


_SHAPES = [(4, 3), (2, 7), (5, 4), (3, 8), (6, 2), (9, 2), (7, 5), (2, 11)]


class _Watched:
    """An op that remembers which cotangents it got and where it was evaluated."""

    def __init__(self, op: Callable):
        self._op = op
        self._places: list[np.ndarray] = []
        self._cotangents: list[np.ndarray] = []

    def __deepcopy__(self, memo: dict) -> "_Watched":
        return self  # what it sees is wanted here

    def __call__(self, X):
        self._places.append(np.array(X, float))
        y, vjp = self._op(X)

        def watched_vjp(G):
            self._cotangents.append(np.array(G, float))
            return vjp(G)

        return y, watched_vjp

    def question(self) -> str:
        """What to ask somebody whose checker was mistaken about this op."""
        if self._cotangents and all(np.ptp(G) == 0 for G in self._cotangents):
            return " Your cotangent is all ones or the like: there are faults that it cannot see, and some right " + (
                "gradients are zero with it, so that only rounding is compared."
            )
        moves = [X - self._places[0] for X in self._places[1:] if X.shape == self._places[0].shape]
        moves = [V for V in moves if V.any()]
        if moves and all(np.ptp(V) <= 1e-6 * np.abs(V).max() for V in moves):
            return " All entries of your direction are alike: along it some gradients are 0, and rounding is compared."
        return ""


def _checker(answer: Any) -> str | None:
    for ops, verdict, fault in (
        (_RIGHT_OPS, True, "It rejects a right op"),
        (_WRONG_OPS, False, "It accepts a wrong op"),
    ):
        for name, op in ops.items():
            shapes = [*_SHAPES, (40, 50)] if "entry" in name or name == "tanh" else _SHAPES
            for seed, shape in enumerate(shapes):
                X = np.random.default_rng(seed).uniform(-2, 2, shape)
                watched = _Watched(op)
                try:
                    said = says(answer, watched, X, allowed=())
                except Wrong as wrong:
                    raise Wrong(f"{wrong} The op was {name}.") from None
                if said is not verdict:
                    return f"{fault}: {name}.{watched.question()}"
    return None


EXERCISES = [
    Exercise(
        "0.1",
        function_like(
            lambda x: 2.0 ** (math.floor(math.log2(x)) - 52),
            lambda rng: [(x,) for x in (1.0, 3.0, 1000.0, 0.1, 0.75, 1e20, 1e-20)],
            {
                "This is the distance at 1. Between 2 and 4 it is twice that.": lambda x: 2.0**-52,
                "It does not grow evenly with x: it is the same from one power of two to the next.": (
                    lambda x: x * 2.0**-52
                ),
                "This is half of it, the largest error of rounding.": lambda x: 2.0 ** (math.floor(math.log2(x)) - 53),
                "This is the distance in float32.": lambda x: 2.0 ** (math.floor(math.log2(x)) - 23),
                "The power of two just below x counts, not the nearest one.": (
                    lambda x: 2.0 ** (round(math.log2(x)) - 52)
                ),
            },
            allowed=(),
        ),
        "NumPy has it as np.spacing. The distance divided by x is between eps/2 and eps, at every size of x.",
    ),
    Exercise(
        "0.2",
        function_like(
            lambda f, f2, eps: 2 * math.sqrt(eps * f / f2),
            lambda rng: [(1.0, 1.0, 2.0**-52), (3.0, 0.5, 2.0**-52), (0.7, 5.0, 2.0**-23)],
            {
                "This balances step^2 against eps/step, as for the central difference. Here the first term has step "
                "alone.": (lambda f, f2, eps: (3 * eps * f / f2) ** (1 / 3)),
                "Set the derivative of E to zero: f''/2 = 2 eps f / step^2. A factor is lost on the way.": (
                    lambda f, f2, eps: math.sqrt(eps * f / f2)
                ),
                "This is the size of it for f and f'' about 1. The answer depends on both.": (
                    lambda f, f2, eps: math.sqrt(eps)
                ),
                "This is step^2. Take the root.": lambda f, f2, eps: 4 * eps * f / f2,
                "The fraction is upside down: a more curved function (larger f'') needs a smaller step.": (
                    lambda f, f2, eps: 2 * math.sqrt(eps * f2 / f)
                ),
            },
            allowed=(),
        ),
        "About the square root of eps, and so is the error: half of the digits are left.",
    ),
    Exercise(
        "0.3",
        _step_for_float32,
        "The cube root of 3 eps |f| / |f'''|: a function that varies slowly allows a larger step. Check in float64 "
        "where you can.",
    ),
    Exercise(
        "0.4",
        _checker,
        "A random cotangent, a random direction, float64, and an error relative to the numbers compared: nothing else "
        "is in check_vjp, but for more care with rounding.",
    ),
]
