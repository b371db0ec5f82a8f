"""A right solution in another style: objects that remember, `given` behind them, odd kinds of arrays as results."""

import math

import numpy as np
from given import (
    cross_entropy,
    embed,
    embed_backward,
    layer_norm,
    layer_norm_backward,
    multi_head_attention,
    multi_head_attention_backward,
    patchify,
)


class Labelled(np.ndarray):
    """An array with a name, as some students make them."""


def odd(x):
    """The same numbers in an array that is a view, read-only and of a subclass."""
    big = np.empty((*x.shape, 2))
    big[..., 1] = x
    view = big[..., 1].view(Labelled)
    view.flags.writeable = False
    return view


class Gelu:
    def __init__(self, form):
        self.form = {"tanh": self._tanh, "erf": self._erf}[form]

    @staticmethod
    def _tanh(x):
        z = np.multiply(x, x)
        z *= 0.044715
        z += 1
        z *= x
        z *= math.sqrt(8 / math.pi)  # twice the argument: (1 + tanh(z / 2)) / 2 is the sigmoid of z
        small = np.exp(-np.abs(z))
        phi = np.where(z > 0, 1, small) / (1 + small)
        return phi, small / (1 + small) ** 2 * math.sqrt(8 / math.pi) * (1 + 3 * 0.044715 * np.square(x))

    @staticmethod
    def _erf(x):
        phi = np.vectorize(math.erf, otypes=[float])(x * math.sqrt(0.5))
        phi += 1
        phi *= 0.5
        return phi, np.exp(-np.square(x) / 2 - math.log(2 * math.pi) / 2)

    def forward(self, x):
        self.x = x.copy()
        self.phi, self.slope = self.form(self.x)
        return self.x * self.phi

    def backward(self, g):
        out = self.slope * self.x
        out += self.phi
        out *= g
        return out


class Linear:
    def __init__(self, weight, bias):
        self.weight, self.bias, self.grads = weight, bias, {}

    def forward(self, x):
        self.rows = x.reshape(-1, x.shape[-1])
        y = self.rows.dot(self.weight)
        y += self.bias
        return y.reshape(*x.shape[:-1], -1)

    def backward(self, g):
        rows = g.reshape(len(self.rows), -1)
        self.grads = {"weight": np.matmul(rows.T, self.rows).T, "bias": np.ones(len(rows)) @ rows}
        return np.matmul(self.weight, rows.T).T.reshape(*g.shape[:-1], -1)


class Norm:
    def __init__(self, scale, bias, eps):
        self.kept, self.grads = (scale, bias, eps), {}

    def forward(self, x):
        self.x = x
        return layer_norm(x, *self.kept)

    def backward(self, g):
        dx, self.grads["scale"], self.grads["bias"] = layer_norm_backward(self.x, *self.kept, g)
        return dx


class Attention:
    def __init__(self, params, heads):
        self.params, self.heads, self.grads = params, heads, {}

    def forward(self, x):
        self.x = x
        return multi_head_attention(x, self.params, self.heads)

    def backward(self, g):
        dx, self.grads = multi_head_attention_backward(self.x, self.params, self.heads, g)
        return dx


class Chain:
    """Parts with names, one after the other."""

    def __init__(self, **parts):
        self.parts = parts

    def forward(self, x):
        for part in self.parts.values():
            x = part.forward(x)
        return x

    def backward(self, g):
        for part in reversed(self.parts.values()):
            g = part.backward(g)
        return g

    @property
    def grads(self):
        inner = {n: p.grads for n, p in self.parts.items() if hasattr(p, "grads")}
        return {f"{n}.{name}": value for n, grads in inner.items() for name, value in grads.items()}


class Residual:
    def __init__(self, branch):
        self.branch = branch

    def forward(self, x):
        y = x.copy()
        y += self.branch.forward(x)
        return y

    def backward(self, g):
        return self.branch.backward(g) + g

    @property
    def grads(self):
        return self.branch.grads


def below(params, prefix):
    return {name.removeprefix(prefix): value for name, value in params.items() if name.startswith(prefix)}


def make_mlp(p, form):
    first, last = (Linear(p[f"{n}.weight"], p[f"{n}.bias"]) for n in ("hidden", "out"))
    return Chain(hidden=first, gelu=Gelu(form), out=last)


def make_block(p, config):
    norms = [Norm(p[f"norm{i}.scale"], p[f"norm{i}.bias"], config["norm_eps"]) for i in (1, 2)]
    first = Residual(Chain(norm1=norms[0], attention=Attention(below(p, "attention."), config["heads"])))
    return first, Residual(Chain(norm2=norms[1], mlp=make_mlp(below(p, "mlp."), config["gelu"])))


def gelu(x, form):
    return odd(Gelu(form).forward(x))


def gelu_backward(x, form, g):
    layer = Gelu(form)
    layer.forward(x)
    return odd(layer.backward(g))


def mlp(x, params, form):
    return odd(make_mlp(params, form).forward(x))


def mlp_backward(x, params, form, g):
    layer = make_mlp(params, form)
    layer.forward(x)
    return odd(layer.backward(g)), layer.grads


def block(x, params, config):
    for part in make_block(params, config):
        x = part.forward(x)
    return x


def block_backward(x, params, config, g):
    first, second = make_block(params, config)
    second.forward(first.forward(x))
    g = first.backward(second.backward(g))
    return g, {**first.grads, **second.grads}


