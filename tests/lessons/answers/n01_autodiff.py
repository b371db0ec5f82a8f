"""Answers to the exercises of notebook 01."""

from collections import deque

import numpy as np

from minivit import ops


def division(vjp):
    return lambda x, y: (x / y, lambda g: vjp(g, x, y))


def rate(a, b, x, t, a_dot, b_dot, step=1e-5):
    """Central differences, made exact enough by two steps (Richardson)."""

    def loss(h):
        return (np.tanh((a + h * a_dot) @ x + b + h * b_dot) - t) ** 2

    def slope(h):
        return (loss(h) - loss(-h)) / (2 * h)

    return (4 * slope(1e-4) - slope(2e-4)) / 3


def rate_without(a, b, x, t, a_dot, b_dot, factor=2, slope=1.0):
    y = np.tanh(a @ x + b)
    return factor * (y - t) * (1 - slope * y * y) * (a_dot @ x + b_dot)


def by_counting(loss):
    """A value is listed when all that used it have been."""
    users, stack, inputs = {loss: 0}, [loss], {}
    while stack:
        value = stack.pop()
        inputs[value] = value.inputs
        for source in inputs[value]:
            if source not in users:
                users[source] = 0
                stack.append(source)
            users[source] += 1
    order, ready = [], [loss]
    while ready:
        value = ready.pop()
        order.append(value)
        for source in inputs[value]:
            users[source] -= 1
            if not users[source]:
                ready.append(source)
    return order


def depth_first(loss):
    order, seen, stack = [], set(), [(loss, False)]
    while stack:
        value, done = stack.pop()
        if done:
            order.append(value)
        elif value not in seen:
            seen.add(value)
            stack.append((value, True))
            stack += [(source, False) for source in value.inputs]
    return order[::-1]


def marking(loss):
    """Leaves a mark on every value instead of keeping a set."""
    order, stack = [], [(loss, iter(loss.inputs))]
    loss.seen = True
    while stack:
        value, inputs = stack[-1]
        for source in inputs:
            if not getattr(source, "seen", False):
                source.seen = True
                stack.append((source, iter(source.inputs)))
                break
        else:
            stack.pop()
            order.append(value)
    return order[::-1]


def without_return(x, y):
    z = x / y

    def vjp(g):
        dx = g / y  # noqa: F841

    return z, vjp


def breadth_first(loss):
    order = [loss]
    for value in order:
        order += [source for source in dict.fromkeys(value.inputs) if source not in order]
    return order


def recursive(loss):
    order, seen = [], set()

    def visit(value):
        if value not in seen:
            seen.add(value)
            for source in value.inputs:
                visit(source)
            order.append(value)

    visit(loss)
    return order[::-1]


def every_path(loss):
    order = [loss]
    for value in order:
        order += value.inputs
    return list(dict.fromkeys(order[::-1]))[::-1]


# number -> answers that must pass
RIGHT = {
    "1.1": [
        lambda x, y: (x / y, lambda g: np.stack([g / y, -g * x / y**2])),
        division(lambda g, x, y: (g / y, -g * x / (y * y))),
        lambda x, y: [x / y, lambda g: [g / y, -g * x / y**2]],
    ],
    "1.2": [
        (name for name in "edbc"),
        ["E", "D", "B", "C"],
        ["e", "c", "d", "b"],
        ("e", "d", "b", "c"),
        ["e", "c", "b", "d"],
        "ecdb",
        "E, C, D, B",
        np.array(["e", "c", "d", "b"]),
    ],
    "1.3": [rate_without, rate],
    "1.4": [
        by_counting,
        depth_first,
        marking,
        lambda loss: deque(marking(loss)),
        lambda loss: dict.fromkeys(marking(loss)),
        lambda loss: (value for value in marking(loss)),
    ],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "1.1": [
        (division(lambda g, x, y: (1 / y, -x / (y * y))), "g is forgotten"),
        (division(lambda g, x, y: (g / y, g * x / (y * y))), "wrong sign"),
        (division(lambda g, x, y: (g / y, g / x)), "differs"),
        (division(lambda g, x, y: g / y), "tuple of 2 gradients"),
        (lambda x, y: x / y, "should end in `return value, vjp`"),
        (lambda x, y: (x / y, (1 / y, -x / y**2)), "with a function `vjp`"),
        (without_return, "In `vjp`: Your function returned None"),
        (ops.div, "The library did this (`div` was called)"),
        (division(lambda g, x, y: (-g * x / (y * y), g / y)), "swapped"),
    ],
    "1.2": [
        (["e", "d", "c", "b"], "topological order"),
        (["e", "b", "c", "d"], "nothing has arrived"),
        (["b", "c", "d", "e"], "begins with e"),
        (["e", "d", "c"], "each once"),
    ],
    "1.3": [
        (lambda *args: rate_without(*args, factor=1), "2 e"),
        (lambda *args: rate_without(*args, slope=0.0), "1 - y^2"),
        (lambda a, b, x, t, a_dot, b_dot: rate_without(a, b, x, t, a_dot, 0), "bias moves"),
        (lambda *args: rate_without(*args, slope=0.5), "differs"),
    ],
    "1.4": [
        (recursive, "too deep"),
        (breadth_first, "too early"),
        (lambda loss: by_counting(loss)[::-1], "wrong way round"),
        (every_path, "more than 100 times"),
        (lambda loss: [loss], "lacks 5"),
        (lambda loss: set(marking(loss)), "in their order; this is a set"),
        (lambda loss: loss.__init__(), "does it end in `return`"),
        (lambda loss: [loss, *by_counting(loss)], "twice"),
    ],
}

# number -> changed line of a right answer (… for anything) -> why the answer stays right
EQUIVALENT = {
    "1.3": {
        "y = np.tanh(x @ a + b)": "a product of vectors has no order",
        "return 2 * (y - t) * (1 - y * y) * (x @ a_dot + b_dot)": "a product of vectors has no order",
        "return (np.tanh(x @ (a + h * a_dot) + b + h * b_dot) - t) ** 2": "a product of vectors has no order",
        "return (4 * slope(…0.0001) - slope(…0.0002)) / 3": "the central difference is even in its step",
    },
    "1.4": {
        "loss.seen = …": "the loss is nobody's input, so its mark is never read",
        "users, stack, inputs = ({loss: …}, [loss], {})": "nobody uses the loss, so its count is never read",
    },
}
