"""A right solution in another style: one image, one head, one number at a time, in loops, and nothing of `given`."""

import math

import numpy as np


def _gelu_number(x, form):
    """(value, slope) of one number."""
    if form == "erf":
        phi = 0.5 * math.erfc(-x / math.sqrt(2))
        return x * phi, phi + x * math.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    u = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    phi = 0.5 + 0.5 * math.tanh(u)
    du = math.sqrt(2 / math.pi) * (1 + 0.134145 * x**2)
    return x * phi, phi + 0.5 * x * du * (1 - math.tanh(u) ** 2)


def _each(x, form, which):
    out = np.empty(np.shape(x))
    for place in np.ndindex(*out.shape):
        out[place] = _gelu_number(float(x[place]), form)[which]
    return out


def gelu(x, form):
    return _each(x, form, 0)


def gelu_backward(x, form, g):
    return _each(x, form, 1) * g


def _mlp_one(x, p, form):
    """One image (N, D)."""
    before = np.dot(x, p["hidden.weight"]) + p["hidden.bias"]
    return before, np.dot(gelu(before, form), p["out.weight"]) + p["out.bias"]


def mlp(x, params, form):
    return np.array([_mlp_one(image, params, form)[1] for image in x])


def mlp_backward(x, params, form, g):
    grads = {name: np.zeros(value.shape) for name, value in params.items()}
    dx = np.zeros(x.shape)
    for b in range(len(x)):
        before, _ = _mlp_one(x[b], params, form)
        after = gelu(before, form)
        for n in range(x.shape[1]):
            grads["out.weight"] += np.outer(after[n], g[b, n])
            grads["out.bias"] += g[b, n]
            down = gelu_backward(before[n], form, params["out.weight"] @ g[b, n])
            grads["hidden.weight"] += np.outer(x[b, n], down)
            grads["hidden.bias"] += down
            dx[b, n] = params["hidden.weight"] @ down
    return dx, grads


def _norm(x, scale, bias, eps):
    out = np.empty(x.shape)
    for n, row in enumerate(x):
        mean = math.fsum(row) / len(row)
        variance = math.fsum((row - mean) ** 2) / len(row)
        out[n] = (row - mean) / math.sqrt(variance + eps) * scale + bias
    return out


def _norm_back(x, scale, eps, g):
    dx, dscale, dbias = np.empty(x.shape), np.zeros(len(scale)), np.zeros(len(scale))
    for n, row in enumerate(x):
        mean, width = row.mean(), len(row)
        root = math.sqrt(((row - mean) ** 2).mean() + eps)
        unit = (row - mean) / root
        jacobian = (np.eye(width) - 1 / width - np.outer(unit, unit) / width) / root
        dx[n] = jacobian @ (g[n] * scale)
        dscale += g[n] * unit
        dbias += g[n]
    return dx, dscale, dbias


def _attend(x, p, heads):
    """One image: (result, what is kept for the way back)."""
    width = x.shape[1]
    k, qkv = width // heads, x @ p["attention.qkv.weight"] + p["attention.qkv.bias"]
    joined, kept = np.empty(x.shape), []
    for h in range(heads):
        q, key, v = (qkv[:, s * width + h * k : s * width + (h + 1) * k] for s in range(3))
        a = np.array([[math.exp(s - max(row)) for s in row] for row in (q @ key.T / math.sqrt(k)).tolist()])
        a = a / a.sum(1)[:, None]
        joined[:, h * k : (h + 1) * k] = a @ v
        kept.append((q, key, v, a))
    return joined @ p["attention.out.weight"] + p["attention.out.bias"], joined, kept


def _attend_back(x, p, heads, g, grads):
    _, joined, kept = _attend(x, p, heads)
    width = x.shape[1]
    k, dqkv = width // heads, np.zeros((len(x), 3 * width))
    grads["attention.out.weight"] += joined.T @ g
    grads["attention.out.bias"] += g.sum(0)
    dj = g @ p["attention.out.weight"].T
    for h, (q, key, v, a) in enumerate(kept):
        dy = dj[:, h * k : (h + 1) * k]
        da = dy @ v.T
        ds = a * (da - (da * a).sum(1)[:, None]) / math.sqrt(k)
        for s, piece in enumerate((ds @ key, ds.T @ q, a.T @ dy)):
            dqkv[:, s * width + h * k : s * width + (h + 1) * k] = piece
    grads["attention.qkv.weight"] += x.T @ dqkv
    grads["attention.qkv.bias"] += dqkv.sum(0)
    return dqkv @ p["attention.qkv.weight"].T


