"""Answers to the exercises of notebook 02."""

import numpy as np

from minivit import functional as F
from minivit.tensor import Tensor, grad


def product_backward(X, W, dY):
    dX, dW = np.zeros_like(X), np.zeros_like(W)
    for n, e in np.ndindex(dY.shape):
        dX[n] += dY[n, e] * W[e]
        dW[e] += dY[n, e] * X[n]
    return dX, dW


def einsum_backward(subscripts, X, Y, G):
    """An einsum is linear in each argument: put in one unit array after the other."""
    dX, dY = np.zeros_like(X), np.zeros_like(Y)
    for d, value in (
        (dX, lambda unit: np.einsum(subscripts, unit, Y)),
        (dY, lambda unit: np.einsum(subscripts, X, unit)),
    ):
        for place in np.ndindex(d.shape):
            unit = np.zeros_like(d)
            unit[place] = 1
            d[place] = (G * value(unit)).sum()
    return dX, dY


def letters_only(subscripts, X, Y, G):
    """Right unless an index occurs in one argument alone."""
    arguments, result = subscripts.split("->")
    x, y = arguments.split(",")
    return np.einsum(f"{result},{y}->{x}", G, Y), np.einsum(f"{result},{x}->{y}", G, X)


def lonely_in_x_only(subscripts, X, Y, G):
    """Right unless an index occurs in the second argument alone."""
    arguments, result = subscripts.split("->")
    x, y = arguments.split(",")
    dX = np.einsum(f"{result},{y},{x}->{x}", G, Y, np.ones_like(X))
    return dX, np.einsum(f"{result},{x}->{y}", G, X)


def lonely_in_y_ignored(subscripts, X, Y, G):
    """As if the second argument had no index of its own; where it has, only its first entry gets the gradient."""
    dX, dY = einsum_backward(subscripts, X, Y, G)
    arguments, result = subscripts.split("->")
    x, y = arguments.split(",")
    for axis, index in enumerate(y):
        if index not in x + result:
            dY[(slice(None),) * axis + (slice(1, None),)] = 0
    return dX, dY


def forgotten(dY):
    db = dY.sum(axis=(0, 1))  # noqa: F841


def by_the_engine(X, W, dY):
    leaves = [Tensor(X, requires_grad=True), Tensor(W, requires_grad=True)]
    return tuple(grad((F.linear(leaves[0], leaves[1].T) * Tensor(dY)).sum(), leaves))


def square(vjp):
    return lambda X: (X * X, lambda G: (vjp(G, X),))


# number -> answers that must pass
RIGHT = {
    "2.1": [lambda dY: np.ones(len(dY[0])) @ sum(dY), lambda dY: tuple(dY.sum(axis=(0, 1)))],
    "2.2": [product_backward],
    "2.3": [lambda dY: np.triu(np.ones((len(dY), len(dY)))) @ dY],
    "2.4": [square(lambda G, X: 2 * X), square(lambda G, X: 2 * X * G.mean()), square(lambda G, X: 2 * X * G[::-1])],
    "2.5": [einsum_backward],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "2.1": [
        (lambda dY: dY.mean(axis=(0, 1)), "the mean"),
        (lambda dY: dY.sum(axis=0), "both axes"),
        (lambda dY: dY.sum(), "expected (4,)"),
        (
            lambda dY: dY.sum(axis=(0, 1)) / len(dY),
            "length of axis 0 of dY: a mean instead of a sum?",
        ),
        (forgotten, "Your function returned None: does it end in `return`?"),
    ],
    "2.2": [
        (lambda X, W, dY: (dY @ W, X.T @ dY), "transposed"),
        (lambda X, W, dY: (dY @ W.T, dY.T @ X), "ValueError"),
        (lambda X, W, dY: (2 * dY @ W, dY.T @ X), "dX is 2 times the right one. dW is right"),
        (lambda X, W, dY: (dY @ W, dY.T @ X / len(X)), "dW is the right one divided by the length of axis 0 of X"),
        (by_the_engine, "The library did this"),
        (lambda X, W, dY: (dY @ W, None), "dW is None"),
    ],
    "2.3": [
        (np.cumsum, "later ones"),
        (lambda dY: np.flip(dY).cumsum(), "wrong order"),
        (lambda dY: np.full(len(dY), dY.sum()), "same number everywhere"),
    ],
    "2.4": [
        (square(lambda G, X: 2 * X * G), "is right"),
        (square(lambda G, X: X * G), "ones notices"),
        (lambda X: (2 * X, lambda G: (2 * X,)), "X * X"),
        (lambda X: X * X, "should end in `return value, vjp`"),
        (square(lambda G, X: 2.0), "has shape"),
        (square(lambda G, X: 2 * X * G.T), "In `vjp`: It raised ValueError"),
    ],
    "2.5": [
        (lambda *args: einsum_backward(*args)[::-1], "swapped"),
        (letters_only, "was summed away"),
        (lonely_in_x_only, "was summed away"),
        (lonely_in_y_ignored, "dY is right but for entries that are 0"),
        (lambda *args: (einsum_backward(*args)[0], 0.5 * einsum_backward(*args)[1]), "0.5 times"),
    ],
}

# number -> changed line of a right answer (… for anything) -> why the answer stays right
EQUIVALENT = {
    "2.1": {
        "lambda dY: np.ones(len(dY[…])) @ sum(dY)": "every image has N tokens",
    },
    "2.4": {
        "square(lambda G, X: 2 * X)": "the mutant is another right answer: it forgets G",
        "square(lambda G, X: 2 * X / G…)": "the mutant is another right answer: wrong, but not for ones",
    },
    "2.5": {
        "dX, dY = (np.ones_like(X), np.zeros_like(Y))": "every entry is overwritten",
        "dX, dY = (np.zeros_like(X), np.ones_like(Y))": "every entry is overwritten",
    },
}
