"""The hidden checks of A1.

Every list of cases meets requirements, since most mistakes show in some shapes only: lengths that all differ, square
ones, ties, places that repeat, 3-cycles, empty axes. Checks of q1 to q5 use one instruction and each value once; those
of q6 and q7 use add and mul of one shape alone. So a mistake in one question costs that question.
"""

import itertools

import numpy as np

FORWARD = {
    **{"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "maximum": np.maximum},
    **{"neg": np.negative, "exp": np.exp, "log": np.log, "sqrt": np.sqrt, "tanh": np.tanh, "matmul": np.matmul},
    **{"sum": np.sum, "mean": np.mean, "max": np.max, "transpose": np.transpose, "broadcast_to": np.broadcast_to},
    "pow": lambda x, exponent: x**exponent,
    "reshape": lambda x, shape: x.reshape(shape),
    "getitem": lambda x, index: x[index],
    "concat": lambda *xs, axis: np.concatenate(xs, axis=axis),
}
BINARY = ("add", "sub", "mul", "div", "maximum")
EVERY = slice(None)


def _cases(t, text, low=2):
    """Cases apart by commas, the shapes of a case by spaces; `ab1` has three axes.

    a b c d are lengths from `low` to low + 3, drawn so that all differ. A digit is itself, a dot no axis.
    """
    length = dict(zip("abcd", map(int, t.rng.permutation(np.arange(low, low + 4)))))
    return [
        [tuple(length.get(x) or int(x) for x in shape if x != ".") for shape in case.split()]
        for case in text.split(",")
    ]


def _shape(t, text="ab", low=2):
    return _cases(t, text, low)[0][0]


def _away(t, shape):
    """Numbers between 0.5 and 2 or between -2 and -0.5, away from poles and kinks."""
    return t.rng.uniform(0.5, 2, shape) * t.rng.choice([-1.0, 1.0], shape)


def _normal(t, shape):
    return np.asarray(t.rng.normal(size=shape))


def _chain(t, steps, arrays):
    """Instructions (op, params), the first on all inputs, each on the last value; compared under a random cotangent."""
    program, value, count = [], None, len(arrays)
    for op, params in steps:
        args = arrays if value is None else [value]
        program.append([op, list(range(count)) if value is None else [count + len(program) - 1], params])
        value = np.asarray(FORWARD[op](*args, **params))
    said = ", then ".join(" ".join([op, *(f"{k} {v!r:.60}" for k, v in params.items())]) for op, params in steps)
    what = f"{said} of {', '.join(str(x.shape) for x in arrays)}: (values, grads)".replace("\n", "")
    last, numbers = count + len(program) - 1, list(range(count))
    t.agree("run_program", program, arrays, [last], [_normal(t, value.shape)], numbers, what=what)


def _one(t, op, arrays, **params):
    _chain(t, [(op, params)], arrays)


# q1: values and pullbacks, no stretching. One to four axes of different lengths, and a square.

SHAPES = "a, ab, abc, abcd, 33"


def q1_h_arithmetic(t):
    for [shape] in _cases(t, SHAPES):
        for op in ("add", "sub", "mul", "div"):
            _one(t, op, [_away(t, shape), _away(t, shape)])
        _one(t, "neg", [_normal(t, shape)])


def q1_h_pow(t):
    for [shape] in _cases(t, SHAPES):
        for exponent in (2.0, 3.0):
            x = _away(t, shape)
            x.flat[0] = 0.0
            _one(t, "pow", [x], exponent=exponent)
        for exponent in (-1.5, 0.5, 1.0):
            _one(t, "pow", [t.rng.uniform(0.5, 2, shape)], exponent=exponent)


def q1_h_pow_zero(t):
    x = _away(t, _shape(t))
    _one(t, "pow", [x], exponent=0.0)
    x.flat[0] = 0.0
    _one(t, "pow", [x], exponent=0.0)


def q1_h_exp_log(t):
    for [shape] in _cases(t, SHAPES):
        for op in ("exp", "tanh"):  # beyond 3 or so, 1 - y * y of tanh loses digits
            _one(t, op, [t.rng.uniform(-3, 3, shape)])
        for op in ("log", "sqrt"):
            _one(t, op, [t.rng.uniform(0.3, 3, shape)])


def q1_h_maximum(t):
    for [shape] in _cases(t, SHAPES):
        x = _away(t, shape)
        _one(t, "maximum", [x, x + _away(t, shape)])


def q1_h_maximum_tie(t):
    for [shape] in _cases(t, "ab, 33"):
        x = _away(t, shape)
        _one(t, "maximum", [x, x + np.resize([0.0, 1.0, 0.0, -1.0], shape)])
    x = _away(t, (4,))
    _one(t, "maximum", [x, x.copy()])


def q1_h_in_place(t):
    """An op that works in place spoils its argument for the next one. Only values are compared.

    No value is used twice by one instruction: see simple_way_back in the engine that students begin with.
    """
    for op in ("sub", "div", "maximum", "neg", "exp", "log", "sqrt", "tanh", "pow"):
        count, shape = 2 if op in BINARY else 1, _shape(t)
        inputs = [t.rng.uniform(0.5, 2, shape) for _ in range(count)]
        params = {"exponent": 3.0} if op == "pow" else {}
        for spoilt in range(count):
            program = [[op, list(range(count)), params], ["mul", [count, spoilt], {}]]
            args = (program, inputs, [count + 1], [_normal(t, shape)], list(range(count)))
            what = f"{op}, then an argument of it again: values"
            t.close(t.call("run_program", *args)[0], t.ref("run_program", *args)[0], what=what)


# q2: stretched arguments


def _stretched(t, text, ops=BINARY):
    for left, right in _cases(t, text):
        for op in ops:
            _one(t, op, [_away(t, left), _away(t, right)])


def q2_h_missing_axes(t):
    _stretched(t, "abc c, c bc, bc abc")


def q2_h_size_one(t):
    _stretched(t, "ab a1, 1b ab, abc a1c, a11 abc, abc b1, 1 a, 11 ab")


def q2_h_both(t):
    _stretched(t, "a1 1b, b a1, a1c 1b1, 1b1 c")


def q2_h_square(t):
    _stretched(t, "33 3, 44 41, 3 333, 31 333, 444 414, 41 14")


def q2_h_zero_d(t):
    _stretched(t, ". ab, a ., . 1, . ., 11 1")


def q2_h_empty(t):
    _stretched(t, "3 203, 03 13, 0 .", ("add", "mul"))


def q2_h_const(t):
    for [shape] in _cases(t, "ab, ."):
        for op, args, sign in itertools.product(BINARY, ([1, 0], [0, 1]), (1, -1)):
            value = sign * (float(t.rng.uniform(2.1, 3)) if shape else 3)
            program = [["const", [], {"value": value}], [op, args, {}]]
            what = f"{op} of {'a const and x' if args == [1, 0] else 'x and a const'}, x {shape}: (values, grads)"
            t.agree("run_program", program, [_away(t, shape)], [2], [_normal(t, shape)], [0], what=what)


# q3: reductions over all forms of axis, negative ones and tuples in any order, with and without keepdims


def _reductions(t, op):
    for [shape] in _cases(t, "33, abc, 213, 4, ."):
        ndim = len(shape)
        axes = [None, *range(ndim), *range(-ndim, 0), *itertools.permutations(range(ndim), 2)]
        axes += itertools.permutations(range(-ndim, 0), 2)
        axes += [(-1, 0), (0, -1), tuple(range(ndim))] if ndim > 1 else []
        for axis, keepdims in itertools.product(axes, (False, True)):
            _one(t, op, [_normal(t, shape)], axis=axis, keepdims=keepdims)


def q3_h_sum(t):
    _reductions(t, "sum")


def q3_h_mean(t):
    _reductions(t, "mean")


def q3_h_max(t):
    _reductions(t, "max")


def q3_h_sum_empty(t):
    for axis in (None, 0, 1, -1, (0, 1)):
        _one(t, "sum", [np.zeros((0, 3))], axis=axis, keepdims=False)
        _one(t, "sum", [np.zeros((2, 0))], axis=axis, keepdims=True)


def q3_h_max_tie(t):
    base = np.array([[3, 1, 3, 2], [5, 5, 5, 0], [-1, -2, -3, -4]]) * t.rng.uniform(0.5, 2)
    for axis, keepdims in itertools.product((None, 0, 1, -1, (1, 0)), (False, True)):
        _one(t, "max", [base], axis=axis, keepdims=keepdims)
        _one(t, "max", [np.full((3, 3), -1e6)], axis=axis, keepdims=keepdims)
    cube = t.rng.integers(-2, 2, (2, 3, 4)) * 1.25
    for axis in (1, (0, 2), (-1, 1), (2, 0, 1)):
        _one(t, "max", [cube], axis=axis, keepdims=False)


# q4: movement


def q4_h_reshape(t):
    a, b, c = _shape(t, "abc")
    cases = [((a, b, c), (c, -1)), ((a, b), (-1,)), ((a, b, c), (b, a * c, 1)), ((4, 4), (2, 8)), ((0, 3), (3, 0))]
    cases += [((a * b,), (a, b)), ((1, a * b), (a, b)), ((a, 1), (1, a)), ((a,), (a, 1)), ((1, a), (a,))]
    for shape, new in [*cases, ((1,), ()), ((), (1, 1))]:
        _one(t, "reshape", [_normal(t, shape)], shape=new)
    turn = ("transpose", {"axes": (1, 0)})
    _chain(t, [turn, ("reshape", {"shape": (a * b,)})], [_normal(t, (a, b))])
    _chain(t, [("reshape", {"shape": (b, a)}), turn], [_normal(t, (a, b))])
    _chain(t, [("reshape", {"shape": (2, 8)}), turn], [_normal(t, (4, 4))])


def q4_h_transpose(t):
    three = (None, (1, 2, 0), (2, 0, 1), (0, 2, 1), (-1, 0, 1), (1, -1, -3), (0, 1, 2))
    four = ((1, 2, 3, 0), (3, 1, 0, 2), (-2, -1, 0, 1), (2, 0, 3, 1), None)
    two, one = ((1, 0), (-1, -2), (-2, 1), None), (None, (0,))
    cases = [("abc", three), ("333", three), ("abcd", four), ("2222", four), ("ab", two), ("33", two), ("a", one)]
    cases += [("a1", two), ("1ab", three), ("a1b", three)]
    for text, choices in cases:
        for axes in choices:
            _one(t, "transpose", [_normal(t, _shape(t, text))], axes=axes)


def q4_h_broadcast_to(t):
    for shape, new in _cases(t, "b ab, a1 ab, a1c 2abc, . ab, 1 b, ab ab, 3 33, 31 33, 31 333, 13 03, 11 111"):
        _one(t, "broadcast_to", [_normal(t, shape)], shape=new)


def q4_h_getitem(t):
    shape = _shape(t, "abc", low=3)
    some, other = np.array([2, 0]), np.array([1, 2])
    plain = [
        1,
        -1,
        slice(1, None),
        slice(None, None, -1),
        slice(None, None, -2),
        slice(-2, None),
        slice(2, 2),
        None,
        ...,
    ]
    tuples = [
        None,
        ...,
        (..., 1),
        (None, 2),
        (slice(0, 2), None, -2),
        (1, ..., slice(None, None, -2)),
        (1, 2, 0),
        (EVERY, 1),
    ]
    arrays = [some, (EVERY, some), (..., some), (some, other), (some[:, None], other), (some, EVERY, other)]
    arrays += [(0, EVERY, some), np.array([[0], [-2]]), (None, some, ...), (some, slice(None, None, -1)), some[:0]]
    for index in plain + tuples + arrays:
        _one(t, "getitem", [_normal(t, shape)], index=index)
    for index in (slice(None, None, -1), (EVERY, 1), np.array([2, 0, 1])):
        _one(t, "getitem", [_normal(t, (3, 3))], index=index)
        _chain(t, [("transpose", {"axes": (2, 0, 1)}), ("getitem", {"index": index})], [_normal(t, (3, 4, 5))])


def q4_h_getitem_twice(t):
    shape = _shape(t, "abc", low=3)
    again, other = np.array([1, 0, 1, 1]), np.array([2, 1, 2, 0])
    indices = [again, (EVERY, again), (..., again), (again, other), (again, EVERY, other), (again[:, None], other)]
    indices += [np.array([shape[0] - 1, -1]), (0, np.array([[2, 2], [0, 2]])), (again, None, 1)]
    for index in [*indices, (slice(None, None, -1), again, slice(1, None))]:
        _one(t, "getitem", [_normal(t, shape)], index=index)
    _one(t, "getitem", [_normal(t, (3,))], index=t.rng.integers(0, 3, 7))


def q4_h_concat(t):
    for axis, text in (
        (0, "a, ab cb, ab 0b cb, 33 33, 0 a"),
        (1, "ab ac, a0b acb, 33 33 33, 333 333"),
        (2, "ab2 ab1 ab3"),
        (-1, "ab ac a1, 0 a b, 33 33"),
        (-2, "abc a1c, 33 33"),
        (-3, "ab2 bb2"),
    ):
        for shapes in _cases(t, text):
            _one(t, "concat", [_normal(t, shape) for shape in shapes], axis=axis)


# q5: products


def _products(t, text):
    for left, right in _cases(t, text):
        _one(t, "matmul", [_normal(t, left), _normal(t, right)])


def q5_h_matmul(t):
    _products(t, "33 33, 333 333, ab bc, 1b bc, a1 1c, dab dbc, 2dab 2dbc")


def q5_h_matmul_broadcast(t):
    _products(t, "333 33, 33 333, 3133 333, 2134 542, ab dbc, dab bc, 1ab dbc, dab 1bc, d1ab dbc")


def q5_h_matmul_vector(t):
    _products(t, "3 33, 33 3, 3 333, 333 3, a a, a ab, ba a, a cab, cba a, 2cba a, a 2cab, 1 1")


def q5_h_matmul_empty(t):
    _products(t, "a0 0b, 0 0, 2a0 0b")


# q6 and q7: graphs of add and mul, all values of one shape


def _program(text):
    """Instructions apart by commas: `mul 0 1, add 2 0`."""
    return [[op, [int(a), int(b)], {}] for op, a, b in (step.split() for step in text.split(","))]


def _graph(t, text, arrays, outputs, cotangents, wrt, what=None):
    what = f"{what or text}: (values, grads)"
    t.agree("run_program", _program(text), arrays, outputs, cotangents, wrt, what=what)


def _random_program(t, steps):
    """add and mul of earlier values from three inputs; what is left over is added up, so that every value matters.

    One value is used twice by one instruction, and paths of different lengths meet. Degrees stay small, so that no
    value explodes.
    """
    degrees, words, used = [1, 1, 1], [], set()

    def append(op, a, b):
        words.append(f"{op} {a} {b}")
        degrees.append(degrees[a] + degrees[b] if op == "mul" else max(degrees[a], degrees[b]))
        used.update((a, b))

    append("mul", 0, 0)
    append("add", 3, 1)
    while len(words) < steps:
        a, b = (int(i) for i in t.rng.integers(0, len(degrees), 2))
        append("mul" if degrees[a] + degrees[b] <= 6 and t.rng.random() < 0.5 else "add", a, b)
    while len(free := [i for i in range(len(degrees)) if i not in used]) > 1:
        append("add", free[-1], free[0])
    return ", ".join(words)


def q6_h_reuse(t):
    for [shape] in _cases(t, "33" + 11 * ",ab"):
        arrays = [_away(t, shape) for _ in range(3)]
        text = _random_program(t, int(t.rng.integers(4, 11)))
        _graph(t, text, arrays, [3 + text.count(",")], [_normal(t, shape)], [0, 1, 2])


def q6_h_skip(t):
    """A value whose last gradient comes by the longest path, with either order of arguments."""
    for text in (
        "mul 0 1, mul 2 0, add 3 2, mul 4 0, add 5 2, mul 6 2",
        "mul 0 1, mul 0 2, add 2 3, mul 0 4, add 2 5, mul 2 6",
        "add 0 1, mul 2 2, add 3 0, mul 2 4, add 0 5, add 1 6",
    ):
        shape = _shape(t)
        _graph(t, text, [_away(t, shape), _away(t, shape)], [7], [_normal(t, shape)], [0, 1])


def q6_h_aliasing(t):
    """add hands one array to both arguments: adding into it changes the other's gradient, or the cotangent."""
    shape = _shape(t)
    x, y, g, h = (_away(t, shape) for _ in range(4))
    _graph(t, "mul 0 0, add 0 1, add 3 2", [x, y], [4], [g], [0, 1])
    _graph(t, "mul 1 1, add 0 1, add 2 3", [x, y], [4], [g], [0, 1])
    _graph(t, "add 0 0", [x], [1], [g], [0])
    _graph(t, "add 0 0, add 1 0, add 2 2", [x], [3], [g], [0])
    _graph(
        t, "add 0 1, mul 0 1, add 2 0", [x, y], [2, 3, 4], [g, g, g], [0, 1], "three outputs, one array as cotangents"
    )
    _graph(t, "mul 0 1, add 2 0", [x, x], [3], [h], [0, 1], "the same array as both inputs")
    _graph(t, "add 0 1", [x, y], [2, 0, 1], [g, h, g], [0, 1], "x + y, x and y as outputs")
    _graph(t, "mul 0 1, add 2 1", [x, y], [3], [x], [0, 1], "an input as cotangent")


def q6_h_deep(t):
    x, sign = _away(t, (2,)), t.rng.choice([-1.0, 1.0], 2)
    steps = (f"{'mul' if k % 2 else 'add'} {k + 1 if k else 0} {k % 2}" for k in range(5000))  # v + x, v * sign, ...
    _graph(t, ",".join(steps), [x, sign], [5001], [_normal(t, (2,))], [0, 1], "5,000 instructions in a row")


def q6_h_exponential(t):
    text = ", ".join(f"add {k} {k}" for k in range(60))
    _graph(t, text, [_away(t, (2,))], [60], [_normal(t, (2,))], [0], "60 times x + x")


def q6_h_unused(t):
    a, b, c = _shape(t, "abc")
    x, y, z, g = (_away(t, shape) for shape in ((a, b), (a, b), (c,), (a, b)))
    _graph(t, "mul 0 0", [x, z], [2], [g], [0, 1], "an input that nobody uses")
    _graph(t, "mul 0 1, mul 2 1, add 3 0", [x, y], [2], [g], [0, 1], "values that do not lead to the output")
    _graph(t, "mul 1 1, add 0 0, mul 2 2", [x, y], [3], [g], [0, 1], "an input that the output does not depend on")
    _graph(t, "mul 0 1, add 0 0, mul 2 3", [x, y], [4, 3], [None, g], [0, 1], "an output without gradient")
    _graph(t, "mul 2 2", [x, y, z], [3, 0], [None, g], [2, 1, 0], "an output without gradient, and an input")


def q6_h_outputs(t):
    """Other inputs each time: an engine that keeps a program's values from one call to the next gives old ones."""
    shape = _shape(t)
    g, h, k = (_away(t, shape) for _ in range(3))
    for outputs, cotangents, wrt, what in (
        ([5, 4], [g, h], [0, 1, 2], "an output and what it is made of"),
        ([3, 5], [g, h], [0, 1, 2], "outputs in the order of the program"),
        ([5, 5], [g, h], [0, 1, 2], "an output asked for twice"),
        ([0, 4], [g, h], [0, 1, 2], "an input as output"),
        ([1, 1, 1], [g, None, h], [1, 0], "an input as output, twice"),
        ([3, 4, 5], [None, g, None], [2, 0], "one output of three has a gradient"),
        ([5], [g], [2, 0, 1], "wrt in another order"),
        ([5, 3, 0], [g, h, k], [1], "wrt one input alone"),
    ):
        x, y, z = (_away(t, shape) for _ in range(3))
        _graph(t, "mul 0 1, add 3 2, mul 4 3", [x, y, z], outputs, cotangents, wrt, what)


def q7_h_each(t):
    program = _program("mul 0 1, add 3 0, mul 4 3, add 5 2, mul 6 4")
    for [shape] in _cases(t, "ab, 33"):
        inputs, cotangents = [_away(t, shape) for _ in range(3)], [_normal(t, shape) for _ in range(4)]
        for outputs, wrt in (([4, 5, 6, 7], [0, 1, 2]), ([7, 6, 5, 4], [2, 0, 1]), ([5, 3, 0, 5], [1, 2, 0])):
            what = "four outputs in turn: grads"
            t.agree("backward_each", program, inputs, outputs, cotangents, wrt, what=what)


def q7_h_each_alike(t):
    shape = _shape(t)
    x, y, g = (_away(t, shape) for _ in range(3))
    args = (_program("add 0 1, mul 2 0, add 3 2"), [x, y], [4, 4, 2, 4], [g] * 4, [0, 1])
    t.agree("backward_each", *args, what="one output and one cotangent several times: grads")


def q7_h_accumulate(t):
    pieces = [_program(text) for text in ("mul 0 1, add 3 0", "add 1 2", "mul 0 0, add 0 1, mul 3 4")]
    for [shape] in _cases(t, "ab, 33"):
        inputs, cotangents = [_away(t, shape) for _ in range(3)], [_normal(t, shape) for _ in range(3)]
        for order in ([0, 1, 2], [2, 1, 0], [1, 0, 1]):
            programs = [pieces[k] for k in order]
            what = "three programs on the same inputs: grads"
            t.agree("accumulate", programs, inputs, cotangents, [0, 1, 2], what=what)
        what = "the same program and cotangent twice: grads"
        t.agree("accumulate", [pieces[1]] * 2, inputs, cotangents[:1] * 2, [2, 0], what=what)


# q8: the student's own tests


def q8_h_catches(t):
    t.catches("find_bugs", "run_program")
