"""Tests of an engine that you have not seen (q8)."""

import numpy as np


def find_bugs(run_program):
    """Is this engine wrong? True or False.

    run_program: a function like the one of adapters.py, of an engine with a mistake in it or without. It may be called
    at most 2,000 times. It may raise an exception; one that leaves find_bugs counts as False.
    """
    # BEGIN SOLUTION q8
    rng = np.random.default_rng(0)
    try:
        return any(suspicious(run_program, *case, rng) for case in cases(rng))
    except Exception:
        return True


def cases(rng):
    """Programs with their inputs, every op at least once; the last value is the output."""
    x, y, row = rng.uniform(0.5, 2, (3, 3)), rng.uniform(2.5, 3, (3, 3)), rng.uniform(0.5, 2, (3,))
    cube = rng.normal(size=(2, 3, 4))
    for op in ("add", "sub", "mul", "div", "maximum"):
        yield [[op, [0, 1], {}]], [x, y]
        yield [[op, [1, 0], {}]], [x, y]
        yield [[op, [0, 1], {}]], [y, row]
        yield [[op, [0, 1], {}]], [x[:, :1], row + 3]
        yield [["const", [], {"value": 2.5}], [op, [1, 0], {}]], [x]
    for op in ("neg", "exp", "log", "sqrt", "tanh"):
        yield [[op, [0], {}]], [x]
    for exponent in (2.0, 3.0, -1.5, 0.0):
        yield [["pow", [0], {"exponent": exponent}]], [x]
    for op in ("sum", "mean", "max"):
        for axis in (None, 0, -1, (2, 0)):
            yield [[op, [0], {"axis": axis, "keepdims": axis == 0}]], [cube]
        yield [[op, [0], {"axis": 1, "keepdims": False}]], [x]
    yield [["reshape", [0], {"shape": (4, -1)}]], [cube]
    for axes in (None, (1, 2, 0), (-1, 0, 1)):
        yield [["transpose", [0], {"axes": axes}]], [cube]
    yield [["broadcast_to", [0], {"shape": (2, 3, 3)}]], [x[:, :1]]
    for index in (
        1,
        slice(None, None, -2),
        (0, Ellipsis, None, 2),
        np.array([1, 0, 1, 1]),
        (slice(None), np.array([0, 2, 0])),
    ):
        yield [["getitem", [0], {"index": index}]], [cube]
    yield [["concat", [0, 1], {"axis": -2}]], [cube, cube[:, :1]]
    for left, right in (
        (x, y),
        (x[:2], y),
        (cube, rng.normal(size=(2, 4, 3))),
        (x, cube),
        (row, row),
        (x, row),
        (row, cube),
    ):
        yield [["matmul", [0, 1], {}]], [left, right]
    yield [["mul", [0, 0], {}], ["add", [2, 0], {}], ["mul", [3, 2], {}], ["add", [2, 4], {}]], [x, y]
    yield [["add", [0, 1], {}], ["mul", [0, 0], {}], ["mul", [3, 2], {}], ["add", [2, 4], {}]], [x, y]


def suspicious(run_program, program, inputs, rng):
    """Do the gradients of a program disagree with differences of its values, or its values with NumPy?"""
    last, wrt = len(inputs) + len(program) - 1, list(range(len(inputs)))

    def value(shift):
        moved = [x + shift * step for x, step in zip(inputs, steps)]
        return np.asarray(run_program(program, moved, [last], [cotangent], wrt)[0][0])

    expected = by_numpy(program, inputs)
    cotangent = rng.normal(size=np.shape(expected))
    steps = [rng.uniform(0.25, 1, x.shape) * rng.choice([-1, 1], x.shape) for x in inputs]
    values, grads = run_program(program, inputs, [last], [cotangent], wrt)
    if [np.shape(g) for g in grads] != [x.shape for x in inputs] or not agree(values[0], expected):
        return True
    slope = ((value(1e-5) - value(-1e-5)) * cotangent).sum() / 2e-5
    return not agree(sum((g * step).sum() for g, step in zip(grads, steps)), slope)


def agree(a, b):
    return np.shape(a) == np.shape(b) and np.allclose(a, b, rtol=1e-5, atol=1e-6)


def by_numpy(program, inputs):
    """The last value of a program."""
    names = {"sub": "subtract", "mul": "multiply", "div": "divide", "neg": "negative"}
    values = list(inputs)
    for op, args, params in program:
        xs = [values[i] for i in args]
        if op == "const":
            values.append(params["value"])
        elif op == "pow":
            values.append(xs[0] ** params["exponent"])
        elif op == "getitem":
            values.append(xs[0][params["index"]])
        elif op == "reshape":
            values.append(xs[0].reshape(params["shape"]))
        elif op == "concat":
            values.append(np.concatenate(xs, **params))
        else:
            values.append(getattr(np, names.get(op, op))(*xs, **params))
    return values[-1]
    # END SOLUTION
