"""DeiT once more, from the paper's text: one image, one token, one head at a time, under the official names."""

import math

import numpy as np

erf = np.vectorize(math.erf)
SIZES = {
    "image_size": [12, 12], "patch_size": [4, 4], "num_channels": 3, "hidden_size": 16, "num_hidden_layers": 2,
    "num_attention_heads": 2, "intermediate_size": 20, "num_labels": 5, "layer_norm_eps": 1e-6, "qkv_bias": True,
    "tau": 3.0, "alpha_hard": 0.5, "alpha_soft": 0.1,
}  # fmt: skip
VARIANTS = ("hard", "soft_code", "soft_paper", "hard_mixup", "soft_code_mixup", "soft_paper_mixup")


def arrays(config, rng):
    """Random weights."""
    patch, side = config["patch_size"], config["image_size"]
    D, F, K = config["hidden_size"], config["intermediate_size"], config["num_labels"]
    tokens = 2 + (side[0] // patch[0]) * (side[1] // patch[1])
    shapes = {
        "cls_token": (1, 1, D),
        "dist_token": (1, 1, D),
        "pos_embed": (1, tokens, D),
        "patch_embed.proj.weight": (D, config["num_channels"], *patch),
        "patch_embed.proj.bias": (D,),
        "norm.weight": (D,),
        "norm.bias": (D,),
        "head.weight": (K, D),
        "head.bias": (K,),
        "head_dist.weight": (K, D),
        "head_dist.bias": (K,),
    }
    for i in range(config["num_hidden_layers"]):
        sizes = {"norm1": (D,), "attn.qkv": (3 * D, D), "attn.proj": (D, D), "norm2": (D,)}
        for name, shape in {**sizes, "mlp.fc1": (F, D), "mlp.fc2": (D, F)}.items():
            shapes[f"blocks.{i}.{name}.weight"] = shape
            if config["qkv_bias"] or name != "attn.qkv":
                shapes[f"blocks.{i}.{name}.bias"] = shape[:1]
    return {name: rng.normal(0, 0.3, shape) for name, shape in shapes.items()}


def in_hub_names(weights):
    """The same weights as files of Hugging Face name them."""
    around = {
        "cls_token": "deit.embeddings.cls_token",
        "dist_token": "deit.embeddings.distillation_token",
        "pos_embed": "deit.embeddings.position_embeddings",
        "patch_embed.proj": "deit.embeddings.patch_embeddings.projection",
        "norm": "deit.layernorm",
        "head": "cls_classifier",
        "head_dist": "distillation_classifier",
    }
    within = {
        "norm1": "layernorm_before",
        "attn.proj": "attention.output.dense",
        "norm2": "layernorm_after",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
    }
    found = {}
    for name, x in weights.items():
        if name in around:
            found[around[name]] = x
            continue
        module, _, leaf = name.rpartition(".")
        if not module.startswith("blocks."):
            found[f"{around[module]}.{leaf}"] = x
            continue
        _, i, part = module.split(".", 2)
        block = f"deit.encoder.layer.{i}"
        if part == "attn.qkv":
            for which, rows in zip(("query", "key", "value"), np.split(x, 3), strict=True):
                found[f"{block}.attention.attention.{which}.{leaf}"] = rows
        else:
            found[f"{block}.{within[part]}.{leaf}"] = x
    return found


def softmax(z):
    e = [math.exp(x - max(z)) for x in z]
    return [x / sum(e) for x in e]


def cross_entropy(z, target):
    """target: a class, or the share of each."""
    shares = [float(k == target) for k in range(len(z))] if np.ndim(target) == 0 else target
    return -sum(t * math.log(p) for t, p in zip(shares, softmax(z), strict=True))


class ByHand:
    """The forward pass and the losses.   image: (B, C, height, width); teacher_logits, soft_targets: (B, K)."""

    def __init__(self, config, weights, image, teacher_logits, labels, soft_targets):
        self.config, self.weights = config, weights
        tokens = [self.encode(x) for x in image]
        self.cls_logits = np.array([self.linear(x[0], "head") for x in tokens])
        self.distillation_logits = np.array([self.linear(x[1], "head_dist") for x in tokens])
        self.logits = (self.cls_logits + self.distillation_logits) / 2
        of = [*zip(self.cls_logits, self.distillation_logits, teacher_logits, labels, soft_targets, strict=True)]
        mean = lambda what: sum(what) / len(of)
        self.ce = mean(cross_entropy(z, y) for z, _, _, y, _ in of)
        self.ce_soft_targets = mean(cross_entropy(z, y) for z, _, _, _, y in of)
        self.kd_hard = mean(cross_entropy(z, int(np.argmax(t))) for _, z, t, _, _ in of)
        self.kd_soft_paper = mean(self.divergence(z, t) for _, z, t, _, _ in of)
        self.kd_soft_code = self.kd_soft_paper / config["num_labels"]
        questions = [
            -(y * math.log(s) + (1 - y) * math.log(1 - s))
            for row, shares in zip(self.cls_logits, soft_targets, strict=True)
            for y, s in zip(shares, 1 / (1 + np.exp(-row)), strict=True)
        ]
        self.bce_soft_targets = sum(questions) / len(questions)

    def loss(self, variant):
        kind = variant.removesuffix("_mixup")
        alpha = self.config["alpha_hard" if kind == "hard" else "alpha_soft"]
        labels = self.ce if kind == variant else self.ce_soft_targets
        return (1 - alpha) * labels + alpha * getattr(self, f"kd_{kind}")

    def divergence(self, z, t):
        tau = self.config["tau"]
        pairs = zip(softmax(t / tau), softmax(z / tau), strict=True)
        return tau**2 * sum(p * math.log(p / q) for p, q in pairs)

    def encode(self, image):
        kernel, (high, wide) = self.weights["patch_embed.proj.weight"], self.config["patch_size"]
        tokens = [self.weights["cls_token"][0, 0], self.weights["dist_token"][0, 0]]
        for r in range(0, image.shape[1], high):
            for c in range(0, image.shape[2], wide):
                patch = image[:, r : r + high, c : c + wide]
                tokens.append(np.array([(k * patch).sum() for k in kernel]) + self.weights["patch_embed.proj.bias"])
        tokens = [x + p for x, p in zip(tokens, self.weights["pos_embed"][0], strict=True)]
        for i in range(self.config["num_hidden_layers"]):
            tokens = self.block(tokens, f"blocks.{i}")
        return [self.norm(x, "norm") for x in tokens]

    def block(self, tokens, name):
        packed = [np.split(self.linear(self.norm(x, f"{name}.norm1"), f"{name}.attn.qkv"), 3) for x in tokens]
        tokens = [x + self.attend(q, packed, name) for x, (q, _, _) in zip(tokens, packed, strict=True)]
        return [x + self.mlp(self.norm(x, f"{name}.norm2"), name) for x in tokens]

    def attend(self, q, packed, name):
        parts = []
        for mine in np.split(np.arange(len(q)), self.config["num_attention_heads"]):
            weights = softmax([q[mine] @ k[mine] / math.sqrt(len(mine)) for _, k, _ in packed])
            parts.append(sum(w * v[mine] for w, (_, _, v) in zip(weights, packed, strict=True)))
        return self.linear(np.concatenate(parts), f"{name}.attn.proj")

    def mlp(self, x, name):
        h = self.linear(x, f"{name}.mlp.fc1")
        return self.linear(h * (1 + erf(h / math.sqrt(2))) / 2, f"{name}.mlp.fc2")

    def norm(self, x, name):
        scaled = (x - x.mean()) / math.sqrt(x.var() + self.config["layer_norm_eps"])
        return scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def linear(self, x, name):
        return self.weights[f"{name}.weight"] @ x + self.weights.get(f"{name}.bias", 0)
