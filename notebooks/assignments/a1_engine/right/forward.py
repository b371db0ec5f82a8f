"""Another way: no backward pass at all. Every value carries its derivatives by all input entries, on a last axis.

What moves or adds entries does the same to the derivatives; grads are a product of these with the cotangents.
"""

import numpy as np


class Dual:
    """value: an array.   slopes: its shape + (number of all input entries,)."""

    def __init__(self, value, slopes):
        self.value, self.slopes = value, slopes


def along(x, shape):
    """Derivatives of x as they are after NumPy stretched it to shape."""
    missing = len(shape) - x.slopes.ndim + 1
    return x.slopes.reshape((1,) * missing + x.slopes.shape)


def both(value, x, y, dx, dy):
    shape = np.shape(value)
    slopes = np.asarray(dx)[..., None] * along(x, shape) + np.asarray(dy)[..., None] * along(y, shape)
    return Dual(value, np.broadcast_to(slopes, (*shape, x.slopes.shape[-1])))


def one(value, x, dx):
    return Dual(value, np.asarray(dx)[..., None] * x.slopes)


def add(x, y):
    return both(x.value + y.value, x, y, 1.0, 1.0)


def sub(x, y):
    return both(x.value - y.value, x, y, 1.0, -1.0)


def mul(x, y):
    return both(x.value * y.value, x, y, y.value, x.value)


def div(x, y):
    return both(x.value / y.value, x, y, 1 / y.value, -x.value / (y.value * y.value))


def maximum(x, y):
    left = np.where(x.value == y.value, 0.5, np.where(x.value > y.value, 1.0, 0.0))
    return both(np.maximum(x.value, y.value), x, y, left, 1 - left)


def power(x, exponent):
    slope = np.zeros(np.shape(x.value)) if exponent == 0 else exponent * x.value ** (exponent - 1)
    return one(x.value**exponent, x, slope)


def axes_of(axis, ndim):
    return tuple(range(ndim)) if axis is None else tuple(a % ndim for a in ((axis,) if isinstance(axis, int) else axis))


def total(x, axis, keepdims):
    axis = axes_of(axis, np.ndim(x.value))
    return Dual(np.sum(x.value, axis=axis, keepdims=keepdims), np.sum(x.slopes, axis=axis, keepdims=keepdims))


def mean(x, axis, keepdims):
    axis = axes_of(axis, np.ndim(x.value))
    return Dual(np.mean(x.value, axis=axis, keepdims=keepdims), np.mean(x.slopes, axis=axis, keepdims=keepdims))


def largest(x, axis, keepdims):
    axis = axes_of(axis, np.ndim(x.value))
    hit = x.value == np.max(x.value, axis=axis, keepdims=True)
    weight = hit / np.sum(hit, axis=axis, keepdims=True)
    slopes = np.sum(weight[..., None] * x.slopes, axis=axis, keepdims=keepdims)
    return Dual(np.max(x.value, axis=axis, keepdims=keepdims), slopes)


def reshape(x, shape):
    value = np.reshape(x.value, shape)
    return Dual(value, x.slopes.reshape(*value.shape, x.slopes.shape[-1]))


def transpose(x, axes):
    order = list(range(x.value.ndim))[::-1] if axes is None else [a % x.value.ndim for a in axes]
    return Dual(x.value.transpose(order), x.slopes.transpose([*order, x.value.ndim]))


def broadcast_to(x, shape):
    return Dual(np.broadcast_to(x.value, shape), np.broadcast_to(along(x, shape), (*shape, x.slopes.shape[-1])))


def getitem(x, index):
    numbers = np.arange(np.size(x.value)).reshape(np.shape(x.value))[index]
    count = x.slopes.shape[-1]
    return Dual(x.value[index], x.slopes.reshape(-1, count)[np.ravel(numbers)].reshape(*np.shape(numbers), count))


def concat(*xs, axis):
    axis = axis % xs[0].value.ndim
    return Dual(np.concatenate([x.value for x in xs], axis), np.concatenate([x.slopes for x in xs], axis))


def matmul(x, y):
    a, b = x.value, y.value
    da, db = np.moveaxis(x.slopes, -1, 0), np.moveaxis(y.slopes, -1, 0)
    # the axis of derivatives stands before all leading axes
    lead = max(a.ndim - 2, b.ndim - 2, 0)
    if a.ndim == 1 and b.ndim == 1:
        slopes = da @ b + db @ a
    elif a.ndim == 1:
        slopes = (pad(da, 1, lead)[..., None, :] @ b)[..., 0, :] + (a @ pad(db, 2, lead))
    elif b.ndim == 1:
        slopes = pad(da, 2, lead) @ b + (a @ pad(db, 1, lead)[..., :, None])[..., 0]
    else:
        slopes = pad(da, 2, lead) @ b + a @ pad(db, 2, lead)
    value = a @ b
    return Dual(value, np.broadcast_to(np.moveaxis(slopes, 0, -1), (*np.shape(value), da.shape[0])))


