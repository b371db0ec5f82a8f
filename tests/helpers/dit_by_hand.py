"""DiT once more, slowly: one image, one token, one head at a time, with the names and layouts of the published code."""

import math

import numpy as np

SIZES = {
    "input_size": 4, "patch_size": 2, "in_channels": 2, "hidden_size": 8, "depth": 2, "num_heads": 2, "num_classes": 3,
    "learn_sigma": True,
}  # fmt: skip


def weights_of(config, rng):
    """Random arrays in the published layout, with a row for no class."""
    d, p, c = config["hidden_size"], config["patch_size"], config["in_channels"]
    side = config["input_size"] // p
    pixels = p * p * c * (2 if config["learn_sigma"] else 1)
    shapes = {
        "x_embedder.proj": (d, c, p, p), "t_embedder.mlp.0": (d, 256), "t_embedder.mlp.2": (d, d),
        "final_layer.linear": (pixels, d), "final_layer.adaLN_modulation.1": (2 * d, d),
    }  # fmt: skip
    for i in range(config["depth"]):
        own = {"attn.qkv": (3 * d, d), "attn.proj": (d, d), "mlp.fc1": (4 * d, d), "mlp.fc2": (d, 4 * d)}
        own |= {"adaLN_modulation.1": (6 * d, d)}
        shapes |= {f"blocks.{i}.{name}": shape for name, shape in own.items()}
    found = {f"{name}.weight": rng.normal(size=shape) * 0.3 for name, shape in shapes.items()}
    found |= {f"{name}.bias": rng.normal(size=shape[0]) * 0.3 for name, shape in shapes.items()}
    table = [place(row, column, d) for row in range(side) for column in range(side)]
    found |= {"y_embedder.embedding_table.weight": rng.normal(size=(config["num_classes"] + 1, d))}
    return found | {"pos_embed": np.array(table)[None]}


