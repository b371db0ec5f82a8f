"""SigLIP once more, from the paper's text: one image, one text, one pair at a time, under the hub's names."""

import math

import numpy as np
from clip_by_hand import ByHand as CLIPByHand
from clip_by_hand import arrays as clip_arrays
from clip_by_hand import erf

SIZES = {
    "text": {
        "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 11,
        "max_position_embeddings": 6,
    },
    "vision": {
        "hidden_size": 12, "intermediate_size": 20, "num_hidden_layers": 1, "num_attention_heads": 3, "image_size": 8,
        "patch_size": 4, "num_channels": 3,
    },
    "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6,
}  # fmt: skip
POOL = "vision_model.head"


def arrays(config, rng):
    """Random weights under the names of the hub."""
    wide, hidden = config["vision"]["hidden_size"], config["vision"]["intermediate_size"]
    found = clip_arrays({**config, "projection_dim": wide}, rng)
    for name in ("vision_model.embeddings.class_embedding", "visual_projection.weight", "text_projection.weight"):
        del found[name]
    found = {name: x for name, x in found.items() if "pre_layrnorm" not in name}
    found["vision_model.embeddings.position_embedding.weight"] = found[
        "vision_model.embeddings.position_embedding.weight"
    ][1:]
    shapes = {
        "logit_scale": (1,),
        "logit_bias": (1,),
        "vision_model.embeddings.patch_embedding.bias": (wide,),
        "text_model.head.weight": (wide, config["text"]["hidden_size"]),
        "text_model.head.bias": (wide,),
        f"{POOL}.probe": (1, 1, wide),
        f"{POOL}.attention.in_proj_weight": (3 * wide, wide),
        f"{POOL}.attention.in_proj_bias": (3 * wide,),
        f"{POOL}.attention.out_proj.weight": (wide, wide),
        f"{POOL}.attention.out_proj.bias": (wide,),
        f"{POOL}.layernorm.weight": (wide,),
        f"{POOL}.layernorm.bias": (wide,),
        f"{POOL}.mlp.fc1.weight": (hidden, wide),
        f"{POOL}.mlp.fc1.bias": (hidden,),
        f"{POOL}.mlp.fc2.weight": (wide, hidden),
        f"{POOL}.mlp.fc2.bias": (wide,),
    }
    return found | {name: rng.normal(0.2, 0.4, shape) for name, shape in shapes.items()}


class ByHand(CLIPByHand):
    """The forward pass and the loss.   image: (B, C, height, width), input_ids: (B, T)."""

    def __init__(self, config, weights, image, input_ids):
        self.config, self.weights = config, weights
        self.image_embeds = np.array([self.see(x) / np.linalg.norm(self.see(x)) for x in image])
        self.text_embeds = np.array([self.unit("text_model.head", self.read(ids)) for ids in input_ids])
        scale, bias = math.exp(weights["logit_scale"].item()), weights["logit_bias"].item()
        self.logits_per_image = np.array(
            [[scale * (i @ t) + bias for t in self.text_embeds] for i in self.image_embeds]
        )
        total = 0.0
        for b, row in enumerate(self.logits_per_image):
            for c, logit in enumerate(row):
                total += math.log(1 + math.exp(-logit if b == c else logit))
        self.loss = np.asarray(total / len(image))

    def unit(self, name, x):
        y = self.linear(x, name)
        return y / math.sqrt(sum(y * y))

    def see(self, image):
        kernel = self.weights["vision_model.embeddings.patch_embedding.weight"]
        bias = self.weights["vision_model.embeddings.patch_embedding.bias"]
        (high, wide), (_, height, width) = kernel.shape[2:], image.shape
        tokens = [
            (kernel * image[:, y : y + high, x : x + wide]).sum(axis=(1, 2, 3)) + bias
            for y in range(0, height, high)
            for x in range(0, width, wide)
        ]
        positions = self.weights["vision_model.embeddings.position_embedding.weight"]
        tokens = [x + p for x, p in zip(tokens, positions, strict=True)]
        tokens = self.blocks(tokens, "vision", lambda i: range(len(tokens)))
        return self.pool([self.norm(x, "vision_model.post_layernorm") for x in tokens])

    def pool(self, tokens):
        kernels = np.split(self.weights[f"{POOL}.attention.in_proj_weight"], 3)
        biases = np.split(self.weights[f"{POOL}.attention.in_proj_bias"], 3)
        q = kernels[0] @ self.weights[f"{POOL}.probe"][0, 0] + biases[0]
        k, v = ([kernels[i] @ x + biases[i] for x in tokens] for i in (1, 2))
        parts = []
        for mine in np.split(np.arange(len(q)), self.config["vision"]["num_attention_heads"]):
            weights = [math.exp(q[mine] @ x[mine] / math.sqrt(len(mine))) for x in k]
            parts.append(sum(w / sum(weights) * x[mine] for w, x in zip(weights, v, strict=True)))
        y = self.linear(np.concatenate(parts), f"{POOL}.attention.out_proj")
        return y + self.mlp(self.norm(y, f"{POOL}.layernorm"), POOL)

    def read(self, ids):
        words = self.weights["text_model.embeddings.token_embedding.weight"]
        positions = self.weights["text_model.embeddings.position_embedding.weight"]
        tokens = [words[number] + positions[i] for i, number in enumerate(ids)]
        tokens = self.blocks(tokens, "text", lambda i: range(len(ids)))
        return self.norm(tokens[-1], "text_model.final_layer_norm")

    def mlp(self, x, name):
        h = self.linear(x, f"{name}.mlp.fc1")
        if self.config["hidden_act"] == "gelu":
            h = h * (1 + erf(h / math.sqrt(2))) / 2
        else:
            h = h * (1 + np.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3))) / 2
        return self.linear(h, f"{name}.mlp.fc2")
