"""MM-DiT once more, slowly: one example and one token at a time, with the names and layouts of diffusers."""

import numpy as np
from dit_by_hand import attend, features, gelu, norm, place, silu

SIZES = {
    "sample_size": 8, "patch_size": 2, "in_channels": 2, "num_layers": 2, "attention_head_dim": 4,
    "num_attention_heads": 2, "joint_attention_dim": 5, "pooled_projection_dim": 3, "out_channels": 2,
    "pos_embed_max_size": 6, "qk_norm": "rms_norm",
}  # fmt: skip


def weights_of(config, rng):
    head = config["attention_head_dim"]
    d, p, c = head * config["num_attention_heads"], config["patch_size"], config["in_channels"]
    time, pooled = "time_text_embed.timestep_embedder", "time_text_embed.text_embedder"
    shapes = {
        "pos_embed.proj": (d, c, p, p), f"{time}.linear_1": (d, 256), f"{time}.linear_2": (d, d),
        f"{pooled}.linear_1": (d, config["pooled_projection_dim"]), f"{pooled}.linear_2": (d, d),
        "context_embedder": (d, config["joint_attention_dim"]), "norm_out.linear": (2 * d, d),
        "proj_out": (p * p * config["out_channels"], d),
    }  # fmt: skip
    found = {}
    for i in range(config["num_layers"]):
        last, block = i == config["num_layers"] - 1, f"transformer_blocks.{i}"
        own = {f"attn.{name}": (d, d) for name in ("to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj")}
        own |= {"attn.add_v_proj": (d, d), "norm1.linear": (6 * d, d), "ff.net.0.proj": (4 * d, d)}
        own |= {"ff.net.2": (d, 4 * d), "norm1_context.linear": ((2 if last else 6) * d, d)}
        if not last:
            own |= {"attn.to_add_out": (d, d), "ff_context.net.0.proj": (4 * d, d), "ff_context.net.2": (d, 4 * d)}
        shapes |= {f"{block}.{name}": shape for name, shape in own.items()}
        if config["qk_norm"]:
            for name in ("norm_q", "norm_k", "norm_added_q", "norm_added_k"):
                found[f"{block}.attn.{name}.weight"] = rng.uniform(0.5, 1.5, head)
    found |= {f"{name}.weight": rng.normal(size=shape) * 0.3 for name, shape in shapes.items()}
    found |= {f"{name}.bias": rng.normal(size=shape[0]) * 0.3 for name, shape in shapes.items()}
    most, base = config["pos_embed_max_size"], config["sample_size"] // p
    table = [place(row * base / most, column * base / most, d) for row in range(most) for column in range(most)]
    return found | {"pos_embed.pos_embed": np.array(table)[None]}


def one(w, config, x, text, pooled, t):
    """The output for one image (C, height, width) and one text (T, W)."""

    def linear(name, v):
        return v @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def two(name, v):
        return linear(f"{name}.linear_2", silu(linear(f"{name}.linear_1", v)))

    p, kernel, heads = config["patch_size"], w["pos_embed.proj.weight"], config["num_attention_heads"]
    d, head, most = len(kernel), config["attention_head_dim"], config["pos_embed_max_size"]
    rows, columns = x.shape[1] // p, x.shape[2] // p
    top, left = (most - rows) // 2, (most - columns) // 2
    z = []
    for i in range(rows):
        for j in range(columns):
            patch = x[:, i * p : i * p + p, j * p : j * p + p]
            at = w["pos_embed.pos_embed"][0, (top + i) * most + left + j]
            z.append([(kernel[k] * patch).sum() + at[k] for k in range(d)])
    z, words = np.array(z) + w["pos_embed.proj.bias"], linear("context_embedder", text)
    c = two("time_text_embed.timestep_embedder", features(t)) + two("time_text_embed.text_embedder", pooled)

    def rms(rows_of, name):
        if not config["qk_norm"]:
            return rows_of
        cut = rows_of.reshape(len(rows_of), heads, head)
        cut = cut / np.sqrt((cut**2).mean(axis=-1, keepdims=True) + 1e-6) * w[f"{name}.weight"]
        return cut.reshape(len(rows_of), -1)

    for i in range(config["num_layers"]):
        last, block = i == config["num_layers"] - 1, f"transformer_blocks.{i}"
        own = linear(f"{block}.norm1.linear", silu(c)).reshape(6, d)
        other = linear(f"{block}.norm1_context.linear", silu(c)).reshape(-1, d)
        shift, scale = (other[1], other[0]) if last else other[:2]
        h = np.array([norm(row) * (1 + own[1]) + own[0] for row in z])
        g = np.array([norm(row) * (1 + scale) + shift for row in words])
        a = f"{block}.attn"
        q = [rms(linear(f"{a}.to_q", h), f"{a}.norm_q"), rms(linear(f"{a}.add_q_proj", g), f"{a}.norm_added_q")]
        k = [rms(linear(f"{a}.to_k", h), f"{a}.norm_k"), rms(linear(f"{a}.add_k_proj", g), f"{a}.norm_added_k")]
        v = [linear(f"{a}.to_v", h), linear(f"{a}.add_v_proj", g)]
        joint = attend(*map(np.concatenate, (q, k, v)), heads)
        z = z + own[2] * linear(f"{a}.to_out.0", joint[: len(z)])
        h = np.array([norm(row) * (1 + own[4]) + own[3] for row in z])
        z = z + own[5] * linear(f"{block}.ff.net.2", gelu(linear(f"{block}.ff.net.0.proj", h)))
        if not last:
            words = words + other[2] * linear(f"{a}.to_add_out", joint[len(z) :])
            h = np.array([norm(row) * (1 + other[4]) + other[3] for row in words])
            words = words + other[5] * linear(
                f"{block}.ff_context.net.2", gelu(linear(f"{block}.ff_context.net.0.proj", h))
            )
    scale, shift = linear("norm_out.linear", silu(c)).reshape(2, d)
    z = linear("proj_out", np.array([norm(row) * (1 + scale) + shift for row in z]))
    cut = z.reshape(rows, columns, p, p, -1)
    return cut.transpose(4, 0, 2, 1, 3).reshape(-1, rows * p, columns * p)