def pad(d, core, lead):
    """Derivatives (count, leading axes, core) with leading axes filled up to `lead`."""
    have = d.ndim - 1 - core
    return d.reshape(d.shape[0], *(1,) * (lead - have), *d.shape[1:])


OPS = {
    **{"add": add, "sub": sub, "mul": mul, "div": div, "maximum": maximum, "pow": power},
    **{"sum": total, "mean": mean, "max": largest, "reshape": reshape, "transpose": transpose},
    **{"broadcast_to": broadcast_to, "getitem": getitem, "concat": concat, "matmul": matmul},
    "neg": lambda x: one(-x.value, x, -1.0),
    "exp": lambda x: one(np.exp(x.value), x, np.exp(x.value)),
    "log": lambda x: one(np.log(x.value), x, 1 / x.value),
    "sqrt": lambda x: one(np.sqrt(x.value), x, 0.5 / np.sqrt(x.value)),
    "tanh": lambda x: one(np.tanh(x.value), x, 1 - np.tanh(x.value) ** 2),
}


def run(program, inputs):
    count = sum(x.size for x in inputs)
    eye, start, values = np.eye(count), 0, []
    for x in inputs:
        values.append(Dual(x, eye[start : start + x.size].reshape(*x.shape, count)))
        start += x.size
    for op, args, params in program:
        if op == "const":
            values.append(Dual(np.array(float(params["value"])), np.zeros(count)))
        else:
            values.append(OPS[op](*[values[i] for i in args], **params))
    return values


def pulled(value, g, inputs, wrt):
    flat, ends = np.tensordot(g, value.slopes, np.ndim(g)), np.cumsum([x.size for x in inputs])
    return [flat[ends[j] - inputs[j].size : ends[j]].reshape(inputs[j].shape) for j in wrt]


def total_of(parts, inputs, wrt):
    return [sum([part[k] for part in parts], np.zeros(inputs[j].shape)) for k, j in enumerate(wrt)]


def run_program(program, inputs, outputs, cotangents, wrt):
    values = run(program, inputs)
    parts = [pulled(values[i], g, inputs, wrt) for i, g in zip(outputs, cotangents) if g is not None]
    return [values[i].value for i in outputs], total_of(parts, inputs, wrt)


def backward_each(program, inputs, outputs, cotangents, wrt):
    values = run(program, inputs)
    return [pulled(values[i], g, inputs, wrt) for i, g in zip(outputs, cotangents)]


def accumulate(programs, inputs, cotangents, wrt):
    parts = [pulled(run(p, inputs)[-1], g, inputs, wrt) for p, g in zip(programs, cotangents)]
    return total_of(parts, inputs, wrt)


# For each op some shapes.
TESTS = """
add 23 3; sub 23 23; sub 3 23; mul 23 3; mul 21 23; div 23 23; div 23 3; maximum 23 23
neg 23; exp 23; log 23; sqrt 23; tanh 23
matmul 23 34; matmul 3 34; matmul 23 3; matmul 523 34; matmul 33 33
"""


def find_bugs(engine):
    rng = np.random.default_rng(8)
    draw = lambda shape: rng.permutation(np.linspace(0.6, 1.9, int(np.prod(shape)))).reshape(shape)
    work = []
    for text in TESTS.replace("\n", ";").split(";"):
        if text.strip():
            op, *shapes = text.split()
            work.append(([[op, list(range(len(shapes))), {}]], [draw(tuple(map(int, s))) for s in shapes]))
    for op in ("sum", "mean", "max"):
        work += [([[op, [0], {"axis": axis, "keepdims": False}]], [draw((2, 3, 4))]) for axis in (None, 1, (0, -1))]
    work += [([["pow", [0], {"exponent": 3.0}]], [draw((4,))]), ([["reshape", [0], {"shape": (3, 2)}]], [draw((2, 3))])]
    work += [([["transpose", [0], {"axes": (1, 2, 0)}]], [draw((2, 3, 4))])]
    work += [([["broadcast_to", [0], {"shape": (4, 3)}]], [draw((3,))])]
    work += [([["getitem", [0], {"index": np.array([2, 0, 2])}]], [draw((3, 2))])]
    work += [([["concat", [0, 1], {"axis": 1}]], [draw((2, 3)), draw((2, 2))])]
    work += [([["mul", [0, 0], {}], ["add", [1, 0], {}], ["tanh", [2], {}]], [draw((5,))])]
    for program, inputs in work:
        last, wrt = len(inputs) + len(program) - 1, list(range(len(inputs)))
        value = run(program, inputs)[last]
        g = rng.normal(size=np.shape(value.value))
        want = [value.value, *pulled(value, g, inputs, wrt)]
        try:
            values, grads = engine(program, inputs, [last], [g], wrt)
        except Exception:
            return True
        if any(np.shape(a) != np.shape(b) or not np.allclose(a, b) for a, b in zip([*values, *grads], want)):
            return True
    return False
