"""A second implementation of LLaVA, its language model and CLIP's tower, on NumPy arrays under published names: slow,
token by token and head by head, and without gradients."""

import math

import numpy as np


def rms(x, scale, eps):
    return x / math.sqrt(sum(x * x) / len(x) + eps) * scale


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def turned(x, position, theta):
    """One head of one token."""
    y, half = x.copy(), len(x) // 2
    for i in range(half):
        t = position * theta ** (-i / half)
        y[i], y[half + i] = (
            x[i] * math.cos(t) - x[half + i] * math.sin(t),
            x[half + i] * math.cos(t) + x[i] * math.sin(t),
        )
    return y


class Language:
    """A Llama.   weights: with names as "layers.0.mlp.up_proj.weight"; heads of queries; theta, eps."""

    def __init__(self, weights, heads, theta, eps, head=None):
        self.weights, self.heads, self.theta, self.eps, self.head = weights, heads, theta, eps, head
        self.depth = len([name for name in weights if name.endswith("up_proj.weight")])

    def attention(self, h, prefix, seen):
        """(N, W) -> (N, W)."""
        w = {name: self.weights[f"{prefix}self_attn.{name}_proj.weight"] for name in "qkvo"}
        width = len(w["q"]) // self.heads
        shared = self.heads // (len(w["k"]) // width)
        out = np.zeros((len(h), len(w["q"])))
        for head in range(self.heads):
            other = head // shared
            q, k, v = (
                (h @ w[name].T)[:, i * width : (i + 1) * width] for name, i in (("q", head), ("k", other), ("v", other))
            )
            q, k = (np.array([turned(x, p, self.theta) for p, x in enumerate(rows)]) for rows in (q, k))
            for n in range(len(h)):
                there = [m for m in range(n + 1) if seen[m]]
                a = softmax(np.array([q[n] @ k[m] / math.sqrt(width) for m in there]))
                out[n, head * width : (head + 1) * width] = sum(x * v[m] for x, m in zip(a, there, strict=True))
        return out @ w["o"].T

    def logits(self, x, seen, found=None, before=lambda i, x: x):
        """(N, W) -> (N, V).   found: collects values of one text."""
        found = {} if found is None else found
        for i in range(self.depth):
            prefix, x = f"layers.{i}.", before(i, x)
            norms = [self.weights[f"{prefix}{name}_layernorm.weight"] for name in ("input", "post_attention")]
            found[f"attention{i}"] = self.attention(np.array([rms(r, norms[0], self.eps) for r in x]), prefix, seen)
            x = x + found[f"attention{i}"]
            h = np.array([rms(r, norms[1], self.eps) for r in x])
            gate, up, down = (self.weights[f"{prefix}mlp.{name}_proj.weight"] for name in ("gate", "up", "down"))
            g = h @ gate.T
            x = found[f"decoder_layer{i}"] = x + (g / (1 + np.exp(-g)) * (h @ up.T)) @ down.T
        found["final_norm"] = np.array([rms(r, self.weights["norm.weight"], self.eps) for r in x])
        return found["final_norm"] @ (self.weights["embed_tokens.weight"] if self.head is None else self.head).T


def norm(x, w, name, eps):
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps)
    return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]


def dense(x, w, name):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def erf_gelu(x):
    return x * np.vectorize(lambda t: (1 + math.erf(t / math.sqrt(2))) / 2)(x)


def tower(w, image, config, layer):
    """The tokens of one image (C, height, width) after a layer.   w: names below "vision_tower."."""
    kernel, heads, eps = w["embeddings.patch_embedding.weight"], config["num_attention_heads"], 1e-5
    p = kernel.shape[-1]
    patches = [
        np.einsum("dcij,cij->d", kernel, image[:, y : y + p, x : x + p])
        for y in range(0, image.shape[1], p)
        for x in range(0, image.shape[2], p)
    ]
    x = np.array([w["embeddings.class_embedding"], *patches]) + w["embeddings.position_embedding.weight"]
    x = norm(x, w, "pre_layrnorm", eps)
    depth = len([name for name in w if name.endswith("fc1.weight")])
    for i in range(depth)[: layer if layer >= 0 else depth + 1 + layer]:
        at = f"encoder.layers.{i}."
        h = norm(x, w, f"{at}layer_norm1", eps)
        parts = []
        for q, k, v in zip(*(np.split(dense(h, w, f"{at}self_attn.{n}_proj"), heads, 1) for n in "qkv"), strict=True):
            parts.append(np.array([softmax(row / math.sqrt(q.shape[1])) for row in q @ k.T]) @ v)
        x = x + dense(np.concatenate(parts, 1), w, f"{at}self_attn.out_proj")
        h = dense(norm(x, w, f"{at}layer_norm2", eps), w, f"{at}mlp.fc1")
        h = h / (1 + np.exp(-1.702 * h)) if config["hidden_act"] == "quick_gelu" else erf_gelu(h)
        x = x + dense(h, w, f"{at}mlp.fc2")
    return x


def below(weights, prefix):
    return {name.removeprefix(prefix): x for name, x in weights.items() if name.startswith(prefix)}


def by_hand(config, weights, inputs):
    """The arrays of a recording, but for gradients and greedy words.   weights: with the names of transformers 5."""
    text, vision = config["text"], config["vision"]
    projector, language = below(weights, "model.multi_modal_projector."), below(weights, "model.language_model.")
    llama = Language(
        language, text["num_attention_heads"], text["rope_theta"], text["rms_norm_eps"], weights.get("lm_head.weight")
    )
    features, rows = [], []
    for image in inputs["images"]:
        features.append(tower(below(weights, "model.vision_tower."), image, vision, config["feature_layer"]))
        x = dense(features[-1][0 if config["select"] == "full" else 1 :], projector, "linear_1")
        rows.append(dense(erf_gelu(x), projector, "linear_2") if "linear_2.weight" in projector else x)
    waiting, texts, losses = [row for image in rows for row in image], [], []
    for ids, seen, labels in zip(*(inputs[n] for n in ("input_ids", "attention_mask", "labels")), strict=True):
        x = [waiting.pop(0) if i == config["image_token"] else language["embed_tokens.weight"][i] for i in ids]
        found = {}
        found["logits"] = llama.logits(np.array(x), seen, found)
        losses += [-math.log(softmax(found["logits"][n])[label]) for n, label in enumerate(labels[1:]) if label != -100]
        texts.append(found)
    assert not waiting
    together = {name: np.array([found[name] for found in texts]) for name in texts[0]}
    return {**together, "projected": np.array(rows), "loss": np.array(np.mean(losses)),
            f"vision_layer_minus{-config['feature_layer']}": np.array(features)}  # fmt: skip
