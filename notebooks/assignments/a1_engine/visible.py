"""The checks that you can run yourself. They are few and small on purpose: write your own beside them.

`t.rng` draws the values, `t.agree` calls your adapter and compares with the reference, within 1e-9 of the
largest entry.
"""

import numpy as np

BINARY, UNARY = ("add", "sub", "mul", "div", "maximum"), ("neg", "exp", "log", "sqrt", "tanh")
REDUCTIONS = ("sum", "mean", "max")


def _away(t, *shape):
    """Numbers between 0.5 and 2 or between -2 and -0.5."""
    return t.rng.uniform(0.5, 2, shape) * t.rng.choice([-1.0, 1.0], shape)


def _one(t, op, arrays, params, cotangent):
    """A program of one instruction on all inputs."""
    numbers, shapes = list(range(len(arrays))), ", ".join(str(x.shape) for x in arrays)
    what = f"{op}{f' {params}' if params else ''} of {shapes}: (values, grads)"
    t.agree("run_program", [[op, numbers, params]], arrays, [len(arrays)], [cotangent], numbers, what=what)


def q1_v_binary(t):
    """Operations of two inputs on equal shapes: values and gradients."""
    for shape in ((2, 3), (3,)):
        for op in BINARY:
            _one(t, op, [_away(t, *shape), _away(t, *shape)], {}, t.rng.normal(size=shape))


def q1_v_unary(t):
    """Operations of one input, and a power: values and gradients."""
    for op in UNARY:
        _one(t, op, [t.rng.uniform(0.5, 2, (3,))], {}, np.ones(3))
    _one(t, "pow", [t.rng.uniform(0.5, 2, (2, 3))], {"exponent": 2.0}, np.ones((2, 3)))


def q2_v_row(t):
    """A matrix and a row: the row's gradient is summed back."""
    for op in ("add", "mul"):
        _one(t, op, [_away(t, 2, 3), _away(t, 3)], {}, t.rng.normal(size=(2, 3)))


def q3_v_axes(t):
    """Sum, mean and max over all, over rows, over columns."""
    for op in REDUCTIONS:
        for axis, shape in ((None, ()), (0, (3,)), (1, (2,))):
            params = {"axis": axis, "keepdims": False}
            _one(t, op, [t.rng.normal(size=(2, 3))], params, t.rng.normal(size=shape))


def q4_v_moves(t):
    """Reshape, transpose, two indices and concat of small matrices."""
    x, normal = t.rng.normal(size=(2, 3)), t.rng.normal
    _one(t, "reshape", [x], {"shape": (3, 2)}, normal(size=(3, 2)))
    _one(t, "transpose", [x], {"axes": (1, 0)}, normal(size=(3, 2)))
    _one(t, "getitem", [x], {"index": 1}, normal(size=(3,)))
    _one(t, "getitem", [x], {"index": (slice(None), slice(0, 2))}, normal(size=(2, 2)))
    _one(t, "concat", [x, normal(size=(2, 3))], {"axis": 0}, normal(size=(4, 3)))


def q4_v_broadcast_to(t):
    """A row repeated to a matrix."""
    _one(t, "broadcast_to", [t.rng.normal(size=(3,))], {"shape": (2, 3)}, t.rng.normal(size=(2, 3)))


def q5_v_matrices(t):
    """A product of two matrices."""
    _one(t, "matmul", [t.rng.normal(size=(2, 3)), t.rng.normal(size=(3, 4))], {}, t.rng.normal(size=(2, 4)))


def q6_v_reuse(t):
    """A value that is used again: x * x + x."""
    x = _away(t, 2, 3)
    program = [["mul", [0, 0], {}], ["add", [1, 0], {}]]
    t.agree("run_program", program, [x], [2], [t.rng.normal(size=(2, 3))], [0], what="x * x + x: (values, grads)")


def q7_v_two_outputs(t):
    """Two outputs, one backward pass for each."""
    x, y = _away(t, 2, 3), _away(t, 2, 3)
    program = [["mul", [0, 1], {}], ["add", [0, 1], {}]]
    cotangents = [t.rng.normal(size=(2, 3)), t.rng.normal(size=(2, 3))]
    t.agree("backward_each", program, [x, y], [2, 3], cotangents, [0, 1], what="x * y and x + y in turn: grads")


def q7_v_one_program(t):
    """Accumulating over a single program."""
    x, y = _away(t, 2, 3), _away(t, 2, 3)
    program = [["mul", [0, 1], {}], ["add", [2, 1], {}]]
    t.agree("accumulate", [program], [x, y], [t.rng.normal(size=(2, 3))], [0, 1], what="one program: grads")


def q8_v_own_engine(t):
    """Without points: find_bugs on your own engine, and whether that is right here."""
    x, y, square = _away(t, 2, 3), _away(t, 3), t.rng.uniform(0.5, 2, (3, 3))
    programs = [[[op, [0, 1], {}]] for op in BINARY] + [[[op, [2], {}]] for op in UNARY]
    programs += [[[op, [0], {"axis": 0, "keepdims": False}]] for op in REDUCTIONS]
    programs += [[["matmul", [0, 2], {}]], [["transpose", [0], {"axes": (1, 0)}]]]
    programs += [[["mul", [0, 0], {}], ["add", [3, 0], {}]]]
    right = True
    for program in programs:
        op, numbers, _ = program[0]
        shape = (3,) if op in REDUCTIONS else (3, 2) if op == "transpose" else (3, 3) if numbers == [2] else (2, 3)
        args = [x, y, square], [2 + len(program)], [t.rng.normal(size=shape)], [0, 1, 2]
        right = t.right("run_program", program, *args) and right
    t.innocent("find_bugs", "run_program", right=right)
