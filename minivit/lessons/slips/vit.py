"""A Vision Transformer in plain NumPy, and its typical slips: for the judge of exercise 11.5."""

import math
from collections.abc import Mapping

import numpy as np

Weights = Mapping[str, np.ndarray]

# what `vit` does wrong -> what is said about it
SLIPS = {
    "no last norm": "The last LayerNorm (Eq. 4) is missing.",
    "mean before norm": "The last LayerNorm comes before the mean: it looks at single tokens.",
    "first token left out": "The mean runs over all tokens. There is no [class] token here to leave out.",
    "first token read": "Token 0 alone is read. It is the first patch here; read the mean over all tokens.",
    "last token read": "The last token alone is read; read the mean over all tokens.",
    "tokens added": "The tokens are added up before the head; read their mean.",
    "eps 1e-5": "The epsilon of LayerNorm is 1e-6, inside the root; this is 1e-5, that of PyTorch.",
    "eps 0": "The epsilon of LayerNorm is 1e-6, inside the root; this is none, or a far smaller one.",
    "eps outside": "The epsilon of LayerNorm is added to the variance, inside the root, not to the standard deviation.",
    "ddof": "LayerNorm divides the squares by D, not by D - 1: np.var without ddof.",
    "variance": "LayerNorm divides by the standard deviation; this divides by the variance.",
    "no scale": "The scale and the bias of LayerNorm are missing.",
    "norm over tokens": "LayerNorm looks at one token at a time: mean and variance over the features, the last axis.",
    "blocks as text": "The blocks are in the wrong order: sorted as text, blocks.10 comes before blocks.2.",
    "blocks reversed": "The blocks are taken in reverse order.",
    "erf": "This is GELU in its erf form; the published code, and w, go with the tanh form.",
    "sigmoid": "This is the approximation x sigmoid(1.702 x) of GELU; w goes with the tanh form.",
    "relu": "This is ReLU; the MLP has GELU in its tanh form.",
    "no gelu": "Between the two layers of the MLP stands a GELU.",
    "gelu twice": "GELU stands between the two layers of the MLP, not behind the second as well.",
    "wide scores": "The scores are divided by the square root of D, not of the width D / H of a head.",
    "unscaled scores": "The scores must be divided by the square root of the width of a head.",
    "scaled twice": "The scores are divided by the width of a head; divide by its square root.",
    "softmax over queries": "The softmax runs over the queries. The weights of one query sum to 1 over the keys.",
    "no softmax": "The scores must pass a softmax before they weight the values.",
    "one head": "This is one wide head. Each of the H heads has its own D / H features and its own softmax.",
    "head runs slowest": "The columns of qkv are all q, then all k, then all v; in each, head 0 comes first. Here "
    "q, k and v of one head stand side by side.",
    "q and k swapped": "Queries and keys are exchanged: the columns of qkv are q, k, v.",
    "interleaved heads": "Head h has D / H neighbouring features, not every H-th one.",
    "heads last": "Put the heads together token by token: the outputs of all heads stand side by side.",
    "no out": "After the heads comes a linear layer, attention.out.",
    "no biases": "The biases of the linear layers are missing.",
    "no head bias": "The bias of the head is missing.",
    "no position": "The position embedding is missing.",
    "position in every block": "The position embedding is added once, before the first block, not in every block.",
    "no skip in attention": "The residual connection past attention is missing: z = attention(norm1(z)) + z.",
    "no skip in mlp": "The residual connection past the MLP is missing: z = mlp(norm2(z)) + z.",
    "skip of norm": "The residual connection carries z itself, not norm(z).",
    "post norm": "LayerNorm stands before attention and before the MLP (Eq. 2 and 3), not after the sum.",
    "no norm1": "The LayerNorm before attention is missing.",
    "no norm2": "The LayerNorm before the MLP is missing.",
    "norm1 twice": "Before the MLP comes norm2; this uses norm1 again.",
    "mlp in parallel": "The MLP reads what attention has left (Eq. 3); here both read the same z.",
    "patches transposed": "The pixels of a patch are in the order row, column, channel; this has columns first.",
    "patches by columns": "The patches are numbered row by row; this goes column by column.",
    "channels first": "The pixels of a patch are in the order row, column, channel: the channel runs fastest.",
    "rows cut": "A patch has P rows and P columns. This cuts the image as one long list of pixels.",
    "probabilities": "These are probabilities. Return the logits, without a softmax.",
}
_PATCH_AXES = {"patches transposed": (0, 1, 3, 4, 2, 5), "patches by columns": (0, 3, 1, 2, 4, 5)}
_PATCH_AXES |= {"channels first": (0, 1, 3, 5, 2, 4), "rows cut": (0, 1, 2, 3, 4, 5)}
_EPSILONS = {"eps 1e-5": 1e-5, "eps 0": 0.0}


