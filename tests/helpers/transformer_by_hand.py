"""Layers of the Transformer of 2017 and of BERT once more, one sentence and one head at a time, from plain arrays."""

import math

import numpy as np

erf = np.vectorize(math.erf)


def norm(x, scale, bias, eps):
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps) * scale + bias


def gelu(x, form="erf"):
    if form == "tanh":
        return x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2
    return x * (1 + erf(x / math.sqrt(2))) / 2


def attention(x, memory, q, k, v, out, heads, seen):
    """x: (M, D), memory: (N, D); q, k, v, out: pairs (W, b) with W (D, D) from the left; seen: (M, N)."""
    q, k, v = (y @ w.T + b for y, (w, b) in ((x, q), (memory, k), (memory, v)))
    size, parts = x.shape[1] // heads, []
    for h in range(heads):
        place = slice(h * size, (h + 1) * size)
        s = np.where(seen, q[:, place] @ k[:, place].T / math.sqrt(size), -np.inf)
        e = np.exp(s - s.max(axis=1, keepdims=True))
        parts.append(e / e.sum(axis=1, keepdims=True) @ v[:, place])
    return np.concatenate(parts, axis=1) @ out[0].T + out[1]


def of_torch(arrays, place, name="self_attn"):
    """The four pairs of an attention of torch's."""
    w, b = (np.split(arrays[f"{place}{name}.in_proj_{kind}"], 3) for kind in ("weight", "bias"))
    out = tuple(arrays[f"{place}{name}.out_proj.{kind}"] for kind in ("weight", "bias"))
    return [*zip(w, b, strict=True), out]


def layer(arrays, place, x, heads, seen, eps, first, act, memory=None, there=None):
    """A layer of torch's encoder; with a memory, of its decoder.   first: normalise before each branch."""

    def dense(name, y):
        return y @ arrays[f"{place}{name}.weight"].T + arrays[f"{place}{name}.bias"]

    def mlp(y):
        return dense("linear2", act(dense("linear1", y)))

    branches = [lambda y: attention(y, y, *of_torch(arrays, place), heads, seen)]
    if memory is not None:
        cross = of_torch(arrays, place, "multihead_attn")
        branches.append(lambda y: attention(y, memory, *cross, heads, there))
    for i, branch in enumerate([*branches, mlp], 1):
        own = arrays[f"{place}norm{i}.weight"], arrays[f"{place}norm{i}.bias"], eps
        x = x + branch(norm(x, *own)) if first else norm(x + branch(x), *own)
    return x


def torch_arrays(rng, width, hidden, depth, decoder=False, final=False):
    """Random arrays of a stack of layers under torch's names."""
    shapes = {}
    for i in range(depth):
        for name in ("self_attn", "multihead_attn") if decoder else ("self_attn",):
            shapes[f"layers.{i}.{name}.in_proj_weight"] = (3 * width, width)
            shapes[f"layers.{i}.{name}.in_proj_bias"] = (3 * width,)
            shapes[f"layers.{i}.{name}.out_proj.weight"] = (width, width)
            shapes[f"layers.{i}.{name}.out_proj.bias"] = (width,)
        for name, shape in {"linear1": (hidden, width), "linear2": (width, hidden)}.items():
            shapes |= {f"layers.{i}.{name}.weight": shape, f"layers.{i}.{name}.bias": shape[:1]}
        for n in range(1, 4 if decoder else 3):
            shapes |= {f"layers.{i}.norm{n}.{kind}": (width,) for kind in ("weight", "bias")}
    if final:
        shapes |= {f"norm.{kind}": (width,) for kind in ("weight", "bias")}
    return {name: rng.normal(0, 0.4, shape) + ("norm" in name and "weight" in name) for name, shape in shapes.items()}
