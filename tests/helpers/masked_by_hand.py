"""Encoders with a [mask] token once more, one image, one patch, one head at a time, with unilm's names."""

import math
import re

import numpy as np

erf = np.vectorize(math.erf)
SIZES = {
    "width": 8, "depth": 2, "heads": 2, "mlp": 12, "patch": [4, 4], "image": [12, 8], "channels": 3, "norm_eps": 1e-6,
    "relative": False, "absolute": True, "scaled": False, "gelu": "erf",
}  # fmt: skip


def arrays(size, rng):
    """Random weights of the encoder and its [mask] token.   relative, absolute: tables of positions; scaled:
    LayerScale, and keys without bias."""
    D, (rows, columns) = size["width"], grid(size)
    shapes = {"cls_token": (1, 1, D), "mask_token": (1, 1, D), "patch_embed.proj.bias": (D,)}
    shapes |= {"patch_embed.proj.weight": (D, size["channels"], *size["patch"]), "norm.weight": (D,), "norm.bias": (D,)}
    if size["absolute"]:
        shapes["pos_embed"] = (1, 1 + rows * columns, D)
    if size["relative"]:
        offsets = (2 * rows - 1) * (2 * columns - 1) + 3
        shapes["rel_pos_bias.relative_position_bias_table"] = (offsets, size["heads"])
    for i in range(size["depth"]):
        sides = {"attn.qkv": (3 * D, D), "attn.proj": (D, D), "mlp.fc1": (size["mlp"], D), "mlp.fc2": (D, size["mlp"])}
        for name, shape in {**sides, "norm1": (D,), "norm2": (D,)}.items():
            shapes |= {f"blocks.{i}.{name}.weight": shape, f"blocks.{i}.{name}.bias": shape[:1]}
        if size["scaled"]:
            del shapes[f"blocks.{i}.attn.qkv.bias"]
            names = ("attn.q_bias", "attn.v_bias", "gamma_1", "gamma_2")
            shapes |= {f"blocks.{i}.{name}": (D,) for name in names}
    return {name: rng.normal(0, 0.3, shape) for name, shape in shapes.items()}


def grid(size):
    return size["image"][0] // size["patch"][0], size["image"][1] // size["patch"][1]


def encoded(size, w, image, change):
    """The features of the patches of one image (C, height, width) after the last LayerNorm, (N, D).   change: of the
    list of projected patches."""
    (rows, columns), (high, wide) = grid(size), size["patch"]
    cells = [(row, column) for row in range(rows) for column in range(columns)]
    cut = [image[:, high * r : high * (r + 1), wide * c : wide * (c + 1)] for r, c in cells]
    projected = [np.tensordot(w["patch_embed.proj.weight"], x, 3) + w["patch_embed.proj.bias"] for x in cut]
    x = np.stack([w["cls_token"][0, 0], *change(projected)])
    x = x + w["pos_embed"][0] if "pos_embed" in w else x
    for i in range(size["depth"]):
        b = {name.removeprefix(f"blocks.{i}."): array for name, array in w.items() if name.startswith(f"blocks.{i}.")}
        first, second = b.get("gamma_1", 1), b.get("gamma_2", 1)
        x = x + first * attention(size, b, normed(x, b, "norm1.", size), scores_of(size, w, cells))
        hidden = normed(x, b, "norm2.", size) @ b["mlp.fc1.weight"].T + b["mlp.fc1.bias"]
        half = math.sqrt(2 / math.pi) * (hidden + 0.044715 * hidden**3)
        act = hidden * (1 + (erf(hidden / math.sqrt(2)) if size["gelu"] == "erf" else np.tanh(half))) / 2
        x = x + second * (act @ b["mlp.fc2.weight"].T + b["mlp.fc2.bias"])
    return normed(x, w, "norm.", size)[1:]


def normed(x, w, name, size):
    z = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + size["norm_eps"])
    return z * w[f"{name}weight"] + w[f"{name}bias"]


