"""Answers to the exercises of notebook 11."""

import math

import numpy as np


def image_gradient(dz0, E, height, width, P, first=1):
    channels = len(E) // (P * P)
    result = np.zeros((len(dz0), height, width, channels))
    token = first
    for row in range(0, height, P):
        for column in range(0, width, P):
            pixels = dz0[:, token] @ E.T
            result[:, row : row + P, column : column + P] = pixels.reshape(len(dz0), P, P, channels)
            token += 1
    return result


def patches_transposed(dz0, E, height, width, P):
    whole = image_gradient(dz0, E, height, width, P)
    for row in range(0, height, P):
        for column in range(0, width, P):
            patch = whole[:, row : row + P, column : column + P].swapaxes(1, 2).copy()
            whole[:, row : row + P, column : column + P] = patch
    return whole


def norm(x, scale, bias, eps):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) * scale + bias


def block(z, w, H, eps):
    """One image: z (T, D)."""
    T, D = z.shape
    u = norm(z, w["norm1.scale"], w["norm1.bias"], eps)
    qkv = (u @ w["attention.qkv.weight"] + w["attention.qkv.bias"]).reshape(T, 3, H, D // H)
    heads = []
    for h in range(H):
        q, k, v = qkv[:, 0, h], qkv[:, 1, h], qkv[:, 2, h]
        e = np.exp(q @ k.T / math.sqrt(D // H))
        heads.append(e / e.sum(axis=1, keepdims=True) @ v)
    z = z + np.hstack(heads) @ w["attention.out.weight"] + w["attention.out.bias"]
    x = norm(z, w["norm2.scale"], w["norm2.bias"], eps) @ w["mlp.hidden.weight"] + w["mlp.hidden.bias"]
    x = x / (1 + np.exp(-2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return z + x @ w["mlp.out.weight"] + w["mlp.out.bias"]


def vit(images, w, P, H, last=True, as_text=False, eps=1e-6, read=slice(None)):
    depth = 0
    while f"blocks.{depth}.norm1.scale" in w:
        depth += 1
    order = sorted(range(depth), key=str) if as_text else range(depth)
    logits = []
    for image in images:
        height, width, _ = image.shape
        x = [image[r : r + P, c : c + P].ravel() for r in range(0, height, P) for c in range(0, width, P)]
        z = np.array(x) @ w["patch_embed.projection.weight"] + w["patch_embed.projection.bias"]
        z = z + w["position_embedding"][0]
        for i in order:
            start = f"blocks.{i}."
            z = block(z, {name[len(start) :]: a for name, a in w.items() if name.startswith(start)}, H, eps)
        if last:
            z = norm(z, w["norm.scale"], w["norm.bias"], eps)
        logits.append(z[read].mean(axis=0) @ w["head.weight"] + w["head.bias"])
    return np.array(logits)


# number -> answers that must pass
RIGHT = {
    "11.1": [lambda D, F: (D + 1) * 3 * D + (D + 1) * D + (D + 1) * F + (F + 1) * D + 2 * 2 * D],
    "11.2": [lambda T, D: (4 * T * D**2 + 2 * T**2 * D) / (8 * T * D**2)],
    "11.3": ["head"],
    "11.4": [image_gradient],
    "11.5": [vit],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "11.1": [
        (lambda D, F: 4 * D * D + 2 * D * F, "matrices alone"),
        (lambda D, F: 4 * (D * D + D) + 2 * D * F + F + D, "LayerNorms are missing"),
        (lambda D, F: D * (12 * D + 13), "argument of its own"),
        (lambda D, F: 12 * D * D, "differs"),
    ],
    "11.2": [
        (lambda T, D: 1 / 2, "must depend on T"),
        (lambda T, D: (4 * T * D**2 + T**2 * D) / (8 * T * D**2), "A v is not"),
        (lambda T, D: 8 * D / (4 * D + 2 * T), "other way round"),
        (lambda T, D: 0.5 + T / D, "differs"),
    ],
    "11.3": [("all", "head W of zeros"), ("none", "dlogits"), ("last block", "Choose one of")],
    "11.4": [
        (patches_transposed, "transposed"),
        (lambda dz0, E, height, width, P: image_gradient(dz0, E, height, width, P, first=0), "token i + 1"),
        (lambda dz0, E, height, width, P: dz0[:, 1:] @ E.T, "has shape"),
        (lambda dz0, E, height, width, P: image_gradient(dz0[:, ::-1], E, height, width, P, first=0), "differs"),
    ],
    "11.5": [
        (lambda images, w, P, H: vit(images, w, P, H, last=False), "last LayerNorm"),
        (lambda images, w, P, H: vit(images, w, P, H, as_text=True), "blocks.10"),
        (lambda images, w, P, H: vit(images, w, P, H, read=[0]), "Token 0 alone"),
        (lambda images, w, P, H: vit(images, w, P, H, eps=1e-5), "epsilon"),
        (lambda images, w, P, H: vit(images, w, P, H, eps=1e-2), "differ from the library's"),
        (lambda images, w, P, H: vit(images, w, P, H)[0], "expected (3, 4)"),
        (lambda images, w, P, H: vit(images, w, P, 1), "one wide head"),
    ],
}