def place(row, column, width):
    """The column first, then the row, each [sin, cos]."""
    w = [1 / 10000 ** (i / (width / 4)) for i in range(width // 4)]
    return [f(at * v) for at in (column, row) for f in (math.sin, math.cos) for v in w]


def norm(row, eps=1e-6):
    return (row - row.mean()) / math.sqrt(row.var() + eps)


def silu(x):
    return x / (1 + np.exp(-x))


def gelu(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def attend(q, k, v, heads):
    """(n, D) each -> (n, D)."""
    out, width = np.zeros((len(q), v.shape[1])), q.shape[1] // heads
    for head in range(heads):
        own = slice(head * width, (head + 1) * width)
        for i in range(len(q)):
            e = np.exp([q[i, own] @ k[j, own] / math.sqrt(width) for j in range(len(k))])
            out[i, own] = sum(e[j] * v[j, own] for j in range(len(k))) / e.sum()
    return out


def features(t, shift=0):
    w = [math.exp(-math.log(10000) * i / (128 - shift)) for i in range(128)]
    return np.array([math.cos(t * v) for v in w] + [math.sin(t * v) for v in w])


def one(w, config, x, t, y):
    """The output for one image (C, height, width)."""

    def linear(name, v):
        return v @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    p, d = config["patch_size"], config["hidden_size"]
    side = x.shape[1] // p
    kernel = w["x_embedder.proj.weight"]
    rows = []
    for i in range(side):
        for j in range(side):
            patch = x[:, i * p : i * p + p, j * p : j * p + p]
            rows.append([(kernel[k] * patch).sum() for k in range(d)])
    z = np.array(rows) + w["x_embedder.proj.bias"] + w["pos_embed"][0]
    c = linear("t_embedder.mlp.2", silu(linear("t_embedder.mlp.0", features(t))))
    c = c + w["y_embedder.embedding_table.weight"][y]
    for i in range(config["depth"]):
        shift1, scale1, gate1, shift2, scale2, gate2 = linear(f"blocks.{i}.adaLN_modulation.1", silu(c)).reshape(6, d)
        h = np.array([norm(row) * (1 + scale1) + shift1 for row in z])
        q, k, v = np.split(linear(f"blocks.{i}.attn.qkv", h), 3, axis=1)
        z = z + gate1 * linear(f"blocks.{i}.attn.proj", attend(q, k, v, config["num_heads"]))
        h = np.array([norm(row) * (1 + scale2) + shift2 for row in z])
        z = z + gate2 * linear(f"blocks.{i}.mlp.fc2", gelu(linear(f"blocks.{i}.mlp.fc1", h)))
    shift, scale = linear("final_layer.adaLN_modulation.1", silu(c)).reshape(2, d)
    z = linear("final_layer.linear", np.array([norm(row) * (1 + scale) + shift for row in z]))
    out = np.zeros((z.shape[1] // p**2, side * p, side * p))
    for n, row in enumerate(z):
        for at, value in enumerate(row):
            (a, b), channel = divmod(at // len(out), p), at % len(out)
            out[channel, n // side * p + a, n % side * p + b] = value
    return out


def network(w, config, x, t, y):
    return np.array([one(w, config, *of) for of in zip(x, t, y, strict=True)])


def betas(steps=1000):
    return [1e-4 + (0.02 - 1e-4) * i / (steps - 1) for i in range(steps)]


def abar(t):
    return math.prod(1 - beta for beta in betas()[: t + 1])


def posterior(t):
    """Variance, with that of step 1 in place of the first, and the factors of x_0 and x_t in the mean."""

    def at(i):
        before = abar(i - 1) if i else 1.0
        beta = betas()[i]
        whole = 1 - abar(i)
        factors = beta * math.sqrt(before) / whole, (1 - before) * math.sqrt(1 - beta) / whole
        return beta * (1 - before) / whole, *factors

    return at(max(t, 1))[0], *at(t)[1:]


def losses(w, config, x0, noise, t, y, fixed=None):
    """Squared error and bits of each image.   fixed: outputs that stand in the second term for the mean."""
    found = []
    channels = x0.shape[1]
    for n, step in enumerate(t):
        a = abar(step)
        x = math.sqrt(a) * x0[n] + math.sqrt(1 - a) * noise[n]
        out = one(w, config, x, step, y[n])
        mse = np.square(noise[n] - out[:channels]).mean()
        if not config["learn_sigma"]:
            found.append((mse, 0.0))
            continue
        small, of_start, of_state = posterior(step)
        eps = (out if fixed is None else fixed[n])[:channels]
        mean = of_start * (x / math.sqrt(a) - math.sqrt(1 / a - 1) * eps) + of_state * x
        share = (out[channels:] + 1) / 2
        log_variance = share * math.log(betas()[step]) + (1 - share) * math.log(small)
        if step:
            true = of_start * x0[n] + of_state * x
            ratio = np.exp(math.log(small) - log_variance)
            kl = (log_variance - math.log(small) + ratio + (true - mean) ** 2 / np.exp(log_variance) - 1) / 2
        else:
            kl = -np.log(bins(x0[n], mean, np.exp(log_variance / 2)))
        found.append((mse, kl.mean() / math.log(2)))
    return np.array(found).T


def bins(x, mean, deviation):
    def below(edge):
        z = (edge - mean) / deviation
        return 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))

    p = below(x + 1 / 255) - below(x - 1 / 255)
    p = np.where(x > 0.999, 1 - below(x - 1 / 255), np.where(x < -0.999, below(x + 1 / 255), p))
    return np.maximum(p, 1e-12)


def in_diffusers_names(w, config):
    """The same arrays, as far as diffusers' port has them; its embedders stand in every block."""
    names = {"x_embedder.proj": "pos_embed.proj", "final_layer.adaLN_modulation.1": "proj_out_1"}
    names |= {"final_layer.linear": "proj_out_2"}
    found = {f"{new}.{leaf}": w[f"{old}.{leaf}"] for old, new in names.items() for leaf in ("weight", "bias")}
    for i in range(config["depth"]):
        there = f"transformer_blocks.{i}"
        own = {"t_embedder.mlp.0": "norm1.emb.timestep_embedder.linear_1"}
        own |= {"t_embedder.mlp.2": "norm1.emb.timestep_embedder.linear_2"}
        own |= {f"blocks.{i}.{old}": new for old, new in (
            ("adaLN_modulation.1", "norm1.linear"), ("attn.proj", "attn1.to_out.0"), ("mlp.fc1", "ff.net.0.proj"),
            ("mlp.fc2", "ff.net.2"))}  # fmt: skip
        found |= {
            f"{there}.{new}.{leaf}": w[f"{old}.{leaf}"] for old, new in own.items() for leaf in ("weight", "bias")
        }
        table = w["y_embedder.embedding_table.weight"]
        found[f"{there}.norm1.emb.class_embedder.embedding_table.weight"] = table
        for leaf in ("weight", "bias"):
            for part, x in zip("qkv", np.split(w[f"blocks.{i}.attn.qkv.{leaf}"], 3), strict=True):
                found[f"{there}.attn1.to_{part}.{leaf}"] = x
    return found
