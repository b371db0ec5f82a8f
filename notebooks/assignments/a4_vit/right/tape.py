"""A right solution in another style: a small tape of numbered values, products by einsum, no backward pass by hand."""

import math

import numpy as np

ERF = np.frompyfunc(math.erf, 1, 1)


class Tape:
    """Values in the order in which they were made, each with the numbers of what it came from and how to go back."""

    def __init__(self):
        self.values, self.back = [], []

    def put(self, value, *back):
        """back: pairs (number of an argument, function of the cotangent)."""
        self.values.append(value)
        self.back.append(back)
        return len(self.values) - 1

    def pull(self, last, g):
        cotangents = {last: g}
        for i in range(last, -1, -1):
            if i in cotangents:
                for source, function in self.back[i]:
                    value = function(cotangents[i])
                    cotangents[source] = cotangents[source] + value if source in cotangents else value
        return [cotangents.get(i, np.zeros_like(v)) for i, v in enumerate(self.values)]

    def einsum(self, rule, a, b):
        left, out = rule.split("->")
        x, y = left.split(",")
        va, vb = self.values[a], self.values[b]
        return self.put(
            np.einsum(rule, va, vb),
            (a, lambda g: np.einsum(f"{out},{y}->{x}", g, vb)),
            (b, lambda g: np.einsum(f"{x},{out}->{y}", va, g)),
        )

    def add(self, a, b):
        shapes = self.values[a].shape, self.values[b].shape
        return self.put(
            self.values[a] + self.values[b],
            (a, lambda g: shrink(g, shapes[0])),
            (b, lambda g: shrink(g, shapes[1])),
        )

    def times(self, a, b):
        va, vb = self.values[a], self.values[b]
        return self.put(va * vb, (a, lambda g: shrink(g * vb, va.shape)), (b, lambda g: shrink(g * va, vb.shape)))

    def standard(self, a, eps):
        x = self.values[a]
        spread = np.sqrt(np.var(x, axis=-1, keepdims=True) + eps)
        unit = (x - np.mean(x, axis=-1, keepdims=True)) / spread

        def back(g):
            inner = g - g.mean(-1, keepdims=True) - unit * np.mean(g * unit, axis=-1, keepdims=True)
            return inner / spread

        return self.put(unit, (a, back))

    def softmax(self, a):
        x = self.values[a]
        p = np.exp(x - np.logaddexp.reduce(x, axis=-1, keepdims=True))
        return self.put(p, (a, lambda g: p * (g - np.einsum("...k,...k->...", g, p)[..., None])))

    def gelu(self, a, form):
        phi, slope = phi_and_slope(self.values[a], form)
        x = self.values[a]
        return self.put(x * phi, (a, lambda g: g * phi + g * x * slope))

    def moved(self, a, function, back):
        return self.put(function(self.values[a]), (a, back))


def shrink(g, shape):
    while g.ndim > len(shape):
        g = g.sum(0)
    for axis, length in enumerate(shape):
        if length == 1 and g.shape[axis] != 1:
            g = g.sum(axis, keepdims=True)
    return g


def phi_and_slope(x, form):
    if form == "erf":
        phi = np.asarray(ERF(np.asarray(x / 2**0.5)), dtype=float) / 2 + 0.5
        return phi, np.exp(-(x * x) / 2) * (2 * math.pi) ** -0.5
    c = (2 / math.pi) ** 0.5
    t = np.tanh(c * x * (1 + 0.044715 * x * x))
    return (t + 1) / 2, c * (1 + 0.134145 * x * x) * (1 - t) * (1 + t) / 2


def linear(tape, x, names, prefix):
    return tape.add(tape.einsum("bni,io->bno", x, names[prefix + ".weight"]), names[prefix + ".bias"])


def norm(tape, x, names, prefix, eps):
    return tape.add(tape.times(tape.standard(x, eps), names[prefix + ".scale"]), names[prefix + ".bias"])