def vit(images: np.ndarray, w: Weights, P: int, H: int, slip: str = "") -> np.ndarray:
    """images (B, height, width, C) -> logits (B, K) of a model that reads the mean of its tokens.

    slip: a key of SLIPS, the mistake to make. Source: Dosovitskiy et al. 2020, Eq. 1 to 4 and appendix D.3.
    """
    z = _linear(_patches(images, P, slip), w, "patch_embed.projection", slip)
    position = 0 if slip == "no position" else w["position_embedding"]
    z = z + position
    names = sorted({name.split(".")[1] for name in w if name.startswith("blocks.")}, key=int)
    if slip == "blocks as text":
        names.sort()
    for i in reversed(names) if slip == "blocks reversed" else names:
        z = z + position if slip == "position in every block" and i != "0" else z
        z = _block(z, {name.removeprefix(f"blocks.{i}."): a for name, a in w.items()}, H, slip)
    if slip == "mean before norm":
        return _linear(_norm(z.mean(axis=1), w, "norm", slip), w, "head", slip)
    z = z if slip == "no last norm" else _norm(z, w, "norm", slip)
    read = {"first token left out": slice(1, None), "first token read": slice(1), "last token read": slice(-1, None)}
    features = z.sum(axis=1) if slip == "tokens added" else z[:, read.get(slip, slice(None))].mean(axis=1)
    if slip == "no head bias":
        return features @ w["head.weight"]
    logits = _linear(features, w, "head", slip)
    return _softmax(logits) if slip == "probabilities" else logits


def _patches(images: np.ndarray, P: int, slip: str) -> np.ndarray:
    B, height, width, C = images.shape
    tiles = images.reshape(B, height // P, P, width // P, P, C).transpose(_PATCH_AXES.get(slip, (0, 1, 3, 2, 4, 5)))
    return tiles.reshape(B, -1, P * P * C)


def _block(z: np.ndarray, w: Weights, H: int, slip: str) -> np.ndarray:
    def normed(x: np.ndarray, name: str) -> np.ndarray:
        return x if slip in ("post norm", f"no {name}") else _norm(x, w, name, slip)

    def added(x: np.ndarray, branch: np.ndarray, name: str, part: str) -> np.ndarray:
        kept = 0 if slip == f"no skip in {part}" else _norm(x, w, name, slip) if slip == "skip of norm" else x
        return _norm(kept + branch, w, name, slip) if slip == "post norm" else kept + branch

    mixed = _attention(_linear(normed(z, "norm1"), w, "attention.qkv", slip), H, slip)
    branch = mixed if slip == "no out" else _linear(mixed, w, "attention.out", slip)
    after = added(z, branch, "norm1", "attention")
    u = normed(z if slip == "mlp in parallel" else after, "norm1" if slip == "norm1 twice" else "norm2")
    f = _linear(_gelu(_linear(u, w, "mlp.hidden", slip), slip), w, "mlp.out", slip)
    return added(after, _gelu(f, "") if slip == "gelu twice" else f, "norm2", "mlp")


def _linear(x: np.ndarray, w: Weights, name: str, slip: str) -> np.ndarray:
    y = x @ w[f"{name}.weight"]
    return y if slip == "no biases" else y + w[f"{name}.bias"]


def _norm(x: np.ndarray, w: Weights, name: str, slip: str) -> np.ndarray:
    axis = -2 if slip == "norm over tokens" and x.ndim == 3 else -1
    eps = _EPSILONS.get(slip, 1e-6)
    variance = x.var(axis=axis, keepdims=True, ddof=int(slip == "ddof"))
    deviation = np.sqrt(variance) + eps if slip == "eps outside" else np.sqrt(variance + eps)
    x_hat = (x - x.mean(axis=axis, keepdims=True)) / (variance + eps if slip == "variance" else deviation)
    return x_hat if slip == "no scale" else x_hat * w[f"{name}.scale"] + w[f"{name}.bias"]


def _softmax(x: np.ndarray, axis: int = -1) -> np.ndarray:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def _attention(qkv: np.ndarray, H: int, slip: str) -> np.ndarray:
    B, N, width = qkv.shape
    D = width // 3
    H = 1 if slip == "one head" else H
    if slip == "head runs slowest":
        parts = qkv.reshape(B, N, H, 3, D // H).transpose(3, 0, 2, 1, 4)
    elif slip == "interleaved heads":
        parts = qkv.reshape(B, N, 3, D // H, H).transpose(2, 0, 4, 1, 3)
    else:
        parts = qkv.reshape(B, N, 3, H, D // H).transpose(2, 0, 3, 1, 4)  # 3, B, H, N, K
    k, q, v = parts if slip == "q and k swapped" else parts[[1, 0, 2]]
    scale = {"wide scores": math.sqrt(D), "unscaled scores": 1, "scaled twice": D // H}.get(slip, math.sqrt(D // H))
    scores = q @ k.swapaxes(-1, -2) / scale
    weights = scores if slip == "no softmax" else _softmax(scores, -2 if slip == "softmax over queries" else -1)
    mixed = weights @ v
    if slip == "interleaved heads":
        return mixed.transpose(0, 2, 3, 1).reshape(B, N, D)
    return (mixed if slip == "heads last" else mixed.swapaxes(1, 2)).reshape(B, N, D)


def _gelu(x: np.ndarray, slip: str) -> np.ndarray:
    if slip == "no gelu":
        return x
    if slip == "relu":
        return np.maximum(x, 0)
    if slip == "sigmoid":
        return x / (1 + np.exp(-1.702 * x))
    if slip == "erf":
        return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2
    return x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2