def scores_of(size, w, cells):
    """What relative positions add to the scores, (H, 1 + N, 1 + N)."""
    table = w.get("rel_pos_bias.relative_position_bias_table")
    added = np.zeros((size["heads"], 1 + len(cells), 1 + len(cells)))
    if table is None:
        return added
    (rows, columns) = grid(size)
    added[:, 0, :], added[:, :, 0], added[:, 0, 0] = table[-3][:, None], table[-2][:, None], table[-1]
    for i, (row, column) in enumerate(cells):
        for j, (other, beside) in enumerate(cells):
            added[:, 1 + i, 1 + j] = table[(row - other + rows - 1) * (2 * columns - 1) + column - beside + columns - 1]
    return added


def attention(size, b, x, added):
    D, each = size["width"], size["width"] // size["heads"]
    bias = b.get("attn.qkv.bias")
    if bias is None:
        bias = np.concatenate([b["attn.q_bias"], np.zeros(D), b["attn.v_bias"]])
    q, k, v = np.split(x @ b["attn.qkv.weight"].T + bias, 3, axis=1)
    out = []
    for h in range(size["heads"]):
        own = slice(h * each, (h + 1) * each)
        e = np.exp(q[:, own] @ k[:, own].T / math.sqrt(each) + added[h])
        out.append(e / e.sum(axis=1, keepdims=True) @ v[:, own])
    return np.concatenate(out, axis=1) @ b["attn.proj.weight"].T + b["attn.proj.bias"]


def hidden_behind(w, mask):
    """A change that puts the [mask] token where `mask` (N,) is true."""
    return lambda patches: [w["mask_token"][0, 0] if hidden else x for x, hidden in zip(patches, mask, strict=True)]


def surprise(logits, number):
    """-log softmax(logits)[number]."""
    return math.log(np.exp(logits).sum()) - logits[number]


def in_hub_names(w):
    """The arrays of BEiT as Hugging Face has them."""
    rules = {
        r"^(cls_token|mask_token)": r"beit.embeddings.\1", r"^pos_embed": "beit.embeddings.position_embeddings",
        r"^patch_embed\.proj": "beit.embeddings.patch_embeddings.projection", r"^norm\.": "layernorm.",
        r"^rel_pos_bias\.": "beit.encoder.relative_position_bias.", r"^blocks\.": "beit.encoder.layer.",
        r"attn\.proj": "attention.output.dense", r"attn\.q_bias": "attention.attention.query.bias",
        r"attn\.v_bias": "attention.attention.value.bias", r"mlp\.fc1": "intermediate.dense",
        r"mlp\.fc2": "output.dense", r"gamma_": "lambda_", r"norm1": "layernorm_before", r"norm2": "layernorm_after",
    }  # fmt: skip
    found = {}
    for name, x in w.items():
        for old, new in rules.items():
            name = re.sub(old, new, name)
        if "attn.qkv" in name:
            for part, third in zip(("query", "key", "value"), np.split(x, 3), strict=True):
                found[name.replace("attn.qkv", f"attention.attention.{part}")] = third
        else:
            found[name] = x
    return found


def check_gradients(case, recompute, loss, weights, image, renamed=dict):
    """Of a recording without gradients: along one direction through all weights and one through the image.

    loss(weights, image) by hand; renamed: weights -> under the names of the recording.
    """
    case.arrays |= {f"grad/{name}": x for name, x in renamed(weights).items()}  # what is asked for, with its shape
    found, rng, e = recompute(case), np.random.default_rng(2), 1e-5
    way = {name: rng.normal(size=x.shape) for name, x in weights.items()}
    moved = [{name: x + s * way[name] for name, x in weights.items()} for s in (e, -e)]
    difference = np.subtract(*(loss(w, image) for w in moved)) / (2 * e)
    along = sum((found[f"grad/{name}"] * x).sum() for name, x in renamed(way).items())
    assert abs(along - difference) < 1e-6 * max(1, abs(difference))
    norm = math.sqrt(sum(np.square(found[f"grad/{name}"]).sum() for name in renamed(way)))
    assert abs(found["grad_norm"] - norm) < 1e-12 * norm
    aside = rng.normal(size=image.shape)
    difference = np.subtract(*(loss(weights, image + s * aside) for s in (e, -e))) / (2 * e)
    assert abs((found["grad_input/image"] * aside).sum() - difference) < 1e-6 * max(1, abs(difference))
