"""Hiera once more: tokens stay where they lie in the map. Units are squares of it, and pooling looks at neighbours.
Weights are under the official names. Units are as wide as the pools make them: 2 x 2 of what 2 x 2 of ... become."""

import math

import numpy as np

erf = np.vectorize(math.erf)
SIZES = {
    "img_size": [16, 24], "in_chans": 2, "embed_dim": 4, "num_heads": 1, "stages": [2, 1, 2], "q_pool": 2,
    "q_stride": [2, 2], "mask_unit_size": [4, 4], "mask_unit_attn": [True, True, False], "patch_kernel": [5, 5],
    "patch_stride": [2, 2], "patch_padding": [2, 2], "mlp_ratio": 2.0, "num_classes": 3,
}  # fmt: skip


def blocks_of(config):
    """(stage, whether it begins one, width before, width after, heads) of every block."""
    width, heads = config["embed_dim"], config["num_heads"]
    for stage, depth in enumerate(config["stages"]):
        for i in range(depth):
            begins = i == 0 and stage > 0
            new = int(width * config.get("dim_mul", 2.0)) if begins else width
            heads = int(heads * config.get("head_mul", 2.0)) if begins else heads
            yield stage, begins, width, new, heads
            width = new


def arrays(config, rng):
    """Random weights; with "init_values" and the like also those that timm has added."""
    D, C, kernel = config["embed_dim"], config["in_chans"], config["patch_kernel"]
    rows, columns = (n // s for n, s in zip(config["img_size"], config["patch_stride"], strict=True))
    shapes = {"patch_embed.proj.weight": (D, C, *kernel), "patch_embed.proj.bias": (D,)}
    shapes["pos_embed"] = (1, rows * columns, D)
    if config.get("abs_win_pos_embed"):
        shapes |= {"pos_embed": (1, D, *config["global_pos_size"]), "pos_embed_win": (1, D, *config["mask_unit_size"])}
    norms = {}
    for b, (_, begins, width, new, _) in enumerate(blocks_of(config)):
        at, F = f"blocks.{b}", int(new * config["mlp_ratio"])
        norms |= {f"{at}.norm1": width, f"{at}.norm2": new}
        linear = {"attn.qkv": (3 * new, width), "attn.proj": (new, new), "mlp.fc1": (F, new), "mlp.fc2": (new, F)}
        if begins and config.get("use_expand_proj", True):
            linear["proj"] = (new, width)
        for name, (out, into) in linear.items():
            shapes |= {f"{at}.{name}.weight": (out, into), f"{at}.{name}.bias": (out,)}
        if config.get("init_values") is not None:
            shapes |= {f"{at}.ls1.gamma": (new,), f"{at}.ls2.gamma": (new,)}
    norms["norm"] = new
    for name, width in norms.items():
        shapes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    shapes |= {"head.projection.weight": (3, new), "head.projection.bias": (3,)}
    return {name: rng.standard_normal(shape) * 0.5 for name, shape in shapes.items()}


def in_timm_names(weights):
    names = {"norm.": "head.norm.", "head.projection.": "head.fc."}
    return {
        next((new + name.removeprefix(old) for old, new in names.items() if name.startswith(old)), name): x
        for name, x in weights.items()
    }


def in_hub_names(weights, depths):
    """As transformers has them, which counts the blocks of every stage."""
    places = [f"hiera.encoder.stages.{i}.layers.{j}." for i, depth in enumerate(depths) for j in range(depth)]
    found = {}
    for name, x in weights.items():
        if name.startswith("blocks."):
            _, number, rest = name.split(".", 2)
            name = places[int(number)] + rest.replace("norm1", "layernorm_before").replace("norm2", "layernorm_after")
        for old, new in (
            ("patch_embed.proj", "hiera.embeddings.patch_embeddings.projection"),
            ("pos_embed", "hiera.embeddings.position_embeddings"), ("norm.", "hiera.pooler.layernorm."),
            ("head.projection", "classifier"),
        ):  # fmt: skip
            name = new + name.removeprefix(old) if name.startswith(old) else name
        found[name] = x
    return found


def norm(w, name, x):
    centred = x - x.mean(axis=-1, keepdims=True)
    spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-6)
    return centred / spread * w[f"{name}.weight"] + w[f"{name}.bias"]


