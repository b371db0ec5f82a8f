"""Indices instead of masks; written without `given`."""

import math

import numpy as np


def random_mask(batch, n, ratio, seed):
    visible = int(n * (1 - ratio))
    rng = np.random.RandomState(seed)
    mask = np.ones((batch, n), dtype=bool)
    for row in mask:
        row[rng.choice(n, visible, replace=False)] = False
    return mask


def _cut(images, patch):
    b, h, w, c = images.shape
    p, q = patch
    return np.einsum("brpsqc->brspqc", images.reshape(b, h // p, p, w // q, q, c)).reshape(b, -1, p * q * c)


def _norm(x, scale, bias, eps):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * scale + bias


def _gelu(x, form):
    if form == "erf":
        return x * (1 + np.vectorize(math.erf)(x / 2**0.5)) / 2
    return x * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3))) / 2


def encode_visible(params, config, images, mask):
    p, d, heads = params, config["width"], config["heads"]
    seen = np.argsort(mask, axis=1, kind="stable")[:, : (~mask[0]).sum()]
    x = np.take_along_axis(_cut(images, config["patch_size"]), seen[:, :, None], axis=1)
    x = x @ p["patch_embed.projection.weight"] + p["patch_embed.projection.bias"]
    x = x + p["position_embedding"][0, 1:][seen]
    first = p["class_token"][0] + p["position_embedding"][0, :1]
    x = np.stack([np.vstack([first, rows]) for rows in x])
    for i in range(config["depth"]):
        w = lambda name, i=i: p[f"blocks.{i}.{name}"]
        h = _norm(x, w("norm1.scale"), w("norm1.bias"), config["norm_eps"])
        qkv = (h @ w("attention.qkv.weight") + w("attention.qkv.bias")).reshape(*x.shape[:2], 3, heads, d // heads)
        s = np.einsum("bnhk,bmhk->bhnm", qkv[:, :, 0], qkv[:, :, 1]) / (d // heads) ** 0.5
        s = np.exp(s - s.max(-1, keepdims=True))
        o = np.einsum("bhnm,bmhk->bnhk", s / s.sum(-1, keepdims=True), qkv[:, :, 2]).reshape(x.shape)
        x = x + o @ w("attention.out.weight") + w("attention.out.bias")
        h = _norm(x, w("norm2.scale"), w("norm2.bias"), config["norm_eps"])
        h = _gelu(h @ w("mlp.hidden.weight") + w("mlp.hidden.bias"), config["gelu"])
        x = x + h @ w("mlp.out.weight") + w("mlp.out.bias")
    return _norm(x, p["norm.scale"], p["norm.bias"], config["norm_eps"])


def decoder_input(latent, mask, mask_token, positions):
    place = np.where(mask, 0, np.cumsum(~mask, axis=1))
    tokens = np.take_along_axis(latent, place[:, :, None], axis=1)
    tokens = np.where(mask[:, :, None], mask_token, tokens)
    out = np.empty((len(mask), *positions.shape[1:]))
    out[:, 0], out[:, 1:] = latent[:, 0], tokens
    out += positions
    return out


def mae_loss(prediction, images, patch, mask, norm_pix):
    target = _cut(images, patch)[mask]
    if norm_pix:
        target = target - target.mean(-1, keepdims=True)
        target = target / np.sqrt((target**2).sum(-1, keepdims=True) / (target.shape[-1] - 1) + 1e-6)
    error = prediction[mask] - target
    back = np.zeros(prediction.shape, order="F")
    back[mask] = 2 * error / error.size
    return np.mean(error * error), back
