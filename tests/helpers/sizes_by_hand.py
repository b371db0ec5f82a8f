"""A second implementation of networks for images of all sizes, slow and plain: one image, one head, one pixel at a
time. Weights have timm's names; Linear kernels are (out, in)."""

import math

import numpy as np

EPS = 1e-6


def erf_gelu(x):
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def tanh_gelu(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


GELU = {"erf": erf_gelu, "tanh": tanh_gelu}


def norm(x, scale, bias=0.0, eps=EPS):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) * scale + bias


def rms(x, scale):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + EPS) * scale


def dense(x, w, name):
    return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0.0)


def attend(q, k, v, heads):
    """(M, D), (N, D), (N, D) -> (M, D)."""
    side, rows = q.shape[1] // heads, []
    for query in q:
        parts = []
        for h in range(heads):
            cut = slice(h * side, (h + 1) * side)
            scores = k[:, cut] @ query[cut] / math.sqrt(side)
            e = np.exp(scores - scores.max())
            parts.append(e / e.sum() @ v[:, cut])
        rows.append(np.concatenate(parts))
    return np.array(rows)


def block(x, w, name, heads, gelu):
    """One block of timm's, with what its arrays say: biases, QK-norm, LayerScale."""
    y = norm(x, w[f"{name}.norm1.weight"], w[f"{name}.norm1.bias"])
    q, k, v = np.split(dense(y, w, f"{name}.attn.qkv"), 3, axis=1)
    if f"{name}.attn.q_norm.weight" in w:
        q, k = (
            np.concatenate(
                [
                    norm(part, w[f"{name}.attn.{kind}_norm.weight"], w[f"{name}.attn.{kind}_norm.bias"])
                    for part in np.split(whole, heads, axis=1)
                ],
                axis=1,
            )
            for kind, whole in (("q", q), ("k", k))
        )
    y = dense(attend(q, k, v, heads), w, f"{name}.attn.proj")
    x = x + w.get(f"{name}.ls1.gamma", 1.0) * y
    y = norm(x, w[f"{name}.norm2.weight"], w[f"{name}.norm2.bias"])
    y = dense(GELU[gelu](dense(y, w, f"{name}.mlp.fc1")), w, f"{name}.mlp.fc2")
    return x + w.get(f"{name}.ls2.gamma", 1.0) * y


def map_pool(x, w, heads, gelu):
    """(N, D) -> (D,)."""
    kv = dense(x, w, "attn_pool.kv")
    k, v = np.split(kv, 2, axis=1)
    y = dense(attend(dense(w["attn_pool.latent"][0], w, "attn_pool.q"), k, v, heads), w, "attn_pool.proj")
    z = norm(y, w["attn_pool.norm.weight"], w["attn_pool.norm.bias"])
    return (y + dense(GELU[gelu](dense(z, w, "attn_pool.mlp.fc1")), w, "attn_pool.mlp.fc2"))[0]


def weights_1d(old, new, kind, antialias):
    """Row i: what new pixel i takes of every old one."""
    scale = old / new
    wide = max(1.0, scale) if antialias else 1.0
    found = np.zeros((new, old))
    for i in range(new):
        centre = (i + 0.5) * scale
        for j in range(-4 * old, 5 * old):
            distance = abs(j + 0.5 - centre) / wide
            a = -0.5 if antialias else -0.75
            if kind == "linear":
                weight = max(0.0, 1 - distance)
            elif distance < 1:
                weight = (a + 2) * distance**3 - (a + 3) * distance**2 + 1
            else:
                weight = a * (distance**3 - 5 * distance**2 + 8 * distance - 4) if distance < 2 else 0.0
            if 0 <= j < old or not antialias:
                found[i, min(max(j, 0), old - 1)] += weight
        found[i] /= found[i].sum()
    return found


def resized(image, size, kind, antialias):
    """(h, w, D) -> (*size, D)."""
    down, across = (weights_1d(o, n, kind, antialias) for o, n in zip(image.shape, size, strict=False))
    return np.einsum("ih,jw,hwd->ijd", down, across, image)


def pseudo_inverse_resized(kernel, size, kind, antialias):
    """(h, w, C, D) -> (*size, C, D), by the matrix of all pixels at once."""
    pixels = kernel.shape[0] * kernel.shape[1]
    basis = np.eye(pixels).reshape(*kernel.shape[:2], pixels)
    matrix = resized(basis, size, kind, antialias).reshape(-1, pixels)  # (new, old)
    flat = np.linalg.lstsq(matrix.T, kernel.reshape(pixels, -1), rcond=None)[0]
    return flat.reshape(*size, *kernel.shape[2:])


def patches_of(image, patch):
    """(height, width, C) -> (rows, columns, P P C)."""
    rows, columns = image.shape[0] // patch[0], image.shape[1] // patch[1]
    found = np.zeros((rows, columns, patch[0] * patch[1] * image.shape[2]))
    for y in range(rows):
        for x in range(columns):
            found[y, x] = image[y * patch[0] : (y + 1) * patch[0], x * patch[1] : (x + 1) * patch[1]].ravel()
    return found


def cross_entropy(logits, labels):
    return np.mean([np.log(np.exp(row).sum()) - row[label] for row, label in zip(logits, labels, strict=True)])


def drawn(shapes, seed=0):
    """Arrays of these shapes, scales of norms around 1."""
    rng = np.random.default_rng(seed)
    found = {name: 0.4 * rng.standard_normal(shape) for name, shape in shapes.items()}
    return {name: x + 1 if "norm" in name and name.endswith("weight") else x for name, x in found.items()}


def block_shapes(name, width, hidden, qkv_bias=True, qk_norm=0, scales=False):
    """qk_norm: the width of a head, 0 for none."""
    shapes = {
        "norm1.weight": (width,), "norm1.bias": (width,), "attn.qkv.weight": (3 * width, width),
        "attn.proj.weight": (width, width), "attn.proj.bias": (width,), "norm2.weight": (width,),
        "norm2.bias": (width,), "mlp.fc1.weight": (hidden, width), "mlp.fc1.bias": (hidden,),
        "mlp.fc2.weight": (width, hidden), "mlp.fc2.bias": (width,),
    }  # fmt: skip
    if qkv_bias:
        shapes["attn.qkv.bias"] = (3 * width,)
    if qk_norm:
        shapes |= {f"attn.{part}_norm.{leaf}": (qk_norm,) for part in "qk" for leaf in ("weight", "bias")}
    if scales:
        shapes |= {"ls1.gamma": (width,), "ls2.gamma": (width,)}
    return {f"{name}.{inner}": shape for inner, shape in shapes.items()}


def pool_shapes(width, hidden):
    inner = {
        "latent": (1, 1, width), "q.weight": (width, width), "q.bias": (width,), "kv.weight": (2 * width, width),
        "kv.bias": (2 * width,), "proj.weight": (width, width), "proj.bias": (width,), "norm.weight": (width,),
        "norm.bias": (width,), "mlp.fc1.weight": (hidden, width), "mlp.fc1.bias": (hidden,),
        "mlp.fc2.weight": (width, hidden), "mlp.fc2.bias": (width,),
    }  # fmt: skip
    return {f"attn_pool.{name}": shape for name, shape in inner.items()}


def slopes(loss, weights, names, seed=0, h=1e-5):
    """For each name, a random direction and the slope of loss(weights) along it."""
    rng = np.random.default_rng(seed)
    for name in names:
        way = rng.standard_normal(weights[name].shape)
        up, down = ({**weights, name: weights[name] + sign * h * way} for sign in (1, -1))
        yield name, way, (loss(up) - loss(down)) / (2 * h)
