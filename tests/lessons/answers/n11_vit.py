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
    """One image: z (N, D)."""
    N, D = z.shape
    u = norm(z, w["norm1.scale"], w["norm1.bias"], eps)
    qkv = (u @ w["attention.qkv.weight"] + w["attention.qkv.bias"]).reshape(N, 3, H, D // H)
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
    depth = sum(name.endswith(".norm1.scale") for name in w)
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


def image_gradient_by_einsum(dz0, E, height, width, P):
    kernel = E.reshape(P, P, -1, E.shape[1])
    tokens = dz0[:, 1:].reshape(len(dz0), height // P, width // P, -1)
    return np.einsum("bijd,uvcd->biujvc", tokens, kernel).reshape(len(dz0), height, width, -1)


def vit_of_batches(images, w, P, H):
    """All images at once, and GELU by tanh."""

    def linear(x, name):
        return x @ w[name + ".weight"] + w[name + ".bias"]

    def normed(x, name):
        return norm(x, w[name + ".scale"], w[name + ".bias"], 1e-6)

    B, height, width, C = images.shape
    x = images.reshape(B, height // P, P, width // P, P, C).swapaxes(2, 3).reshape(B, -1, P * P * C)
    z = linear(x, "patch_embed.projection") + w["position_embedding"]
    for i in range(max(int(name.split(".")[1]) for name in w if name.startswith("blocks")) + 1):
        start = f"blocks.{i}."
        q, k, v = np.moveaxis(
            linear(normed(z, start + "norm1"), start + "attention.qkv").reshape(B, z.shape[1], 3, H, -1), (2, 3), (0, 2)
        )
        scores = np.einsum("bhik,bhjk->bhij", q, k) * q.shape[-1] ** -0.5
        e = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed = np.einsum("bhij,bhjk->bihk", e / e.sum(axis=-1, keepdims=True), v).reshape(z.shape)
        z = z + linear(mixed, start + "attention.out")
        x = linear(normed(z, start + "norm2"), start + "mlp.hidden")
        x = 0.5 * x * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x * x * x)))
        z = z + linear(x, start + "mlp.out")
    return linear(normed(z, "norm").mean(1), "head")


def float32_vit(images, w, P, H):
    return vit(images.astype("f"), {name: a.astype("f") for name, a in w.items()}, P, H)


def swapped_weights(swap, w):
    """The parameters with those of two names exchanged, in every block."""
    return {name.replace(swap[0], "*").replace(swap[1], swap[0]).replace("*", swap[1]): a for name, a in w.items()}


