"""MAE once more, from the paper's text: one image, one patch, one head at a time, under the published names."""

import math

import numpy as np

erf = np.vectorize(math.erf)
SIZES = {
    "image_size": [12, 12], "patch_size": [4, 4], "num_channels": 3, "hidden_size": 16, "num_hidden_layers": 2,
    "num_attention_heads": 2, "intermediate_size": 20, "decoder_hidden_size": 8, "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2, "decoder_intermediate_size": 12, "layer_norm_eps": 1e-6, "mask_ratio": 0.75,
    "norm_pix_loss": True, "hidden_act": "gelu", "qkv_bias": True,
}  # fmt: skip


def arrays(config, rng):
    """Random weights under the official names; tables of sines and cosines that are written out."""
    patch, side, channels = config["patch_size"], config["image_size"], config["num_channels"]
    rows, columns = side[0] // patch[0], side[1] // patch[1]
    pixels, wide, narrow = patch[0] * patch[1] * channels, config["hidden_size"], config["decoder_hidden_size"]
    shapes = {
        "cls_token": (1, 1, wide),
        "patch_embed.proj.weight": (wide, channels, *patch),
        "patch_embed.proj.bias": (wide,),
        "norm.weight": (wide,),
        "norm.bias": (wide,),
        "decoder_embed.weight": (narrow, wide),
        "decoder_embed.bias": (narrow,),
        "mask_token": (1, 1, narrow),
        "decoder_norm.weight": (narrow,),
        "decoder_norm.bias": (narrow,),
        "decoder_pred.weight": (pixels, narrow),
        "decoder_pred.bias": (pixels,),
    }
    for kind, D, depth, F in (
        ("blocks", wide, config["num_hidden_layers"], config["intermediate_size"]),
        ("decoder_blocks", narrow, config["decoder_num_hidden_layers"], config["decoder_intermediate_size"]),
    ):
        for i in range(depth):
            sizes = {"norm1": (D,), "attn.qkv": (3 * D, D), "attn.proj": (D, D), "norm2": (D,)}
            for name, shape in {**sizes, "mlp.fc1": (F, D), "mlp.fc2": (D, F)}.items():
                shapes[f"{kind}.{i}.{name}.weight"] = shape
                if config["qkv_bias"] or name != "attn.qkv":
                    shapes[f"{kind}.{i}.{name}.bias"] = shape[:1]
    found = {name: rng.normal(0, 0.3, shape) for name, shape in shapes.items()}
    return {**found, "pos_embed": table(rows, columns, wide), "decoder_pos_embed": table(rows, columns, narrow)}


