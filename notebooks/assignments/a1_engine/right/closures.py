"""Another way: every value carries a closure that hands its gradient on. `.grad` adds up in new arrays."""

import numpy as np


class Var:
    born = 0

    def __init__(self, data, sources=(), send=None):
        self.data, self.sources, self.send, self.grad = np.asarray(data, dtype=np.float64), sources, send, None
        Var.born += 1
        self.rank = Var.born

    def receive(self, g):
        """A gradient of any shape that self.data was stretched to."""
        g = np.asarray(g)
        while g.ndim > self.data.ndim:
            g = np.add.reduce(g, axis=0)
        for axis in range(g.ndim):
            if self.data.shape[axis] == 1 and g.shape[axis] != 1:
                g = np.expand_dims(np.add.reduce(g, axis=axis), axis)
        self.grad = g.copy() if self.grad is None else self.grad + g


def unary(value, slope):
    def make(x, **params):
        y = value(x.data, **params)

        def send(g):
            x.receive(np.multiply(g, slope(x.data, y, **params)))

        return Var(y, (x,), send)

    return make


def binary(value, slope_x, slope_y):
    def make(x, y):
        def send(g):
            x.receive(slope_x(x.data, y.data) * g)
            y.receive(slope_y(x.data, y.data) * g)

        return Var(value(x.data, y.data), (x, y), send)

    return make


def power_slope(x, y, exponent):
    return np.zeros_like(x) if exponent == 0 else exponent * np.power(x, exponent - 1)


def heaviside(x, y):
    return (np.sign(x - y) + 1) / 2


def reduced(axis, ndim):
    if axis is None:
        return set(range(ndim))
    return {a + ndim if a < 0 else a for a in ([axis] if isinstance(axis, int) else axis)}


def reduction(value, share):
    def make(x, axis, keepdims):
        gone = reduced(axis, x.data.ndim)
        y = value(x.data, axis=tuple(sorted(gone)), keepdims=True)

        def send(g):
            x.receive(np.asarray(g).reshape(y.shape) * share(x.data, y, tuple(gone)))

        kept = [n for a, n in enumerate(x.data.shape) if a not in gone]
        return Var(y if keepdims else y.reshape(kept), (x,), send)

    return make


def max_share(x, y, gone):
    hits = np.equal(x, y).astype(float)
    return hits / hits.sum(axis=gone, keepdims=True)


def reshape(x, shape):
    return Var(np.reshape(x.data, shape), (x,), lambda g: x.receive(np.reshape(g, x.data.shape)))


def transpose(x, axes):
    order = list(range(x.data.ndim))[::-1] if axes is None else [range(x.data.ndim)[a] for a in axes]

    def send(g):
        x.receive(np.moveaxis(g, range(len(order)), order))

    return Var(np.transpose(x.data, order), (x,), send)


def broadcast_to(x, shape):
    return Var(x.data + np.zeros(shape), (x,), x.receive)


def getitem(x, index):
    numbers = np.arange(x.data.size).reshape(x.data.shape)[index]  # which element stands where

    def send(g):
        counts = np.bincount(np.ravel(numbers), weights=np.ravel(g), minlength=x.data.size)
        x.receive(counts.reshape(x.data.shape))

    return Var(x.data[index], (x,), send)


def concat(*xs, axis):
    def send(g):
        start = 0
        for x in xs:
            stop = start + x.data.shape[axis]
            x.receive(np.moveaxis(np.moveaxis(g, axis, 0)[start:stop], 0, axis))
            start = stop

    return Var(np.concatenate([x.data for x in xs], axis), xs, send)


def matmul(x, y):
    a, b = x.data, y.data

    def send(g):
        if a.ndim == 1 and b.ndim == 1:
            x.receive(g * b)
            y.receive(g * a)
        elif a.ndim == 1:
            x.receive(np.einsum("...m,...km->...k", g, b))
            y.receive(np.einsum("k,...m->...km", a, g))
        elif b.ndim == 1:
            x.receive(np.einsum("...n,k->...nk", g, b))
            y.receive(np.einsum("...nk,...n->...k", a, g))
        else:
            x.receive(np.einsum("...nm,...km->...nk", g, b))
            y.receive(np.einsum("...nk,...nm->...km", a, g))

    return Var(np.matmul(a, b), (x, y), send)


OPS = {
    "add": binary(np.add, lambda x, y: 1.0, lambda x, y: 1.0),
    "sub": binary(np.subtract, lambda x, y: 1.0, lambda x, y: -1.0),
    "mul": binary(np.multiply, lambda x, y: y, lambda x, y: x),
    "div": binary(np.divide, lambda x, y: 1 / y, lambda x, y: -x / y**2),
    "maximum": binary(np.maximum, heaviside, lambda x, y: heaviside(y, x)),
    "neg": unary(np.negative, lambda x, y: -1.0),
    "exp": unary(np.exp, lambda x, y: y),
    "log": unary(np.log, lambda x, y: 1 / x),
    "sqrt": unary(np.sqrt, lambda x, y: 0.5 / y),
    "tanh": unary(np.tanh, lambda x, y: 1 / np.cosh(x) ** 2),
    "pow": unary(lambda x, exponent: np.power(x, exponent), power_slope),
    "sum": reduction(np.sum, lambda x, y, gone: np.ones_like(x)),
    "mean": reduction(np.mean, lambda x, y, gone: np.ones_like(x) / np.prod([x.shape[a] for a in gone])),
    "max": reduction(np.max, max_share),
    "reshape": reshape,
    "transpose": transpose,
    "broadcast_to": broadcast_to,
    "getitem": getitem,
    "concat": concat,
    "matmul": matmul,
}