# number -> answers that must pass
RIGHT = {
    "11.1": [
        lambda D, F: (D + 1) * 3 * D + (D + 1) * D + (D + 1) * F + (F + 1) * D + 2 * 2 * D,
        lambda D, F: sum(a * b + b for a, b in ((D, 3 * D), (D, D), (D, F), (F, D))) + 4 * D,
        lambda D, F: np.array([4 * D**2 + 2 * D * F + 9 * D + F]),
    ],
    "11.2": [
        lambda N, D: (4 * N * D**2 + 2 * N**2 * D) / (8 * N * D**2),
        lambda N, D: (2 * D + N) / (4 * D),
    ],
    "11.3": ["head", " Head"],
    "11.4": [image_gradient, image_gradient_by_einsum],
    "11.5": [vit, vit_of_batches],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "11.1": [
        (lambda D, F: 4 * D * D + 2 * D * F, "matrices alone"),
        (lambda D, F: 4 * (D * D + D) + 2 * D * F + F + D, "LayerNorms are missing"),
        (lambda D, F: D * (12 * D + 13), "argument of its own"),
        (lambda D, F: 4 * D * D + 2 * D * F + 7 * D + F, "each of the two LayerNorms has a scale and a bias"),
        (lambda D, F: 3 * (D * D + D) + 2 * D * F + F + D + 4 * D, "fourth matrix"),
        (lambda D, F: 4 * D * D + D * F + 9 * D + F, "two matrices"),
        (lambda D, F: 4 * D * D + 2 * D * F + 9 * D + 3 * F, "those with F are not"),
        (lambda D, F: 12 * D * D, "differs"),
    ],
    "11.2": [
        (lambda N, D: 1 / 2, "must depend on N"),
        (lambda N, D: (4 * N * D**2 + N**2 * D) / (8 * N * D**2), "A v is not"),
        (lambda N, D: 8 * D / (4 * D + 2 * N), "other way round"),
        (lambda N, D: (4 * N * D**2 + 2 * N**2 * D) / (2 * N * D**2), "for F = D"),
        (lambda N, D: 0.5 + D / (4 * N), "N to the second power"),
        (lambda N, D: 0.5 + N / D, "those with N / D are not"),
    ],
    "11.3": [
        ("all", "head W of zeros"),
        ("none", "dlogits"),
        ("last block and head", "has passed the head"),
        ("last block", "Choose one of"),
    ],
    "11.4": [
        (patches_transposed, "transposed"),
        (lambda dz0, E, height, width, P: image_gradient(dz0, E, height, width, P, first=0), "token i + 1"),
        (lambda dz0, E, height, width, P: dz0[:, 1:] @ E.T, "has shape"),
        (lambda dz0, E, *sizes: image_gradient(dz0[:, ::-1], E, *sizes, first=0), "not in their places"),
        (lambda dz0, E, *sizes: image_gradient(dz0[:, ::-1], E, *sizes), "reverse order"),
        (lambda dz0, E, *sizes: image_gradient(dz0, E, *sizes).mean(axis=-1), "has shape"),
        (lambda dz0, E, *sizes: image_gradient(dz0, np.linalg.pinv(E).T, *sizes), "not its inverse"),
        (lambda dz0, E, *sizes: image_gradient(dz0, E, *sizes) / len(dz0), "a mean instead of a sum"),
    ],
    "11.5": [
        (lambda images, w, P, H: vit(images, w, P, H, last=False), "last LayerNorm"),
        (lambda images, w, P, H: vit(images, w, P, H, as_text=True), "blocks.10"),
        (lambda images, w, P, H: vit(images, w, P, H, read=[0]), "Token 0 alone"),
        (lambda images, w, P, H: vit(images, w, P, H, eps=1e-5), "epsilon"),
        (lambda images, w, P, H: vit(images, w, P, H, eps=1e-2), "differ from the library's"),
        (lambda images, w, P, H: vit(images, w, P, H)[0], "expected (3, 4)"),
        (lambda images, w, P, H: vit(images, w, P, 1), "one wide head"),
        (lambda images, w, P, H: np.exp(vit(images, w, P, H)), "differ from the library's"),
        (
            lambda images, w, P, H: vit(images, {**w, "position_embedding": 0 * w["position_embedding"]}, P, H),
            "missing",
        ),
        (
            lambda images, w, P, H: vit(images, swapped_weights(("norm1", "norm2"), w), P, H),
            "differ from the library's",
        ),
        (float32_vit, "float32"),
    ],
}

# number -> a change of a right answer that leaves it right -> why
EQUIVALENT = {
    "11.4": {
        "result = np.ones((len(dz0), height, width, channels))": "every entry is overwritten",
        "result[:, row:row + P, column:column + P] = pixels.reshape(len(dz0), P, P, channels)": "P is P",
        "kernel = E.reshape(P, P, -2, E.shape[1])": "a negative number stands for the length that is left",
        "tokens = …, -2)": "a negative number stands for the length that is left",
        "return np.einsum(…).reshape(…, -2)": "a negative number stands for the length that is left",
        "kernel = E.reshape(P, P, -1, E.shape[1])": "P is P",
        "kernel = E.reshape(P, -1, P, E.shape[1])": "the two are flattened again in the same order",
        "tokens = dz0[:, 1:].reshape(height // P, len(dz0), width // P, -1)": "both are flattened again",
    },
    "11.5": {
        "x = images.reshape(height // P, B, …": "the two axes are flattened again in the same order",
        "x = …reshape(B, -2, P * P * C)": "a negative number stands for the length that is left",
        "x = …swapaxes(3, 2).reshape(B, -1, P * P * C)": "axes are exchanged, in whatever order they are named",
        "e = np.exp(scores …": "a softmax does not change when a number is added to a row; no case has large scores",
        "return (x - x.mean(1, keepdims=True)) / …": "axis 1 is the last of the two",
    },
}