def attention(tape, x, names, prefix, heads):
    qkv = linear(tape, x, names, prefix + "qkv")
    b, n, d3 = tape.values[qkv].shape
    k = d3 // 3 // heads

    def part(j):
        def back(g):
            whole = np.zeros((b, n, 3, heads, k))
            whole[:, :, j] = g
            return whole.reshape(b, n, d3)

        return tape.moved(qkv, lambda v: v.reshape(b, n, 3, heads, k)[:, :, j], back)

    scores = tape.einsum("bihk,bjhk->bhij", part(0), part(1))
    scores = tape.moved(scores, lambda v: v * k**-0.5, lambda g: g * k**-0.5)
    mixed = tape.einsum("bhij,bjhk->bihk", tape.softmax(scores), part(2))
    flat = tape.moved(mixed, lambda v: v.reshape(b, n, heads * k), lambda g: g.reshape(b, n, heads, k))
    return linear(tape, flat, names, prefix + "out")


def branch(tape, x, names, prefix, form):
    return linear(tape, tape.gelu(linear(tape, x, names, prefix + "hidden"), form), names, prefix + "out")


def layer(tape, x, names, prefix, config):
    eps = config["norm_eps"]
    x = tape.add(
        attention(tape, norm(tape, x, names, prefix + "norm1", eps), names, prefix + "attention.", config["heads"]), x
    )
    return tape.add(
        branch(tape, norm(tape, x, names, prefix + "norm2", eps), names, prefix + "mlp.", config["gelu"]), x
    )


def begin(params):
    tape = Tape()
    return tape, {name: tape.put(value) for name, value in params.items()}


def network(tape, names, config, images):
    (h, w), (ph, pw) = config["image_size"], config["patch_size"]
    rows, cols = h // ph, w // pw
    cut = [
        images[:, r * ph : (r + 1) * ph, c * pw : (c + 1) * pw].reshape(len(images), -1)
        for r in range(rows)
        for c in range(cols)
    ]
    x = linear(tape, tape.put(np.stack(cut, 1)), names, "patch_embed.projection")
    token = config["classifier"] == "token"
    if token:
        x = tape.moved(x, lambda v: np.pad(v, ((0, 0), (1, 0), (0, 0))), lambda g: g[:, 1:])
        first = tape.moved(
            names["class_token"],
            lambda v: np.pad(v, ((0, 0), (0, rows * cols), (0, 0))),
            lambda g: g[:, :1],
        )
        x = tape.add(x, first)
    x = tape.add(x, names["position_embedding"])
    for i in range(config["depth"]):
        x = layer(tape, x, names, f"blocks.{i}.", config)
    x = norm(tape, x, names, "norm", config["norm_eps"])
    tokens = tape.values[x].shape[1]
    reading = np.eye(tokens)[0] if token else np.full(tokens, 1 / tokens)
    x = tape.einsum("bnd,n->bd", x, tape.put(reading))
    return tape.add(tape.einsum("bd,dk->bk", x, names["head.weight"]), names["head.bias"])


def gelu(x, form):
    return np.asfortranarray(x * phi_and_slope(x, form)[0])


def gelu_backward(x, form, g):
    tape = Tape()
    return tape.pull(tape.gelu(tape.put(x), form), g)[0]


def _forward(build, x, params):
    tape, names = begin(params)
    return tape.values[build(tape, tape.put(x), names)]


def _backward(build, x, params, g):
    tape, names = begin(params)
    start = tape.put(x)
    found = tape.pull(build(tape, start, names), g)
    return [found[start], {name: np.asfortranarray(found[i]) for name, i in names.items()}]


def mlp(x, params, form):
    return _forward(lambda tape, x, names: branch(tape, x, names, "", form), x, params)


def mlp_backward(x, params, form, g):
    return _backward(lambda tape, x, names: branch(tape, x, names, "", form), x, params, g)


def block(x, params, config):
    return _forward(lambda tape, x, names: layer(tape, x, names, "", config), x, params)