def table(rows, columns, D):
    """(1, 1 + N, D), entry by entry: a quarter each for sines and cosines of the column, then of the row."""
    found = np.zeros((1, 1 + rows * columns, D))
    for row in range(rows):
        for column in range(columns):
            for i in range(D // 4):
                w = 1 / 10_000 ** (i / (D / 4))
                for quarter, x in enumerate((column, row)):
                    place = 2 * quarter * (D // 4) + i
                    found[0, 1 + row * columns + column, place] = math.sin(x * w)
                    found[0, 1 + row * columns + column, place + D // 4] = math.cos(x * w)
    return found


def in_hub_names(weights):
    """The same weights as files of Hugging Face name them."""
    found = {}
    around = {
        "cls_token": "vit.embeddings.cls_token",
        "pos_embed": "vit.embeddings.position_embeddings",
        "patch_embed.proj": "vit.embeddings.patch_embeddings.projection",
        "norm": "vit.layernorm",
    }
    within = {
        "norm1": "layernorm_before",
        "attn.proj": "attention.output.dense",
        "norm2": "layernorm_after",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
    }
    for name, x in weights.items():
        parts = name.split(".")
        if "blocks" in parts[0]:
            part, leaf = ".".join(parts[2:-1]), parts[-1]
            block = {"blocks": "vit.encoder.layer", "decoder_blocks": "decoder.decoder_layers"}[parts[0]]
            if part == "attn.qkv":
                for i, which in enumerate(("query", "key", "value")):
                    found[f"{block}.{parts[1]}.attention.attention.{which}.{leaf}"] = x[i * len(x) // 3 :][
                        : len(x) // 3
                    ]
            else:
                found[f"{block}.{parts[1]}.{within[part]}.{leaf}"] = x
        elif name in around:
            found[around[name]] = x
        elif ".".join(parts[:-1]) in around:
            found[f"{around['.'.join(parts[:-1])]}.{parts[-1]}"] = x
        else:
            found[f"decoder.{name}"] = x
    return found


class ByHand:
    """The forward pass and the loss.   image: (B, C, height, width), noise: (B, N)."""

    def __init__(self, config, weights, image, noise):
        self.config, self.weights = config, weights
        self.grid = [side // patch for side, patch in zip(config["image_size"], config["patch_size"], strict=True)]
        N = self.grid[0] * self.grid[1]
        keep = int(N * (1 - config["mask_ratio"]))
        orders = [sorted(range(N), key=lambda p, row=row: row[p]) for row in noise]
        self.ids_restore = np.array([[order.index(p) for p in range(N)] for order in orders])
        self.mask = np.array([[int(order.index(p) >= keep) for p in range(N)] for order in orders])
        self.latent = np.array([self.encode(x, order[:keep]) for x, order in zip(image, orders, strict=True)])
        self.logits = np.array([self.decode(z, order[:keep]) for z, order in zip(self.latent, orders, strict=True)])
        self.target_used = np.array([[self.target(pixels) for pixels in self.patches(x)] for x in image])
        losses = [
            [np.mean((y - t) ** 2) for y, t in zip(*pair, strict=True)]
            for pair in zip(self.logits, self.target_used, strict=True)
        ]
        self.loss_per_patch = np.array(losses)
        self.loss = sum(
            x for b, row in enumerate(losses) for p, x in enumerate(row) if self.mask[b, p]
        ) / self.mask.sum()  # fmt: skip

    def patches(self, image):
        """Pixels in order (row, column, channel), a list by patch."""
        high, wide = self.config["patch_size"]
        return [
            np.array([image[:, r * high + i, c * wide + j] for i in range(high) for j in range(wide)]).ravel()
            for r in range(self.grid[0])
            for c in range(self.grid[1])
        ]

    def target(self, pixels):
        if not self.config["norm_pix_loss"]:
            return pixels
        mean = sum(pixels) / len(pixels)
        variance = sum((x - mean) ** 2 for x in pixels) / (len(pixels) - 1)
        return (pixels - mean) / math.sqrt(variance + 1e-6)

    def encode(self, image, visible):
        kernel = self.weights["patch_embed.proj.weight"]
        patches, positions = self.patches(image), self.weights["pos_embed"][0]
        pixels = kernel.transpose(0, 2, 3, 1).reshape(len(kernel), -1)  # (row, column, channel)
        tokens = [self.weights["cls_token"][0, 0] + positions[0]]
        tokens += [pixels @ patches[p] + self.weights["patch_embed.proj.bias"] + positions[1 + p] for p in visible]
        for i in range(self.config["num_hidden_layers"]):
            tokens = self.block(tokens, f"blocks.{i}", self.config["num_attention_heads"])
        return np.array([self.norm(x, "norm") for x in tokens])

    def decode(self, latent, visible):
        embedded = [self.linear(z, "decoder_embed") for z in latent]
        positions = self.weights["decoder_pos_embed"][0]
        tokens = [embedded[0] + positions[0]]
        for p in range(self.grid[0] * self.grid[1]):
            seen = embedded[1 + visible.index(p)] if p in visible else self.weights["mask_token"][0, 0]
            tokens.append(seen + positions[1 + p])
        for i in range(self.config["decoder_num_hidden_layers"]):
            tokens = self.block(tokens, f"decoder_blocks.{i}", self.config["decoder_num_attention_heads"])
        return np.array([self.linear(self.norm(x, "decoder_norm"), "decoder_pred") for x in tokens[1:]])

    def block(self, tokens, name, heads):
        normed = [self.norm(x, f"{name}.norm1") for x in tokens]
        packed = [np.split(self.linear(x, f"{name}.attn.qkv"), 3) for x in normed]
        mixed = []
        for q, _, _ in packed:
            parts = []
            for mine in np.split(np.arange(len(q)), heads):
                weights = np.array([math.exp(q[mine] @ k[mine] / math.sqrt(len(mine))) for _, k, _ in packed])
                parts.append(sum(w * v[mine] for w, (_, _, v) in zip(weights / weights.sum(), packed, strict=True)))
            mixed.append(np.concatenate(parts))
        tokens = [x + self.linear(y, f"{name}.attn.proj") for x, y in zip(tokens, mixed, strict=True)]
        return [x + self.mlp(self.norm(x, f"{name}.norm2"), name) for x in tokens]

    def mlp(self, x, name):
        h = self.linear(x, f"{name}.mlp.fc1")
        return self.linear(h * (1 + erf(h / math.sqrt(2))) / 2, f"{name}.mlp.fc2")

    def norm(self, x, name):
        scaled = (x - x.mean()) / math.sqrt(x.var() + self.config["layer_norm_eps"])
        return scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def linear(self, x, name):
        return self.weights[f"{name}.weight"] @ x + self.weights.get(f"{name}.bias", 0)