def _inner(p):
    return {name[4:]: value for name, value in p.items() if name[:4] == "mlp."}


def _block_one(x, p, config):
    eps = config["norm_eps"]
    first = _norm(x, p["norm1.scale"], p["norm1.bias"], eps)
    middle = x + _attend(first, p, config["heads"])[0]
    second = _norm(middle, p["norm2.scale"], p["norm2.bias"], eps)
    return first, middle, second, middle + _mlp_one(second, _inner(p), config["gelu"])[1]


def block(x, params, config):
    return np.stack([_block_one(image, params, config)[3] for image in x])


def _block_back_one(x, p, config, g, grads):
    first, middle, second, _ = _block_one(x, p, config)
    down, inner = mlp_backward(second[None], _inner(p), config["gelu"], g[None])
    for name in inner:
        grads["mlp." + name] += inner[name]
    through, dscale, dbias = _norm_back(middle, p["norm2.scale"], config["norm_eps"], down[0])
    grads["norm2.scale"] += dscale
    grads["norm2.bias"] += dbias
    g = g + through
    down = _attend_back(first, p, config["heads"], g, grads)
    through, dscale, dbias = _norm_back(x, p["norm1.scale"], config["norm_eps"], down)
    grads["norm1.scale"] += dscale
    grads["norm1.bias"] += dbias
    return g + through


def block_backward(x, params, config, g):
    grads = {name: np.zeros(value.shape) for name, value in params.items()}
    dx = [_block_back_one(x[b], params, config, g[b], grads) for b in range(len(x))]
    return [np.array(dx), grads]


def _patches(image, config):
    (h, w), (ph, pw) = config["image_size"], config["patch_size"]
    found = []
    for top in range(0, h, ph):
        for left in range(0, w, pw):
            pixels = [image[top + i, left + j] for i in range(ph) for j in range(pw)]
            found.append(np.concatenate(pixels))
    return np.array(found)


def _run_one(params, config, image):
    """(patches, tokens before each block and after the last, features, logits)."""
    patches = _patches(image, config)
    tokens = list(patches @ params["patch_embed.projection.weight"] + params["patch_embed.projection.bias"])
    if config["classifier"] == "token":
        tokens.insert(0, params["class_token"][0, 0])
    states = [np.array(tokens) + params["position_embedding"][0]]
    for i in range(config["depth"]):
        states.append(_block_one(states[-1], _of(params, i), config)[3])
    encoded = _norm(states[-1], params["norm.scale"], params["norm.bias"], config["norm_eps"])
    features = encoded[0] if config["classifier"] == "token" else sum(encoded) / len(encoded)
    return patches, states, features, features @ params["head.weight"] + params["head.bias"]


def _of(params, i):
    return {name.split(".", 2)[2]: v for name, v in params.items() if name.split(".")[:2] == ["blocks", str(i)]}


def vit(params, config, images):
    return np.array([_run_one(params, config, image)[3] for image in images])


def vit_loss_and_gradients(params, config, images, labels):
    grads = {name: np.zeros(value.shape) for name, value in params.items()}
    loss, token = 0.0, config["classifier"] == "token"
    for image, label in zip(images, labels, strict=True):
        patches, states, features, z = _run_one(params, config, image)
        total = math.fsum(math.exp(v - max(z)) for v in z)
        loss += (math.log(total) + max(z) - z[label]) / len(images)
        g = np.array([math.exp(v - max(z)) / total for v in z])
        g[label] -= 1
        g /= len(images)
        grads["head.weight"] += np.outer(features, g)
        grads["head.bias"] += g
        df = params["head.weight"] @ g
        rows = np.array([df * (n == 0) if token else df / len(states[0]) for n in range(len(states[0]))])
        rows, dscale, dbias = _norm_back(states[-1], params["norm.scale"], config["norm_eps"], rows)
        grads["norm.scale"] += dscale
        grads["norm.bias"] += dbias
        for i in range(config["depth"] - 1, -1, -1):
            rows = _block_back_one(states[i], _of(params, i), config, rows, _of(grads, i))
        grads["position_embedding"][0] += rows
        if token:
            grads["class_token"][0, 0] += rows[0]
            rows = rows[1:]
        for patch, row in zip(patches, rows, strict=True):
            grads["patch_embed.projection.weight"] += np.outer(patch, row)
            grads["patch_embed.projection.bias"] += row
    return [np.float64(loss), grads]


