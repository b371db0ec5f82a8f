"""A second implementation of ViViT and TimeSformer, slow and plain: one clip, one tubelet, one place at a time. Weights
have the published names and shapes."""

import numpy as np
from sizes_by_hand import GELU, attend, dense, norm


def cut(clip, size):
    """(T, height, width, C) -> slices of lists of tubelets (t, h, w, C), row by row; what fills none is left out."""
    t, h, w = size
    frames, height, width, _ = clip.shape
    return [
        [clip[a : a + t, b : b + h, c : c + w] for b in range(0, height - h + 1, h) for c in range(0, width - w + 1, w)]
        for a in range(0, frames - t + 1, t)
    ]


def flax_encoder(x, w, name):
    """A spatial or temporal encoder of scenic's, with its [class] token if it has one: (N, D) -> (N, D)."""
    token = w.get("cls" if name == "Transformer" else f"cls_{name}")
    x = x if token is None else np.concatenate([token[0], x])
    x = x + w[f"{name}/posembed_input/pos_embedding"][0]
    depth = sum(key.startswith(f"{name}/encoderblock_") and key.endswith("LayerNorm_0/bias") for key in w)
    for i in range(depth):
        b = f"{name}/encoderblock_{i}"
        a = f"{b}/MultiHeadDotProductAttention_0"
        y = norm(x, w[f"{b}/LayerNorm_0/scale"], w[f"{b}/LayerNorm_0/bias"])
        q, k, v = (
            np.einsum("nd,dhe->nhe", y, w[f"{a}/{part}/kernel"]) + w[f"{a}/{part}/bias"]
            for part in ("query", "key", "value")
        )
        heads, width = q.shape[1], x.shape[1]
        y = attend(*(part.reshape(len(x), width) for part in (q, k, v)), heads)
        x = x + np.einsum("nhe,hed->nd", y.reshape(len(x), heads, -1), w[f"{a}/out/kernel"]) + w[f"{a}/out/bias"]
        y = norm(x, w[f"{b}/LayerNorm_1/scale"], w[f"{b}/LayerNorm_1/bias"])
        y = GELU["tanh"](y @ w[f"{b}/MlpBlock_0/Dense_0/kernel"] + w[f"{b}/MlpBlock_0/Dense_0/bias"])
        x = x + y @ w[f"{b}/MlpBlock_0/Dense_1/kernel"] + w[f"{b}/MlpBlock_0/Dense_1/bias"]
    return norm(x, w[f"{name}/encoder_norm/scale"], w[f"{name}/encoder_norm/bias"])


def vivit(clip, w):
    """Logits (K,) of a ViViT with scenic's names.   clip: (T, height, width, C)."""
    kernel = w["embedding/kernel"]
    slices = [
        np.array([(tubelet[..., None] * kernel).sum(axis=(0, 1, 2, 3)) + w["embedding/bias"] for tubelet in tubelets])
        for tubelets in cut(clip, kernel.shape[:3])
    ]
    joint = any(name.startswith("Transformer/") for name in w)
    has_token = "cls" in w or "cls_SpatialTransformer" in w

    def answer(x):
        return x[0] if has_token else x.mean(axis=0)

    if joint:
        features = answer(flax_encoder(np.concatenate(slices), w, "Transformer"))
    else:
        each = np.array([answer(flax_encoder(x, w, "SpatialTransformer")) for x in slices])
        of_time = "TemporalTransformer/encoder_norm/bias" in w
        features = answer(flax_encoder(each, w, "TemporalTransformer")) if of_time else each.mean(axis=0)
    return features @ w["output_projection/kernel"] + w["output_projection/bias"]


def attention(x, w, name, heads):
    q, k, v = np.split(dense(x, w, f"{name}.qkv"), 3, axis=1)
    return dense(attend(q, k, v, heads), w, f"{name}.proj")


def timesformer(clip, w, heads, gelu="erf", grid=None):
    """Logits (K,) of a TimeSformer with the official names.   grid: that of the table, a square by default."""
    kernel = np.moveaxis(w["patch_embed.proj.weight"], (0, 1), (3, 2))  # (h, w, C, D)
    frames = [
        np.array([(patch[0][..., None] * kernel).sum(axis=(0, 1, 2)) + w["patch_embed.proj.bias"] for patch in row])
        for row in cut(clip, (1, *kernel.shape[:2]))
    ]
    table = w["pos_embed"][0]
    side = int((len(table) - 1) ** 0.5)
    old = grid or (side, side)
    rows, columns = (length // pixels for length, pixels in zip(clip.shape[1:3], kernel.shape[:2], strict=True))
    places = [1 + (r * old[0] // rows) * old[1] + (c * old[1] // columns) for r in range(rows) for c in range(columns)]
    token, x = w["cls_token"][0, 0] + table[0], np.array([frame + table[places] for frame in frames])  # (T, N, D)
    if "time_embed" in w:
        times = w["time_embed"][0]
        x = np.array([frame + times[t * len(times) // len(x)] for t, frame in enumerate(x)])
        return dense(_final(_through(x, token, w, heads, gelu)[0], w), w, "head")
    ends = [_through(frame[None], token, w, heads, gelu)[0] for frame in x]
    return dense(_final(np.mean(ends, axis=0), w), w, "head")


def _final(token, w):
    return norm(token, w["norm.weight"], w["norm.bias"])


def _through(x, token, w, heads, gelu):
    depth = sum(name.endswith("mlp.fc1.bias") for name in w)
    for i in range(depth):
        b = f"blocks.{i}"

        def normed(tokens, name, b=b):
            return norm(tokens, w[f"{b}.{name}.weight"], w[f"{b}.{name}.bias"])

        if f"{b}.temporal_fc.weight" in w:
            moved = x.copy()
            for n in range(x.shape[1]):
                y = attention(normed(x[:, n], "temporal_norm1"), w, f"{b}.temporal_attn", heads)
                moved[:, n] = x[:, n] + dense(y, w, f"{b}.temporal_fc")
            frames = [
                attention(normed(np.concatenate([token[None], frame]), "norm1"), w, f"{b}.attn", heads)
                for frame in moved
            ]
            token = token + np.mean([frame[0] for frame in frames], axis=0)
            x = moved + np.array([frame[1:] for frame in frames])
        else:
            tokens = np.concatenate([token[None], x.reshape(-1, x.shape[2])])
            tokens = tokens + attention(normed(tokens, "norm1"), w, f"{b}.attn", heads)
            token, x = tokens[0], tokens[1:].reshape(x.shape)

        def mlp(tokens, b=b, normed=normed):
            return dense(GELU[gelu](dense(normed(tokens, "norm2"), w, f"{b}.mlp.fc1")), w, f"{b}.mlp.fc2")

        token, x = token + mlp(token[None])[0], np.array([frame + mlp(frame) for frame in x])
    return token, x