def block_backward(x, params, config, g):
    return _backward(lambda tape, x, names: layer(tape, x, names, "", config), x, params, g)


def vit(params, config, images):
    tape, names = begin(params)
    return tape.values[network(tape, names, config, images)]


def vit_loss_and_gradients(params, config, images, labels):
    tape, names = begin(params)
    out = network(tape, names, config, images)
    z = tape.values[out]
    log_p = z - np.logaddexp.reduce(z, axis=1, keepdims=True)
    rows = np.arange(len(z))
    g = np.exp(log_p)
    g[rows, labels] -= 1
    found = tape.pull(out, g / len(z))
    return np.array(-log_p[rows, labels].mean()), {name: found[i] for name, i in names.items()}


def shapes(config):
    (h, w), (ph, pw), d, f = config["image_size"], config["patch_size"], config["width"], config["mlp_width"]
    token = config["classifier"] == "token"
    yield from [("class_token", (1, 1, d))] if token else []
    yield "position_embedding", (1, (h // ph) * (w // pw) + token, d)
    yield "patch_embed.projection.weight", (ph * pw * config["channels"], d)
    yield "patch_embed.projection.bias", (d,)
    for i in range(config["depth"]):
        for name, shape in (
            ("norm1.scale", (d,)), ("norm1.bias", (d,)), ("norm2.scale", (d,)), ("norm2.bias", (d,)),
            ("attention.qkv.weight", (d, 3 * d)), ("attention.qkv.bias", (3 * d,)),
            ("attention.out.weight", (d, d)), ("attention.out.bias", (d,)),
            ("mlp.hidden.weight", (d, f)), ("mlp.hidden.bias", (f,)),
            ("mlp.out.weight", (f, d)), ("mlp.out.bias", (d,)),
        ):  # fmt: skip
            yield f"blocks.{i}.{name}", shape
    yield from (("norm.scale", (d,)), ("norm.bias", (d,)), ("head.weight", (d, config["num_classes"])))
    yield "head.bias", (config["num_classes"],)


def init_params(config, seed):
    found = {}
    for number, (name, shape) in enumerate(shapes(config)):
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, number])))
        if name.endswith("scale"):
            value = np.ones(shape)
        elif name == "position_embedding":
            value = 0.02 * rng.standard_normal(shape)
        elif name.startswith("patch") and name.endswith("weight"):
            draw = rng.standard_normal(4 * math.prod(shape) + 100)
            draw = draw[np.abs(draw) <= 2][: math.prod(shape)].reshape(shape)
            value = draw / 0.87962566103423978 / math.sqrt(shape[0])
        elif "blocks" in name and name.endswith("weight"):
            limit = math.sqrt(6 / (shape[0] + (shape[0] if "qkv" in name else shape[1])))
            value = limit * (2 * rng.random(shape) - 1)
        elif "mlp" in name:
            value = 1e-6 * rng.standard_normal(shape)
        else:
            value = np.zeros(shape)
        found[name] = value
    return found


def count_parameters(config):
    return np.int64(sum(math.prod(shape) for _, shape in shapes(config)))


def count_multiply_adds(config):
    total, tokens = 0, dict(shapes(config))["position_embedding"][1]
    for name, shape in shapes(config):
        if name.endswith("weight"):
            rows = 1 if name.startswith("head") else tokens
            rows -= name.startswith("patch") and config["classifier"] == "token"
            total += rows * shape[0] * shape[1]
    return total + config["depth"] * 2 * tokens * tokens * config["width"]


def dropout(x, rate, seed, training):
    if not training or not rate:
        return x.copy()
    return np.where(np.random.default_rng([seed, 1]).random(x.shape) < rate, 0.0, x / (1 - rate))


def drop_path(x, rate, seed, training):
    if not training or not rate:
        return x[...]
    kept = np.random.default_rng([seed, 2]).random(len(x)) >= rate
    return (x.T * kept / (1 - rate)).T