def linear(w, name, x):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def squares(x, high, wide):
    """(B, R, C, D) -> (B, R / high, C / wide, high wide, D)."""
    batch, rows, columns, width = x.shape
    x = x.reshape(batch, rows // high, high, columns // wide, wide, width).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, rows // high, columns // wide, high * wide, width)


def pooled(x, by):
    return squares(x, *by).max(axis=3)


def attended(w, at, x, new, heads, by, unit):
    """x: (B, R, C, D).   by: the rectangle of queries that become one.   unit: (rows, columns) before the pooling."""
    high, wide = unit or x.shape[1:3]
    q, k, v = (linear(w, f"{at}.qkv", x)[..., i * new : (i + 1) * new] for i in range(3))
    rows, columns = x.shape[1] // by[0], x.shape[2] // by[1]
    q = squares(pooled(q, by), high // by[0], wide // by[1])
    k, v = squares(k, high, wide), squares(v, high, wide)
    y = np.zeros_like(q)
    for part in np.split(np.arange(new), heads):
        scores = np.einsum("buvqd,buvkd->buvqk", q[..., part], k[..., part]) / math.sqrt(len(part))
        e = np.exp(scores - scores.max(axis=-1, keepdims=True))
        y[..., part] = e / e.sum(axis=-1, keepdims=True) @ v[..., part]
    y = y.reshape(len(x), rows // (high // by[0]), columns // (wide // by[1]), high // by[0], wide // by[1], new)
    return linear(w, f"{at}.proj", y.transpose(0, 1, 3, 2, 4, 5).reshape(len(x), rows, columns, new))


def maps(w, config, images, resize=None):
    """The map (B, R, C, D) after every block.   images: (B, C, height, width)."""
    (kernel, _), (step, _), (border, _) = config["patch_kernel"], config["patch_stride"], config["patch_padding"]
    x = np.pad(np.moveaxis(images, 1, -1), ((0, 0), (border, border), (border, border), (0, 0)))
    rows, columns = (n // step for n in config["img_size"])
    patches = np.stack([
        x[:, i * step : i * step + kernel, j * step : j * step + kernel] for i in range(rows) for j in range(columns)
    ], axis=1)  # fmt: skip
    x = np.einsum("bnpqc,dcpq->bnd", patches, w["patch_embed.proj.weight"]) + w["patch_embed.proj.bias"]
    x = x.reshape(len(x), rows, columns, -1)
    positions = w["pos_embed"]
    if "pos_embed_win" in w:
        (high, wide), old = config["mask_unit_size"], positions.shape[2:]
        whole = resize(old[0], rows) @ positions @ resize(old[1], columns).T
        positions = np.moveaxis(whole + np.tile(w["pos_embed_win"], (1, 1, rows // high, columns // wide)), 1, -1)
    x = x + positions.reshape(1, rows, columns, -1)
    unit, found = list(config["mask_unit_size"]), []
    blocks = list(blocks_of(config))
    for b, (stage, begins, _, new, heads) in enumerate(blocks):
        at, by = f"blocks.{b}", config["q_stride"] if begins and stage <= config["q_pool"] else (1, 1)
        local = config["mask_unit_attn"][blocks[b - 1][0] if b else 0]
        normed = norm(w, f"{at}.norm1", x)
        branch = attended(w, f"{at}.attn", normed, new, heads, by, unit if local else None)
        if begins:
            if f"{at}.proj.weight" in w:
                x = pooled(linear(w, f"{at}.proj", normed), by)
            else:
                x = np.concatenate([pooled(x, by), squares(x, *by).mean(axis=3)], axis=-1)
        x = x + branch * w.get(f"{at}.ls1.gamma", 1)
        hidden = linear(w, f"{at}.mlp.fc1", norm(w, f"{at}.norm2", x))
        branch = linear(w, f"{at}.mlp.fc2", hidden * (1 + erf(hidden / math.sqrt(2))) / 2)
        x = x + branch * w.get(f"{at}.ls2.gamma", 1)
        unit = [n // step for n, step in zip(unit, by, strict=True)]
        found.append(x)
    return found


def logits(w, config, images, resize=None):
    last = maps(w, config, images, resize)[-1]
    return linear(w, "head.projection", norm(w, "norm", last.mean(axis=(1, 2))))
