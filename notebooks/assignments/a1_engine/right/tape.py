"""Another way: a tape of numbers. Values and gradients lie in two lists, and the tape says who was made of whom."""

import numpy as np


def fitted(g, shape):
    """g summed to shape: np.einsum over the axes that were stretched."""
    g = np.asarray(g)
    if g.shape == shape:
        return g
    extra = g.ndim - len(shape)
    keep = [a for a in range(g.ndim) if a >= extra and not (shape[a - extra] == 1 and g.shape[a] != 1)]
    return np.einsum(g, list(range(g.ndim)), keep).reshape(shape)


def widen(g, x, p):
    axis = p["axis"]
    if axis is None:
        axis = tuple(range(x.ndim))
    elif isinstance(axis, int):
        axis = (axis,)
    if not p["keepdims"]:
        for a in sorted(a % x.ndim for a in axis):
            g = np.expand_dims(g, a)
    count = 1
    for a in axis:
        count *= x.shape[a]
    return g, axis, count


def of_max(g, x, p):
    g, axis, _ = widen(g, x, p)
    top = x == np.amax(x, axis=axis, keepdims=True)
    return np.where(top, g / np.count_nonzero(top, axis=axis, keepdims=True), 0.0)


def of_getitem(g, x, p):
    out = np.zeros_like(x)
    np.add.at(out, p["index"], g)
    return out


def of_concat(g, xs, y, p):
    axis, stops = p["axis"] % g.ndim, np.cumsum([x.shape[p["axis"]] for x in xs])
    cut = lambda a, b: g[tuple(slice(a, b) if k == axis else slice(None) for k in range(g.ndim))]
    return [cut(b - x.shape[axis], b) for x, b in zip(xs, stops)]


def of_matmul(g, xs, y, p):
    x, w = xs
    if x.ndim == 1 and w.ndim == 1:
        return g * w, g * x
    if x.ndim == 1:
        return (w * g[..., None, :]).sum(-1), x[:, None] * g[..., None, :]
    if w.ndim == 1:
        return g[..., :, None] * w, (x * g[..., :, None]).sum(-2)
    return np.matmul(g, np.swapaxes(w, -1, -2)), np.matmul(np.swapaxes(x, -1, -2), g)


def first(f):
    return lambda g, xs, y, p: (f(g, xs[0], p),)


# op: value of (arguments, params); gradients of (g, arguments, value, params)
RULES = {
    "const": (lambda xs, p: np.float64(p["value"]), lambda g, xs, y, p: ()),
    "add": (lambda xs, p: xs[0] + xs[1], lambda g, xs, y, p: (g, g)),
    "sub": (lambda xs, p: xs[0] - xs[1], lambda g, xs, y, p: (g, -g)),
    "mul": (lambda xs, p: xs[0] * xs[1], lambda g, xs, y, p: (xs[1] * g, xs[0] * g)),
    "div": (lambda xs, p: xs[0] / xs[1], lambda g, xs, y, p: (g / xs[1], -g * y / xs[1])),
    "maximum": (
        lambda xs, p: np.where(xs[0] > xs[1], xs[0], xs[1]),
        lambda g, xs, y, p: (
            g * ((xs[0] > xs[1]) + 0.5 * (xs[0] == xs[1])),
            g * ((xs[0] < xs[1]) + 0.5 * (xs[0] == xs[1])),
        ),
    ),
    "neg": (lambda xs, p: -xs[0], lambda g, xs, y, p: (-g,)),
    "exp": (lambda xs, p: np.exp(xs[0]), lambda g, xs, y, p: (g * y,)),
    "log": (lambda xs, p: np.log(xs[0]), lambda g, xs, y, p: (g / xs[0],)),
    "sqrt": (lambda xs, p: xs[0] ** 0.5, lambda g, xs, y, p: (0.5 * g * xs[0] ** -0.5,)),
    "tanh": (lambda xs, p: np.tanh(xs[0]), lambda g, xs, y, p: (g - g * y**2,)),
    "pow": (
        lambda xs, p: xs[0] ** p["exponent"],
        lambda g, xs, y, p: (p["exponent"] * (g * xs[0] ** (p["exponent"] - 1)) if p["exponent"] else g * 0,),
    ),
    "sum": (
        lambda xs, p: np.sum(xs[0], axis=p["axis"], keepdims=p["keepdims"]),
        first(lambda g, x, p: widen(g, x, p)[0] + np.zeros(x.shape)),
    ),
    "mean": (
        lambda xs, p: np.mean(xs[0], axis=p["axis"], keepdims=p["keepdims"]),
        first(lambda g, x, p: widen(g, x, p)[0] / widen(g, x, p)[2] + np.zeros(x.shape)),
    ),
    "max": (lambda xs, p: np.amax(xs[0], axis=p["axis"], keepdims=p["keepdims"]), first(of_max)),
    "reshape": (lambda xs, p: np.reshape(xs[0], p["shape"]), first(lambda g, x, p: np.reshape(g, x.shape))),
    "transpose": (
        lambda xs, p: np.transpose(xs[0], p["axes"]),
        first(
            lambda g, x, p: np.transpose(
                g, p["axes"] and [[a % x.ndim for a in p["axes"]].index(k) for k in range(x.ndim)]
            )
        ),
    ),
    "broadcast_to": (lambda xs, p: np.broadcast_to(xs[0], p["shape"]), lambda g, xs, y, p: (g,)),
    "getitem": (lambda xs, p: xs[0][p["index"]], first(of_getitem)),
    "concat": (lambda xs, p: np.concatenate(xs, axis=p["axis"]), of_concat),
    "matmul": (lambda xs, p: np.matmul(*xs), of_matmul),
}


