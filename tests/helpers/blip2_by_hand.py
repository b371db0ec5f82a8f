"""BLIP-2's first stage once more, one pair, one head and one token at a time, with Hugging Face's names."""

import math

import numpy as np

erf = np.vectorize(math.erf)
CONFIG = {
    "vision": {
        "hidden_size": 6, "intermediate_size": 7, "num_hidden_layers": 1, "num_attention_heads": 2,
        "image_size": [4, 6], "patch_size": [2, 3], "hidden_act": "gelu", "layer_norm_eps": 1e-3, "qkv_bias": True,
    },
    "qformer": {
        "vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 10,
        "hidden_act": "gelu", "max_position_embeddings": 7, "layer_norm_eps": 1e-5, "cross_attention_frequency": 2,
        "hidden_dropout_prob": 0.2, "pad_token_id": 0,
    },
    "bos": 8,
    "shared": 5,
    "num_query_tokens": 2,
}  # fmt: skip


def arrays(config, rng):
    """Random weights, by Hugging Face's names."""
    v, t = config["vision"], config["qformer"]
    C, D, (high, wide) = v["hidden_size"], t["hidden_size"], v["patch_size"]
    count = 1 + (v["image_size"][0] // high) * (v["image_size"][1] // wide)
    dense, norms = {}, ["vision_model.post_layernorm", "qformer.layernorm", "lm_head"]
    for i in range(v["num_hidden_layers"]):
        place, hidden = f"vision_model.encoder.layers.{i}", v["intermediate_size"]
        dense |= {f"{place}.self_attn.qkv": (3 * C, C), f"{place}.self_attn.projection": (C, C)}
        dense |= {f"{place}.mlp.fc1": (hidden, C), f"{place}.mlp.fc2": (C, hidden)}
        norms += [f"{place}.layer_norm1", f"{place}.layer_norm2"]
    for i in range(t["num_hidden_layers"]):
        place, hidden = f"qformer.encoder.layer.{i}", t["intermediate_size"]
        kinds = {"attention": D, "crossattention": C} if i % t["cross_attention_frequency"] == 0 else {"attention": D}
        for kind, source in kinds.items():
            dense |= {f"{place}.{kind}.attention.{x}": (D, D if x == "query" else source) for x in PARTS}
            dense[f"{place}.{kind}.output.dense"] = D, D
            norms.append(f"{place}.{kind}.output")
        for end in ("", "_query"):
            dense |= {f"{place}.intermediate{end}.dense": (hidden, D), f"{place}.output{end}.dense": (D, hidden)}
            norms.append(f"{place}.output{end}")
    dense |= {"vision_projection": (config["shared"], D), "text_projection": (config["shared"], D)}
    dense |= {"itm_head": (2, D), "lm_head.dense": (D, D)}
    shapes = {
        "query_tokens": (1, config["num_query_tokens"], D), "temp": (), "lm_head.bias": (t["vocab_size"],),
        "embeddings.word_embeddings.weight": (t["vocab_size"], D),
        "embeddings.position_embeddings.weight": (t["max_position_embeddings"], D),
        "vision_model.embeddings.class_embedding": (1, 1, C),
        "vision_model.embeddings.position_embedding": (1, count, C),
        "vision_model.embeddings.patch_embedding.weight": (C, 3, high, wide),
        "vision_model.embeddings.patch_embedding.bias": (C,),
    }  # fmt: skip
    for name, shape in dense.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name in norms:
        side = C if name.startswith("vision") else D
        inner = name if name.endswith(("norm", "norm1", "norm2")) else f"{name}.LayerNorm"
        shapes |= {f"{inner}.{leaf}": (side,) for leaf in ("weight", "bias")}
    if not v["qkv_bias"]:
        shapes = {name: s for name, s in shapes.items() if not name.endswith("qkv.bias")}
    found = {name: np.asarray(rng.normal(0, 0.5, shape)) for name, shape in shapes.items()}
    return found | {"temp": np.asarray(0.3)}


PARTS = ("query", "key", "value")


def in_lavis_names(weights):
    """The same arrays as LAVIS has them: keys of the image encoder without bias, and the table of words twice."""
    parts = {
        "vision_model.embeddings.class_embedding": "visual_encoder.cls_token",
        "vision_model.embeddings.position_embedding": "visual_encoder.pos_embed",
        "vision_model.embeddings.patch_embedding": "visual_encoder.patch_embed.proj",
        "vision_model.post_layernorm": "ln_vision",
        "vision_model.encoder.layers": "visual_encoder.blocks",
        "vision_projection": "vision_proj",
        "text_projection": "text_proj",
        "lm_head.bias": "Qformer.cls.predictions.bias",
        "lm_head": "Qformer.cls.predictions.transform",
        "qformer.layernorm": "Qformer.bert.embeddings.LayerNorm",
        "qformer": "Qformer.bert",
        "embeddings": "Qformer.bert.embeddings",
    }
    found = {}
    for name, x in weights.items():
        start = next((part for part in parts if name.startswith(part)), None)
        theirs = parts[start] + name.removeprefix(start) if start else name
        theirs = theirs.replace("attention.attention.", "attention.self.").replace("self_attn.projection", "attn.proj")
        theirs = theirs.replace("self_attn", "attn").replace("layer_norm", "norm")
        if theirs.endswith("qkv.bias"):
            q, _, v = np.split(x, 3)
            found |= {theirs.replace("qkv.bias", "q_bias"): q, theirs.replace("qkv.bias", "v_bias"): v}
        else:
            found[theirs] = x
    found["Qformer.bert.embeddings.position_ids"] = np.arange(7)[None]
    found["Qformer.cls.predictions.decoder.weight"] = weights["embeddings.word_embeddings.weight"]
    found["Qformer.cls.predictions.decoder.bias"] = weights["lm_head.bias"]
    return found


class ByHand:
    def __init__(self, config, weights, inputs):
        self.config, self.w = config, weights
        ids, seen = inputs["input_ids"], inputs["attention_mask"]
        wrong_image, wrong_text = (inputs[f"itm/negative_{name}"] for name in ("image_of_text", "text_of_image"))
        pairs, M = range(len(ids)), config["num_query_tokens"]
        patches = [self.see(image) for image in inputs["image"]]
        begun = ids.copy()
        begun[:, 0] = config["bos"]
        images, texts, said = [], [], []
        for b in pairs:
            images.append([self.unit(self.dense("vision_projection", q)) for q in self.read(patches[b], [], [])])
            texts.append(self.unit(self.dense("text_projection", self.read(None, ids[b], seen[b])[0])))
            said.append(self.say(self.read(patches[b], begun[b], seen[b], causal=True)[M:]))
        by_query = np.array([[[q @ text for q in queries] for text in texts] for queries in images])
        similar = by_query.max(axis=2) / self.w["temp"]
        itc = [self.cross_entropy(s[b], b, 0.1) for s in (similar, similar.T) for b in pairs]
        trios = [(b, b) for b in pairs] + [(wrong_image[b], b) for b in pairs] + [(b, wrong_text[b]) for b in pairs]
        answers = []
        for i, t in trios:
            joint = self.read(patches[i], ids[t], seen[t])
            answers.append(np.mean([self.dense("itm_head", q) for q in joint[:M]], axis=0))
        itm = [self.cross_entropy(x, int(n < len(ids))) for n, x in enumerate(answers)]
        pad = config["qformer"]["pad_token_id"]
        places = [(b, n) for b in pairs for n in range(1, ids.shape[1]) if begun[b, n] != pad]
        itg = [self.cross_entropy(said[b][n - 1], begun[b, n], 0.1) for b, n in places]
        self.found = {
            "vision/output": np.array(patches), "itc/similarity_per_query": by_query, "itc/sim_i2t": similar,
            "itc/loss": np.mean(itc), "itm/logits": np.array(answers), "itm/loss": np.mean(itm),
            "itg/logits": np.array(said), "itg/loss": np.mean(itg), "loss": np.mean(itc) + np.mean(itm) + np.mean(itg),
        }  # fmt: skip

    def see(self, image):
        v = self.config["vision"]
        (high, wide), heads, eps = v["patch_size"], v["num_attention_heads"], v["layer_norm_eps"]
        tokens = [self.w["vision_model.embeddings.class_embedding"][0, 0]]
        for r in range(0, image.shape[1], high):
            for c in range(0, image.shape[2], wide):
                kernel = self.w["vision_model.embeddings.patch_embedding.weight"]
                cut = np.tensordot(kernel, image[:, r : r + high, c : c + wide], 3)
                tokens.append(cut + self.w["vision_model.embeddings.patch_embedding.bias"])
        x = np.stack(tokens) + self.w["vision_model.embeddings.position_embedding"][0]
        for i in range(v["num_hidden_layers"]):
            place = f"vision_model.encoder.layers.{i}"
            qkv = self.dense(f"{place}.self_attn.qkv", self.norm(f"{place}.layer_norm1", x, eps))
            a = self.attend(*np.split(qkv, 3, axis=1), heads, np.ones((len(x), len(x))))
            x = x + self.dense(f"{place}.self_attn.projection", a)
            hidden = self.gelu(self.dense(f"{place}.mlp.fc1", self.norm(f"{place}.layer_norm2", x, eps)), v)
            x = x + self.dense(f"{place}.mlp.fc2", hidden)
        return self.norm("vision_model.post_layernorm", x, eps)

    def read(self, patches, ids, seen, causal=False):
        """Rows of the queries, if there are patches, then of the words."""
        t = self.config["qformer"]
        heads, eps = t["num_attention_heads"], t["layer_norm_eps"]
        tokens = [] if patches is None else list(self.w["query_tokens"][0])
        M = len(tokens)
        words, places = (self.w[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position"))
        x = self.norm("qformer.layernorm", np.stack([*tokens, *(words[w] + places[n] for n, w in enumerate(ids))]), eps)
        sees = np.array([[self.may(i, j, M, seen, causal) for j in range(len(x))] for i in range(len(x))])
        for i in range(t["num_hidden_layers"]):
            place = f"qformer.encoder.layer.{i}"
            x = self.branch(f"{place}.attention", x, x, heads, sees, eps)
            rows, every = [], t["cross_attention_frequency"]
            for n, row in enumerate(x):
                end, row = "_query" if n < M else "", row[None]
                if n < M and i % every == 0:
                    row = self.branch(f"{place}.crossattention", row, patches, heads, np.ones((1, len(patches))), eps)
                hidden = self.gelu(self.dense(f"{place}.intermediate{end}.dense", row), t)
                y = row + self.dense(f"{place}.output{end}.dense", hidden)
                rows.append(self.norm(f"{place}.output{end}.LayerNorm", y, eps)[0])
            x = np.stack(rows)
        return x

    @staticmethod
    def may(i, j, M, seen, causal):
        if j >= M and not seen[j - M]:
            return False
        return not causal or j < M or (i >= M and j <= i)

    def branch(self, place, x, source, heads, sees, eps):
        q, k, v = (self.dense(f"{place}.attention.{n}", x if n == "query" else source) for n in PARTS)
        a = self.dense(f"{place}.output.dense", self.attend(q, k, v, heads, sees))
        return self.norm(f"{place}.output.LayerNorm", x + a, eps)

    @staticmethod
    def attend(q, k, v, heads, sees):
        side, out = q.shape[1] // heads, np.zeros_like(q)
        for h in range(heads):
            part = slice(h * side, (h + 1) * side)
            for i in range(len(q)):
                near = np.flatnonzero(sees[i])
                scores = np.exp(k[near, part] @ q[i, part] / math.sqrt(side))
                out[i, part] = scores @ v[near, part] / scores.sum()
        return out

    def say(self, x):
        t = self.config["qformer"]
        hidden = self.gelu(self.dense("lm_head.dense", x), t)
        normed = self.norm("lm_head.LayerNorm", hidden, t["layer_norm_eps"])
        return normed @ self.w["embeddings.word_embeddings.weight"].T + self.w["lm_head.bias"]

    def dense(self, name, x):
        return x @ self.w[f"{name}.weight"].T + self.w.get(f"{name}.bias", 0)

    def norm(self, name, x, eps):
        centred = x - x.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + eps)
        return scaled * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    @staticmethod
    def gelu(x, part):
        if part["hidden_act"] == "gelu":
            return x * (1 + erf(x / math.sqrt(2))) / 2
        return x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2

    @staticmethod
    def unit(x):
        return x / math.sqrt(x @ x)

    @staticmethod
    def cross_entropy(z, answer, smoothing=0.0):
        log_p = z - np.log(np.exp(z).sum())
        return -(1 - smoothing) * log_p[answer] - smoothing * log_p.mean()