def _cut(random):
    while True:
        value = random.gauss(0, 1)
        if abs(value) <= 2:
            return value


def init_params(config, seed):
    import random

    source = random.Random(seed)
    (h, w), (ph, pw) = config["image_size"], config["patch_size"]
    d, f, k, pixels = config["width"], config["mlp_width"], config["num_classes"], ph * pw * config["channels"]
    count = (h // ph) * (w // pw)
    params = {}
    if config["classifier"] == "token":
        params["class_token"], count = np.zeros((1, 1, d)), count + 1

    def uniform(rows, cols):
        limit = (6 / (rows + cols)) ** 0.5
        return np.array([[source.uniform(-limit, limit) for _ in range(cols)] for _ in range(rows)])

    params["position_embedding"] = np.array([[[source.gauss(0, 0.02) for _ in range(d)] for _ in range(count)]])
    std = 1 / math.sqrt(pixels) / 0.87962566103423978
    drawn = [[std * _cut(source) for _ in range(d)] for _ in range(pixels)]
    params["patch_embed.projection.weight"], params["patch_embed.projection.bias"] = np.array(drawn), np.zeros(d)
    for i in range(config["depth"]):
        at = f"blocks.{i}."
        for name in ("norm1", "norm2"):
            params[at + name + ".bias"], params[at + name + ".scale"] = np.zeros(d), np.ones(d)
        params[at + "attention.qkv.weight"] = np.concatenate([uniform(d, d), uniform(d, d), uniform(d, d)], axis=1)
        params[at + "attention.qkv.bias"], params[at + "attention.out.bias"] = np.zeros(3 * d), np.zeros(d)
        params[at + "attention.out.weight"] = uniform(d, d)
        params[at + "mlp.out.weight"], params[at + "mlp.hidden.weight"] = uniform(f, d), uniform(d, f)
        params[at + "mlp.hidden.bias"] = np.array([source.gauss(0, 1e-6) for _ in range(f)])
        params[at + "mlp.out.bias"] = np.array([source.gauss(0, 1e-6) for _ in range(d)])
    params["norm.scale"], params["norm.bias"] = np.ones(d), np.zeros(d)
    params["head.weight"], params["head.bias"] = np.zeros((d, k)), np.zeros(k)
    return params


def count_parameters(config):
    (h, w), (ph, pw) = config["image_size"], config["patch_size"]
    d, f, k, token = config["width"], config["mlp_width"], config["num_classes"], config["classifier"] == "token"
    total = d * token + d * (h // ph * (w // pw) + token) + d * ph * pw * config["channels"] + d
    for _ in range(config["depth"]):
        total += 4 * d + 3 * d * d + 3 * d + d * d + d + d * f + f + f * d + d
    return float(total + 2 * d + d * k + k)


def count_multiply_adds(config):
    (h, w), (ph, pw) = config["image_size"], config["patch_size"]
    d, f, n = config["width"], config["mlp_width"], h // ph * (w // pw)
    t = n + 1 if config["classifier"] == "token" else n
    work = n * ph * pw * config["channels"] * d
    for _ in range(config["depth"]):
        work += t * d * 3 * d
        for _ in range(config["heads"]):
            work += t * t * (d // config["heads"]) * 2
        work += t * d * d + t * d * f + t * f * d
    return work + d * config["num_classes"]


def dropout(x, rate, seed, training):
    import random

    if not training:
        return x
    source = random.Random(seed)
    out = [0.0 if source.random() < rate else v / (1 - rate) for v in x.ravel().tolist()]
    return np.array(out).reshape(x.shape)


def drop_path(x, rate, seed, training):
    import random

    if not training:
        return x
    source = random.Random(seed)
    return np.array([sample * 0 if source.random() < rate else sample / (1 - rate) for sample in x])
