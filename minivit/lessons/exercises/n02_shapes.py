"""Exercises of notebook 02, broadcasting, products and reductions."""

from typing import Any

import numpy as np

from minivit.lessons.exercise import Exercise, Wrong
from minivit.lessons.judges import arrays, function_like, pulled_back


def _einsum_backward(subscripts, X, Y, G):
    arguments, result = subscripts.split("->")
    x, y = arguments.split(",")
    # The ones bring in an index that x alone has: its gradient is the same along that axis.
    dX = np.einsum(f"{result},{y},{x}->{x}", G, Y, np.ones_like(X))
    dY = np.einsum(f"{result},{x},{y}->{y}", G, X, np.ones_like(Y))
    return dX, dY


def _einsum_cases(rng: np.random.Generator) -> list[tuple]:
    lengths = {"b": 2, "h": 5, "n": 3, "m": 6, "d": 4, "e": 7}
    cases = []
    products = ("nd,de->ne", "bnd,de->bne", "bhnd,bhmd->bhnm", "nd,ne->de")
    with_lonely_index = ("bnd,d->n", "nd,e->e", "nd,de->n", "d,bnd->n", "n,d->")
    for subscripts in products + with_lonely_index:
        arguments, result = subscripts.split("->")
        shapes = [[lengths[index] for index in part] for part in (*arguments.split(","), result)]
        cases.append((subscripts, *(rng.standard_normal(shape) for shape in shapes)))
    return cases


def _einsum_judge(answer: Any) -> str | None:
    """Judges `einsum_backward`; NumPy's error about the usual mistake gets an explanation."""
    judge = function_like(
        _einsum_backward,
        _einsum_cases,
        {"The two gradients are swapped: dX comes first.": lambda *args: _einsum_backward(*args)[::-1]},
        allowed=(),
        results="dX dY",
    )
    fault = judge(answer)
    if fault is None or "never appeared in an input" not in fault:
        return fault
    return (
        f"{fault} An index that one argument alone has was summed away: every entry along it gets the same gradient. "
        "What array would bring it back?"
    )


def _broken_square(answer: Any) -> str | None:
    rng = np.random.default_rng(0)
    wrong_for_random = False
    for shape in ((3, 4), (5,), (2, 1, 3)):
        X = rng.standard_normal(shape)
        ones, random = np.ones(shape), rng.standard_normal(shape)
        for G in (ones, random):
            dX = _gradient_of_square(answer, X, G)
            wrong = not np.allclose(dX, 2 * X * G, rtol=1e-6, atol=1e-9)
            if G is ones and wrong:
                return (
                    f"The check with ones notices it, for X of shape {shape}: with ones the pullback must give 2 X. "
                    "Ask what ones cannot tell apart: what may you do to G that leaves ones as they are?"
                )
            wrong_for_random |= wrong
    return None if wrong_for_random else "This pullback is right: the check with a random cotangent accepts it, too."


def _gradient_of_square(op: Any, X: np.ndarray, G: np.ndarray) -> np.ndarray:
    """What the op's pullback returns for G. Raises Wrong if the op is not X * X, or its gradient none for any X."""
    value, (gradient,) = pulled_back(op, X, g=G, allowed=())
    y, dX = arrays((value, gradient))
    if y.shape != X.shape or not np.allclose(y, X * X):
        raise Wrong("The value should be X * X: break the pullback only.")
    if dX.shape != X.shape or not np.isfinite(dX).all():
        raise Wrong(f"The gradient has shape {dX.shape} for X {X.shape}; it should be finite and of that shape.")
    return dX


EXERCISES = [
    Exercise(
        "2.1",
        function_like(
            lambda dY: dY.sum(axis=(0, 1)),
            lambda rng: [(rng.standard_normal(shape),) for shape in ((2, 3, 4), (5, 2, 3))],
            {
                "This is the mean. Each of the B N places that used the bias hands back its whole gradient.": (
                    lambda dY: dY.mean(axis=(0, 1))
                ),
                "The bias is used in every image and for every token: sum over both axes.": lambda dY: dY.sum(axis=0),
                "This is one gradient per image. The bias is the same in all images: sum over them as well.": (
                    lambda dY: dY.sum(axis=1)
                ),
                "The bias has one entry per feature, so the sum leaves the last axis alone.": (
                    lambda dY: dY.sum(axis=(1, 2))
                ),
            },
            allowed=(),
        ),
        "Copied over images and tokens forwards, summed over images and tokens backwards.",
    ),
    Exercise(
        "2.2",
        function_like(
            lambda X, W, dY: (dY @ W, dY.T @ X),
            lambda rng: [
                tuple(rng.standard_normal(shape) for shape in ((n, d), (e, d), (n, e)))
                for n, d, e in ((3, 4, 5), (6, 2, 3))
            ],
            {
                "dX is right. dW is that of X W, transposed: it must have the shape of W, (F, D).": (
                    lambda X, W, dY: (dY @ W, X.T @ dY)
                ),
                "The two gradients are swapped: dX comes first.": lambda X, W, dY: (dY.T @ X, dY @ W),
            },
            allowed=(),
            results="dX dW",
        ),
        "Y_nf = sum_d X_nd W_fd: the indices say which factor to transpose.",
    ),
    Exercise(
        "2.3",
        function_like(
            lambda dY: np.cumsum(dY[::-1])[::-1],
            lambda rng: [(rng.standard_normal(5),), (rng.standard_normal(8),)],
            {
                "X_i is used in Y_i and all later ones, not in the earlier ones. Whose gradients does it collect?": (
                    np.cumsum
                ),
                "The right sums stand in the wrong order.": lambda dY: np.cumsum(dY[::-1]),
                "X_i is used in more than one entry of Y.": lambda dY: dY.copy(),
                "X_i is used in Y_i itself, too.": lambda dY: np.cumsum(dY[::-1])[::-1] - dY,
                "This undoes the running sum. A gradient is pulled back by the transpose, not by the inverse.": (
                    lambda dY: np.diff(dY, prepend=0)
                ),
            },
            allowed=(),
        ),
        "The matrix of the running sum is lower triangular; its transpose is a running sum from the other end.",
    ),
    Exercise(
        "2.4",
        _broken_square,
        "A pullback that forgets G, averages it, or moves its entries does the right thing if all entries of G are 1.",
    ),
    Exercise(
        "2.5",
        _einsum_judge,
        "In the gradient of one argument the cotangent takes its place: every product of arrays has a product of the "
        "same kind as its pullback.",
    ),
]