class Model:
    def __init__(self, params, config):
        self.params, self.token = params, config["classifier"] == "token"
        self.patch = tuple(config["patch_size"])
        pairs = [make_block(below(params, f"blocks.{i}."), config) for i in range(config["depth"])]
        self.blocks = [part for pair in pairs for part in pair]
        self.norm = Norm(params["norm.scale"], params["norm.bias"], config["norm_eps"])
        self.head = Linear(params["head.weight"], params["head.bias"])

    def _table(self):
        """What `given.embed` needs; without a class token, one of zeros, cut off again."""
        p = self.params
        first, table = p.get("class_token"), p["position_embedding"]
        if not self.token:
            first = np.zeros((1, 1, table.shape[2]))
            table = np.concatenate([first, table], axis=1)
        return p["patch_embed.projection.weight"], p["patch_embed.projection.bias"], first, table

    def forward(self, images):
        self.patches = patchify(images, self.patch)
        x = embed(self.patches, *self._table())
        x = x if self.token else x[:, 1:]
        for part in self.blocks:
            x = part.forward(x)
        x = self.norm.forward(x)
        self.shape = x.shape
        return self.head.forward(x[:, 0] if self.token else np.add.reduce(x, axis=1) / x.shape[1])

    def backward(self, g):
        g = self.head.backward(g)
        whole = np.zeros(self.shape)
        whole[:, : 1 if self.token else None] = g[:, None, :] / (1 if self.token else self.shape[1])
        g = self.norm.backward(whole)
        for part in reversed(self.blocks):
            g = part.backward(g)
        if not self.token:
            g = np.concatenate([np.zeros((len(g), 1, g.shape[2])), g], axis=1)
        bottom = embed_backward(self.patches, *self._table(), g)
        grads = {"patch_embed.projection." + n: bottom[n] for n in ("weight", "bias")}
        grads["position_embedding"] = bottom["positions"][:, 0 if self.token else 1 :]
        if self.token:
            grads["class_token"] = bottom["class_token"]
        for i, part in enumerate(self.blocks):
            grads.update({f"blocks.{i // 2}.{n}": value for n, value in part.grads.items()})
        grads.update({f"norm.{n}": value for n, value in self.norm.grads.items()})
        return {**grads, **{f"head.{n}": value for n, value in self.head.grads.items()}}


def vit(params, config, images):
    return odd(Model(params, config).forward(images))


def vit_loss_and_gradients(params, config, images, labels):
    model = Model(params, config)
    loss, g = cross_entropy(model.forward(images), labels, 0.0)
    return loss, model.backward(g)


def init_params(config, seed):
    state = np.random.RandomState(seed)
    grid = np.floor_divide(config["image_size"], config["patch_size"])
    d, f, k = (config[name] for name in ("width", "mlp_width", "num_classes"))
    pixels = int(np.prod(config["patch_size"])) * config["channels"]
    params = {"norm.scale": np.ones(d), "norm.bias": np.zeros(d), "head.bias": np.zeros(k)}
    params.update({"head.weight": np.zeros((d, k)), "patch_embed.projection.bias": np.zeros(d)})
    draw = state.randn(pixels, d)
    while np.any(np.abs(draw) > 2):
        draw = np.where(np.abs(draw) > 2, state.randn(pixels, d), draw)
    params["patch_embed.projection.weight"] = draw / (0.87962566103423978 * np.sqrt(pixels))
    token = config["classifier"] == "token"
    if token:
        params["class_token"] = np.zeros((1, 1, d))
    params["position_embedding"] = state.normal(scale=0.02, size=(1, grid.prod() + token, d))
    for i in range(config["depth"]):
        inner = {f"norm{n}.{part}": np.full(d, float(part == "scale")) for n in (1, 2) for part in ("scale", "bias")}
        inner["attention.qkv.weight"] = state.uniform(-1, 1, (d, 3 * d)) * np.sqrt(3 / d)
        inner["attention.qkv.bias"] = np.zeros(3 * d)
        inner["attention.out.weight"] = state.uniform(-1, 1, (d, d)) * np.sqrt(3 / d)
        inner["attention.out.bias"] = np.zeros(d)
        for name, shape in (("hidden", (d, f)), ("out", (f, d))):
            inner[f"mlp.{name}.weight"] = state.uniform(-1, 1, shape) * np.sqrt(6 / (d + f))
            inner[f"mlp.{name}.bias"] = state.randn(shape[1]) * 1e-6
        params.update({f"blocks.{i}.{name}": value for name, value in inner.items()})
    return params


def count_parameters(config):
    small = init_params({**config, "depth": 1}, 0)
    sizes = {name: value.size for name, value in small.items()}
    inner = sum(size for name, size in sizes.items() if name.startswith("blocks"))
    return sum(sizes.values()) + (config["depth"] - 1) * inner


def count_multiply_adds(config):
    (h, w), (ph, pw) = config["image_size"], config["patch_size"]
    d, patches = config["width"], h // ph * (w // pw)
    tokens = patches + (config["classifier"] == "token")
    layer = tokens * d * (4 * d + 2 * tokens + 2 * config["mlp_width"])
    below = patches * ph * pw * config["channels"] * d
    return np.array(below + layer * config["depth"] + d * config["num_classes"])


def _kept(shape, rate, seed):
    """Factors of that shape, from a generator that belongs to this call alone."""
    return np.random.RandomState(seed).binomial(1, 1 - rate, shape) / (1 - rate)


def dropout(x, rate, seed, training):
    return odd(x * _kept(x.shape, rate, seed)) if training else x


def drop_path(x, rate, seed, training):
    if not training or rate == 0:
        return x
    out = x.copy()
    for sample, factor in enumerate(_kept(len(x), rate, seed)):
        out[sample] *= factor
    return out