def forward(program, leaves):
    values = list(leaves)
    for op, args, params in program:
        values.append(Var(params["value"]) if op == "const" else OPS[op](*[values[i] for i in args], **params))
    return values


def backward(outputs, cotangents):
    family, stack = {}, [y for y, g in zip(outputs, cotangents) if g is not None]
    for y, g in zip(outputs, cotangents):
        if g is not None:
            y.receive(g)
    while stack:
        y = stack.pop()
        if y.rank not in family:
            family[y.rank] = y
            stack.extend(y.sources)
    for rank in sorted(family, reverse=True):
        y = family[rank]
        if y.send is not None:
            y.send(y.grad)
            y.grad = None


def grads_of(leaves, wrt):
    return tuple(np.zeros(leaves[j].data.shape) if leaves[j].grad is None else leaves[j].grad for j in wrt)


def run_program(program, inputs, outputs, cotangents, wrt):
    leaves = [Var(x) for x in inputs]
    values = forward(program, leaves)
    backward([values[i] for i in outputs], cotangents)
    return [values[i].data for i in outputs], grads_of(leaves, wrt)


def backward_each(program, inputs, outputs, cotangents, wrt):
    leaves = [Var(x) for x in inputs]
    values, found = forward(program, leaves), []
    for i, g in zip(outputs, cotangents):
        for leaf in leaves:
            leaf.grad = None
        backward([values[i]], [g])
        found.append(grads_of(leaves, wrt))
    return found


def accumulate(programs, inputs, cotangents, wrt):
    leaves = [Var(x) for x in inputs]
    for program, g in zip(programs, cotangents):
        backward([forward(program, leaves)[-1]], [g])
    return grads_of(leaves, wrt)


def find_bugs(run):
    """Compare with the engine above, on every op and on graphs."""
    rng = np.random.default_rng(3)

    def positive(*shape):
        return rng.uniform(0.5, 2, shape)

    cases = [([[op, [0], {}]], [positive(3, 2)]) for op in ("neg", "exp", "log", "sqrt", "tanh")]
    for op in ("add", "sub", "mul", "div", "maximum"):
        cases += [
            ([[op, [0, 1], {}]], [positive(*a), positive(*b)]) for a in ((3,), (2, 3), (2, 1)) for b in ((2, 3), (3,))
        ]
    cases += [([["pow", [0], {"exponent": p}]], [positive(2, 3)]) for p in (2.0, -1.5, 0.0)]
    for op in ("sum", "mean", "max"):
        for axis in (None, 0, -1, (0, 2)):
            cases += [([[op, [0], {"axis": axis, "keepdims": k}]], [rng.normal(size=(3, 2, 3))]) for k in (True, False)]
    x = rng.normal(size=(2, 3, 4))
    for op, params in (
        ("reshape", {"shape": (4, 6)}),
        ("transpose", {"axes": (2, 0, 1)}),
        ("transpose", {"axes": None}),
        ("broadcast_to", {"shape": (2, 2, 3, 4)}),
        ("getitem", {"index": (slice(None), np.array([1, 1, 2]))}),
        ("getitem", {"index": (0, slice(None, None, -1))}),
        ("sum", {"axis": (1, 2), "keepdims": False}),
    ):
        cases.append(([[op, [0], params]], [x]))
    cases.append(([["concat", [0, 1], {"axis": 1}]], [x, rng.normal(size=(2, 2, 4))]))
    for a, b in (((2, 3), (3, 4)), ((3,), (3, 4)), ((2, 3), (3,)), ((5, 2, 3), (3, 4)), ((3, 3), (3, 3))):
        cases.append(([["matmul", [0, 1], {}]], [rng.normal(size=a), rng.normal(size=b)]))
    cases.append(([["mul", [0, 0], {}], ["add", [1, 0], {}], ["mul", [2, 1], {}], ["tanh", [3], {}]], [positive(3)]))
    for program, inputs in cases:
        last, wrt = len(inputs) + len(program) - 1, list(range(len(inputs)))
        cotangent = rng.normal(size=forward(program, [Var(v) for v in inputs])[-1].data.shape)
        want = run_program(program, inputs, [last], [cotangent], wrt)
        try:
            got = run(program, inputs, [last], [cotangent], wrt)
        except Exception:
            return True
        for a, b in zip([*got[0], *got[1]], [*want[0], *want[1]]):
            if np.shape(a) != np.shape(b) or not np.allclose(a, b):
                return True
    return False
