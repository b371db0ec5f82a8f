"""Swin once more: no roll and no windows. Every place of a padded map attends to all others, and each pair of places
knows whether it shares a window, and how far apart the two lie in it. Weights are under the official names."""

import math
import re

import numpy as np

erf = np.vectorize(math.erf)
SIZES = {
    "image_size": [20, 28], "patch_size": 2, "num_channels": 2, "embed_dim": 4, "depths": [2, 2], "num_heads": [2, 1],
    "window_size": 4, "mlp_ratio": 2.0, "qkv_bias": True,
}  # fmt: skip


def arrays(config, rng, tables, positions=None):
    """Random weights.   tables: the window of the table of each stage. positions: how many, None for none."""
    D, P, C, ratio = (config[key] for key in ("embed_dim", "patch_size", "num_channels", "mlp_ratio"))
    shapes = {"patch_embed.proj.weight": (D, C, P, P), "patch_embed.proj.bias": (D,)}
    norms = {"patch_embed.norm": D}
    if positions:
        shapes["absolute_pos_embed"] = (1, positions, D)
    for i, (depth, heads, (high, wide)) in enumerate(zip(config["depths"], config["num_heads"], tables, strict=True)):
        for j in range(depth):
            at, F = f"layers.{i}.blocks.{j}", int(D * ratio)
            norms |= {f"{at}.norm1": D, f"{at}.norm2": D}
            shapes[f"{at}.attn.relative_position_bias_table"] = ((2 * high - 1) * (2 * wide - 1), heads)
            inner = heads * config.get("head_dim", D // heads)
            for name, rows, columns in (
                ("attn.qkv", 3 * inner, D),
                ("attn.proj", D, inner),
                ("mlp.fc1", F, D),
                ("mlp.fc2", D, F),
            ):
                shapes[f"{at}.{name}.weight"] = (rows, columns)
                if name != "attn.qkv" or config["qkv_bias"]:
                    shapes[f"{at}.{name}.bias"] = (rows,)
        if i < len(config["depths"]) - 1:
            norms[f"layers.{i}.downsample.norm"] = 4 * D
            shapes[f"layers.{i}.downsample.reduction.weight"] = (2 * D, 4 * D)
            D *= 2
    norms["norm"] = D
    for name, width in norms.items():
        shapes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    shapes |= {"head.weight": (3, D), "head.bias": (3,)}
    return {name: rng.standard_normal(shape) * 0.5 for name, shape in shapes.items()}


def in_timm_names(weights):
    """The merging stands at the beginning of the next stage; the head is head.fc."""
    found = {}
    for name, x in weights.items():
        name = re.sub(r"^layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) + 1}.downsample", name)
        found[re.sub(r"^head\.", "head.fc.", name)] = x
    return found


def in_hub_names(weights, version):
    """As transformers has them, of version 4 or 5: queries, keys and values apart."""
    inner = {
        4: ("attention.self.query attention.self.key attention.self.value", "attention.output.dense",
            "attention.self.relative_position_bias_table", "intermediate.dense", "output.dense"),
        5: ("attention.q_proj attention.k_proj attention.v_proj", "attention.o_proj",
            "attention.relative_position_bias.relative_position_bias_table", "mlp.fc1", "mlp.fc2"),
    }[version]  # fmt: skip
    rules = (
        ("patch_embed.proj", "swin.embeddings.patch_embeddings.projection"),
        ("patch_embed.norm", "swin.embeddings.norm"),
        ("absolute_pos_embed", "swin.embeddings.position_embeddings"), ("head.", "classifier."),
        ("norm1", "layernorm_before"), ("norm2", "layernorm_after"), ("attn.proj", inner[1]),
        ("attn.relative_position_bias_table", inner[2]), ("mlp.fc1", inner[3]), ("mlp.fc2", inner[4]),
    )  # fmt: skip
    found = {}
    for name, x in weights.items():
        theirs = {"norm.weight": "swin.layernorm.weight", "norm.bias": "swin.layernorm.bias"}.get(name, name)
        for old, new in rules:
            theirs = theirs.replace(old, new, 1) if theirs.startswith(old) or f".{old}" in theirs else theirs
        theirs = re.sub(r"^layers\.", "swin.encoder.layers.", theirs)
        parts = zip(inner[0].split(), np.split(x, 3), strict=True) if ".attn.qkv." in theirs else [("attn.qkv", x)]
        found |= {theirs.replace("attn.qkv", part): own for part, own in parts}
    return found


def norm(w, name, x, eps=1e-5):
    centred = x - x.mean(axis=-1, keepdims=True)
    spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps)
    return centred / spread * w[f"{name}.weight"] + w[f"{name}.bias"]


