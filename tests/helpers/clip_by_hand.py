"""CLIP once more, from the paper's text: one image, one text, one token, one head at a time, under the hub's names."""

import math

import numpy as np

erf = np.vectorize(math.erf)
SIZES = {
    "text": {
        "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 11,
        "max_position_embeddings": 6, "eos_token_id": 10,
    },
    "vision": {
        "hidden_size": 12, "intermediate_size": 20, "num_hidden_layers": 1, "num_attention_heads": 3, "image_size": 8,
        "patch_size": 4, "num_channels": 3,
    },
    "projection_dim": 5, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
}  # fmt: skip


def pair(size):
    return tuple(size) if isinstance(size, list) else (size, size)


def arrays(config, rng):
    """Random weights under the names of the hub."""
    vision, text, shared = config["vision"], config["text"], config["projection_dim"]
    (height, width), patch = pair(vision["image_size"]), pair(vision["patch_size"])
    D, W = vision["hidden_size"], text["hidden_size"]
    shapes = {
        "logit_scale": (),
        "vision_model.embeddings.class_embedding": (D,),
        "vision_model.embeddings.patch_embedding.weight": (D, vision.get("num_channels", 3), *patch),
        "vision_model.embeddings.position_embedding.weight": (1 + height // patch[0] * (width // patch[1]), D),
        "visual_projection.weight": (shared, D),
        "text_model.embeddings.token_embedding.weight": (text["vocab_size"], W),
        "text_model.embeddings.position_embedding.weight": (text["max_position_embeddings"], W),
        "text_projection.weight": (shared, W),
    }
    norms = {"vision_model.pre_layrnorm": D, "vision_model.post_layernorm": D, "text_model.final_layer_norm": W}
    for tower, sizes in (("vision_model", vision), ("text_model", text)):
        wide, hidden = sizes["hidden_size"], sizes["intermediate_size"]
        for i in range(sizes["num_hidden_layers"]):
            block = f"{tower}.encoder.layers.{i}"
            norms |= {f"{block}.layer_norm1": wide, f"{block}.layer_norm2": wide}
            kernels = {f"self_attn.{x}_proj": (wide, wide) for x in ("q", "k", "v", "out")}
            for name, shape in {**kernels, "mlp.fc1": (hidden, wide), "mlp.fc2": (wide, hidden)}.items():
                shapes |= {f"{block}.{name}.weight": shape, f"{block}.{name}.bias": shape[:1]}
    for name, wide in norms.items():
        shapes |= {f"{name}.weight": (wide,), f"{name}.bias": (wide,)}
    return {name: np.asarray(rng.normal(0.2, 0.4, shape)) for name, shape in shapes.items()}


def in_openai_names(weights):
    """The same weights as the files of OpenAI name and arrange them."""
    around = {
        "vision_model.embeddings.class_embedding": "visual.class_embedding",
        "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
        "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
        "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
        "text_model.embeddings.position_embedding.weight": "positional_embedding",
    }
    within = {
        "vision_model.encoder.layers": "visual.transformer.resblocks",
        "text_model.encoder.layers": "transformer.resblocks",
        "vision_model.pre_layrnorm": "visual.ln_pre",
        "vision_model.post_layernorm": "visual.ln_post",
        "text_model.final_layer_norm": "ln_final",
        "self_attn.out_proj": "attn.out_proj",
        "layer_norm": "ln_",
        "fc1": "c_fc",
        "fc2": "c_proj",
    }
    found = {
        "visual.proj": weights["visual_projection.weight"].T,
        "text_projection": weights["text_projection.weight"].T,
    }
    for name, x in weights.items():
        if "q_proj" in name:
            parts = [weights[name.replace("q_proj", f"{letter}_proj")] for letter in "qkv"]
            name, x = name.replace("self_attn.q_proj.", "attn.in_proj_"), np.concatenate(parts)
        if name.endswith("_projection.weight") or "k_proj" in name or "v_proj" in name:
            continue
        for theirs, official in within.items():
            name = name.replace(theirs, official)
        found[around.get(name, name)] = x
    return found


class ByHand:
    """The forward pass and the loss.   image: (B, C, height, width), input_ids: (B, T)."""

    def __init__(self, config, weights, image, input_ids):
        self.config, self.weights = config, weights
        self.image_embeds = np.array([self.unit("visual_projection", self.see(x)) for x in image])
        self.text_embeds = np.array([self.unit("text_projection", self.read(ids)) for ids in input_ids])
        scale = math.exp(weights["logit_scale"])
        self.logits_per_image = np.array([[scale * (i @ t) for t in self.text_embeds] for i in self.image_embeds])
        to_text = [-math.log(math.exp(row[b]) / sum(map(math.exp, row))) for b, row in enumerate(self.logits_per_image)]
        columns = enumerate(self.logits_per_image.T)
        to_image = [-math.log(math.exp(column[b]) / sum(map(math.exp, column))) for b, column in columns]
        self.loss = np.asarray(sum(to_text + to_image) / (2 * len(to_text)))

    def unit(self, name, x):
        y = self.weights[f"{name}.weight"] @ x
        return y / math.sqrt(sum(y * y))

    def see(self, image):
        kernel = self.weights["vision_model.embeddings.patch_embedding.weight"]
        (high, wide), (_, height, width) = kernel.shape[2:], image.shape
        tokens = [self.weights["vision_model.embeddings.class_embedding"]]
        for y in range(0, height, high):
            for x in range(0, width, wide):
                tokens.append((kernel * image[:, y : y + high, x : x + wide]).sum(axis=(1, 2, 3)))
        positions = self.weights["vision_model.embeddings.position_embedding.weight"]
        tokens = [self.norm(x + p, "vision_model.pre_layrnorm") for x, p in zip(tokens, positions, strict=True)]
        tokens = self.blocks(tokens, "vision", lambda i: range(len(tokens)))
        return self.norm(tokens[0], "vision_model.post_layernorm")

    def read(self, ids):
        words = self.weights["text_model.embeddings.token_embedding.weight"]
        positions = self.weights["text_model.embeddings.position_embedding.weight"]
        tokens = [words[number] + positions[i] for i, number in enumerate(ids)]
        tokens = self.blocks(tokens, "text", lambda i: range(i + 1))
        end = self.config["text"]["eos_token_id"]
        end = max(ids) if end == 2 else end
        return self.norm(tokens[list(ids).index(end)], "text_model.final_layer_norm")

    def blocks(self, tokens, tower, seen):
        for layer in range(self.config[tower]["num_hidden_layers"]):
            name = f"{tower}_model.encoder.layers.{layer}"
            normed = [self.norm(x, f"{name}.layer_norm1") for x in tokens]
            q, k, v = ([self.linear(x, f"{name}.self_attn.{letter}_proj") for x in normed] for letter in "qkv")
            for i in range(len(tokens)):
                parts = []
                for mine in np.split(np.arange(len(q[i])), self.config[tower]["num_attention_heads"]):
                    weights = [math.exp(q[i][mine] @ k[j][mine] / math.sqrt(len(mine))) for j in seen(i)]
                    parts.append(sum(w / sum(weights) * v[j][mine] for w, j in zip(weights, seen(i), strict=True)))
                tokens[i] = tokens[i] + self.linear(np.concatenate(parts), f"{name}.self_attn.out_proj")
                tokens[i] = tokens[i] + self.mlp(self.norm(tokens[i], f"{name}.layer_norm2"), name)
        return tokens

    def mlp(self, x, name):
        h = self.linear(x, f"{name}.mlp.fc1")
        quick = self.config["hidden_act"] == "quick_gelu"
        return self.linear(
            h / (1 + np.exp(-1.702 * h)) if quick else h * (1 + erf(h / math.sqrt(2))) / 2, f"{name}.mlp.fc2"
        )

    def norm(self, x, name):
        scaled = (x - x.mean()) / math.sqrt(x.var() + self.config["layer_norm_eps"])
        return scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def linear(self, x, name):
        return self.weights[f"{name}.weight"] @ x + self.weights[f"{name}.bias"]