def play(program, inputs):
    tape = [("input", [], {})] * len(inputs) + [(op, list(args), params) for op, args, params in program]
    values = list(inputs)
    for op, args, params in program:
        values.append(RULES[op][0]([values[i] for i in args], params))
    return tape, values


def rewind(tape, values, seeds, grads=None):
    """grads: a list to begin with, None where nothing has come."""
    grads = [None] * len(values) if grads is None else grads
    for place, g in seeds:
        grads[place] = g if grads[place] is None else grads[place] + g
    for place in range(len(tape) - 1, -1, -1):
        op, args, params = tape[place]
        if grads[place] is None or op == "input":
            continue
        sent = RULES[op][1](grads[place], [values[i] for i in args], values[place], params)
        for i, g in zip(args, sent):
            g = fitted(g, np.shape(values[i]))
            grads[i] = g if grads[i] is None else grads[i] + g
    return grads


def run_program(program, inputs, outputs, cotangents, wrt):
    tape, values = play(program, inputs)
    grads = rewind(tape, values, [(i, g) for i, g in zip(outputs, cotangents) if g is not None])
    return tuple(values[i] for i in outputs), [
        np.zeros(np.shape(inputs[j])) if grads[j] is None else grads[j] for j in wrt
    ]


def backward_each(program, inputs, outputs, cotangents, wrt):
    return [run_program(program, inputs, [i], [g], wrt)[1] for i, g in zip(outputs, cotangents)]


def accumulate(programs, inputs, cotangents, wrt):
    kept = [None] * len(inputs)
    for program, g in zip(programs, cotangents):
        tape, values = play(program, inputs)
        kept = rewind(tape, values, [(len(values) - 1, g)], kept + [None] * len(program))[: len(inputs)]
    return [np.zeros(np.shape(inputs[j])) if kept[j] is None else kept[j] for j in wrt]


def find_bugs(run):
    """Directional differences in complex-free style: one random direction for each of many small programs."""
    rng = np.random.default_rng(11)
    number = lambda *shape: rng.uniform(0.6, 1.9, shape)
    a, b, cube = number(3, 4), number(3, 4) + 2, rng.normal(size=(2, 3, 4))
    programs = [
        ([[op, order, {}]], [a, b]) for op in ("add", "sub", "mul", "div", "maximum") for order in ([0, 1], [1, 0])
    ]
    programs += [([[op, [0, 1], {}]], [b, number(*s)]) for op in ("add", "mul", "div") for s in ((4,), (3, 1), ())]
    programs += [([[op, [0], {}]], [a]) for op in ("neg", "exp", "log", "sqrt", "tanh")]
    programs += [([["pow", [0], {"exponent": e}]], [a]) for e in (3.0, 0.5)]
    for op in ("sum", "mean", "max"):
        programs += [([[op, [0], {"axis": x, "keepdims": x == 1}]], [cube]) for x in (None, 0, 1, -1, (2, 0))]
    programs += [([["reshape", [0], {"shape": (6, 4)}]], [cube]), ([["broadcast_to", [0], {"shape": (2, 3, 4)}]], [a])]
    programs += [([["transpose", [0], {"axes": x}]], [cube]) for x in (None, (1, 2, 0), (0, 2, 1))]
    programs += [([["getitem", [0], {"index": i}]], [cube]) for i in (1, (0, slice(1, 3)), np.array([0, 1, 1, 0, 0]))]
    programs += [([["concat", [0, 1], {"axis": x}]], [a, b]) for x in (0, 1)]
    programs += [([["matmul", [0, 1], {}]], [a, number(*s)]) for s in ((4, 2), (4,), (2, 4, 3))]
    programs += [([["matmul", [0, 1], {}]], [number(3, 3), number(3, 3)]), ([["matmul", [0, 1], {}]], [number(3), a])]
    programs += [([["mul", [0, 1], {}], ["add", [2, 0], {}], ["mul", [3, 2], {}], ["sub", [4, 0], {}]], [a, b])]
    for program, inputs in programs:
        last, wrt = len(inputs) + len(program) - 1, list(range(len(inputs)))
        g = rng.normal(size=np.shape(play(program, inputs)[1][-1]))
        way = [rng.normal(size=x.shape) for x in inputs]
        try:
            value, grads = run(program, inputs, [last], [g], wrt)
            up = run(program, [x + 1e-6 * d for x, d in zip(inputs, way)], [last], [g], wrt)[0][0]
            down = run(program, [x - 1e-6 * d for x, d in zip(inputs, way)], [last], [g], wrt)[0][0]
            slope = np.vdot(g, np.subtract(up, down)) / 2e-6
            told = sum(np.vdot(d, dx) for d, dx in zip(way, grads))
        except Exception:
            return True
        if not np.allclose(value[0], play(program, inputs)[1][-1]) or abs(slope - told) > 1e-5 * (1 + abs(slope)):
            return True
    return False
