"""All parameters as one vector; lists, histograms and index tables elsewhere."""

from fractions import Fraction

import numpy as np
from given import vit, vit_loss_and_gradients


def _pack(arrays, names):
    return np.concatenate([np.asarray(arrays[name], float).ravel() for name in names]) if names else np.zeros(0)


def _unpack(vector, like, names):
    out, at = {}, 0
    for name in names:
        size = np.size(like[name])
        out[name] = vector[at : at + size].reshape(np.shape(like[name]))  # views of one vector
        at += size
    return out


def adamw(params, grads, lrs, hyper, decay, state=None):
    names = sorted(params)
    p = _pack(params, names)
    mask = np.concatenate([np.full(np.size(params[n]), float(n in set(decay))) for n in names])
    if state is None:
        moments, count = np.zeros((2, p.size)), 0
    else:
        moments, count = np.array(state["memory"]["moments"]), int(state["memory"]["count"])
    beta = np.array(hyper["betas"], float)[:, None]
    for g, lr in zip(grads, lrs):
        count += 1
        g = _pack(g, names)
        moments = beta * moments + (1 - beta) * np.stack([g, g * g])
        first, second = moments / (1 - beta**count)
        p = p - lr * (first / (second**0.5 + hyper["eps"]) + hyper["weight_decay"] * mask * p)
    return [_unpack(p, params, names), {"memory": {"moments": moments, "count": np.int64(count)}}]


def decay_names(shapes):
    return tuple(reversed([n for n in shapes if ("." + n).rsplit(".", 1)[1] == "weight"]))


def clip_by_global_norm(grads, max_norm):
    names = list(grads)
    norm = np.linalg.norm(_pack(grads, names))
    scale = 1.0 if norm == 0 or norm < max_norm else max_norm / norm
    return {n: np.multiply(grads[n], scale) for n in names}, norm


def learning_rate(step, kind, base_lr, total_steps, warmup_steps, final_lr):
    if step < warmup_steps:
        return base_lr * step / warmup_steps
    rest = total_steps - warmup_steps
    if rest == 0:
        x = Fraction(min(1, step - warmup_steps))
    else:
        x = min(Fraction(1), Fraction(step - warmup_steps, rest))
    if kind == "linear":
        return float(base_lr * (1 - x) + final_lr * x)
    half = 0.5 * np.pi * float(x)
    return np.array(base_lr * np.cos(half) ** 2 + final_lr * np.sin(half) ** 2)


def batch_indices(n, batch_size, seed, step):
    per = n // batch_size
    keys = np.random.default_rng((7, seed, step // per)).random(n)
    table = np.argsort(keys)[: per * batch_size].reshape(per, batch_size)
    return table[step % per].tolist()


def channel_statistics(images):
    means, spreads = [], []
    for c in range(images.shape[3]):
        counts = np.bincount(images[..., c].ravel(), minlength=256)
        values = np.arange(256) / 255
        mean = (counts * values).sum() / counts.sum()
        means.append(mean)
        spreads.append(np.sqrt((counts * (values - mean) ** 2).sum() / counts.sum()))
    return means, spreads


def normalize(images, mean, std):
    table = (np.arange(256)[:, None] / 255 - mean) / std
    return np.stack([table[images[..., c], c] for c in range(images.shape[3])], axis=3)


def augment(images, padding, seed):
    rng = np.random.default_rng([seed, 3])
    n, h, w, _ = images.shape
    dy, dx = rng.integers(-padding, padding + 1, (2, n))
    rows = np.arange(h)[None, :] + dy[:, None]
    cols = np.where(rng.integers(0, 2, n)[:, None] == 1, np.arange(w)[::-1], np.arange(w)) + dx[:, None]
    inside = ((rows >= 0) & (rows < h))[:, :, None] & ((cols >= 0) & (cols < w))[:, None, :]
    picked = images[np.arange(n)[:, None, None], rows.clip(0, h - 1)[:, :, None], cols.clip(0, w - 1)[:, None, :]]
    return np.where(inside[..., None], picked, 0).astype(np.uint8)


def evaluate(params, config, images, labels, batch_size):
    parts = []
    for start in range(0, len(images), batch_size):
        x, y = images[start : start + batch_size], labels[start : start + batch_size]
        loss, _ = vit_loss_and_gradients(params, config, x, y)
        parts.append((len(y), loss, np.mean(np.argmax(vit(params, config, x), -1) == y)))
    counts, losses, rights = np.array(parts).T
    return {"accuracy": np.average(rights, weights=counts), "loss": np.average(losses, weights=counts)}


def train(params, config, recipe, images, labels, until, state=None):
    if state is None:
        p, memory, losses = {n: np.array(a) for n, a in params.items()}, None, ()
    else:
        p, memory, losses = state["params"], state["memory"] or None, tuple(state["losses"])
    names = decay_names({n: a.shape for n, a in p.items()})
    for s in range(len(losses), until):
        pick = batch_indices(len(labels), recipe["batch_size"], recipe["seed"], s)
        loss, g = vit_loss_and_gradients(p, config, images[pick], labels[pick])
        limit = recipe["clip_norm"]
        g = g if limit is None else clip_by_global_norm(g, limit)[0]
        plan = {key: recipe[key] for key in ("kind", "base_lr", "total_steps", "warmup_steps", "final_lr")}
        p, memory = adamw(p, [g], [learning_rate(s, **plan)], recipe, names, memory)
        losses += (loss,)
    return {"params": p, "memory": memory or {}, "losses": losses, "step": np.int64(len(losses))}