def linear(w, name, x):
    return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0)


def padded(x, below, right):
    return np.pad(x, ((0, 0), (0, below), (0, right), (0, 0)))


def fitted(window, grid, code, always=False):
    """The window of a stage, and whether it moves, on each axis."""
    if always:
        return window, (True, True)
    if code == "timm":
        pairs = list(zip(grid, window, strict=True))
        return tuple(map(min, pairs)), tuple(n > w for n, w in pairs)
    one = min(grid)
    return ((one, one), (False, False)) if one <= window[0] else (window, (True, True))


def attended(w, at, x, heads, window, shift, code):
    """The attention of a map (B, R, C, D), before it is added.   shift: by how much windows move on each axis."""
    rows, columns = x.shape[1:3]
    x = padded(x, -rows % window[0], -columns % window[1])
    high, wide = x.shape[1:3]
    # where a place of the padded map stands after the map has moved: timm moves what lies outside of the zeros
    turns = (rows, columns) if code == "timm" else (high, wide)
    places = []
    for size, turn, s in zip((high, wide), turns, shift, strict=True):
        i = np.arange(size)
        places.append(np.where(i < turn, (i - s) % turn, i))
    y, z = (p.reshape(-1) for p in np.meshgrid(*places, indexing="ij"))
    same = (y[:, None] // window[0] == y // window[0]) & (z[:, None] // window[1] == z // window[1])
    against = np.zeros(same.shape, bool)
    for place, size, side, s in ((y, high, window[0], shift[0]), (z, wide, window[1], shift[1])):
        region = (place >= size - side) * 1 + (place >= size - s) * 1 if s else place * 0
        against |= region[:, None] != region
    row = (y[:, None] - y + window[0] - 1) * (2 * window[1] - 1) + z[:, None] - z + window[1] - 1
    tokens = x.reshape(len(x), high * wide, -1)
    q, k, v = np.split(linear(w, f"{at}.qkv", tokens), 3, axis=-1)
    given = []
    for h, part in enumerate(np.split(np.arange(q.shape[-1]), heads)):
        bias = w[f"{at}.relative_position_bias_table"][np.where(same, row, 0), h]
        scores = q[..., part] @ k[..., part].swapaxes(1, 2) / math.sqrt(len(part)) + bias - 100.0 * against
        e = np.where(same, np.exp(scores - scores.max()), 0)
        given.append(e / e.sum(axis=-1, keepdims=True) @ v[..., part])
    found = linear(w, f"{at}.proj", np.concatenate(given, axis=-1))
    return found.reshape(x.shape)[:, :rows, :columns]


def logits(w, config, images, code, eps=1e-5):
    """images: (B, C, height, width).   code: whose padding, "official", "timm" or "hf"."""
    P, kernel = config["patch_size"], w["patch_embed.proj.weight"]
    images = np.moveaxis(images, 1, -1)
    images = padded(images, -images.shape[1] % P, -images.shape[2] % P)
    batch, height, width, channels = images.shape
    tiles = images.reshape(batch, height // P, P, width // P, P, channels)
    x = np.einsum("brpcqk,dkpq->brcd", tiles, kernel) + w["patch_embed.proj.bias"]
    x = norm(w, "patch_embed.norm", x)
    if "absolute_pos_embed" in w:
        x = x + w["absolute_pos_embed"].reshape(1, *x.shape[1:])
    for i, (depth, heads) in enumerate(zip(config["depths"], config["num_heads"], strict=True)):
        full = config["window_size"]
        full = full if isinstance(full, int) else full[i] if len(full) != 2 else tuple(full)
        full = (full, full) if isinstance(full, int) else full
        window, moves = fitted(full, tuple(x.shape[1:3]), code, config.get("always_partition", False))
        for j in range(depth):
            at = f"layers.{i}.blocks.{j}"
            shift = tuple(n // 2 if m and j % 2 else 0 for n, m in zip(full, moves, strict=True))
            x = x + attended(w, f"{at}.attn", norm(w, f"{at}.norm1", x, eps), heads, window, shift, code)
            hidden = linear(w, f"{at}.mlp.fc1", norm(w, f"{at}.norm2", x, eps))
            x = x + linear(w, f"{at}.mlp.fc2", hidden * (1 + erf(hidden / math.sqrt(2))) / 2)
        if i < len(config["depths"]) - 1:
            x = padded(x, x.shape[1] % 2, x.shape[2] % 2)
            four = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]
            at = f"layers.{i}.downsample"
            x = linear(w, f"{at}.reduction", norm(w, f"{at}.norm", np.concatenate(four, axis=-1)))
    return linear(w, "head", norm(w, "norm", x, eps).mean(axis=(1, 2)))
