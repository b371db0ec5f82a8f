"""Modern ViTs once more, from papers and timm's options: one image, one token, one head at a time, under timm's names.

Pairs of features are complex numbers here, and positions are places (y, x), not tables.
"""

import cmath
import math

import numpy as np

erf = np.vectorize(math.erf)
BASE = {
    "img_size": [8, 12], "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": 3,
    "class_token": True, "in_chans": 2, "inner": 12, "qkv": "all", "eps": 1e-6,
}  # fmt: skip


def arrays(config, rng):
    """Random weights under timm's names.   config: timm's options, and of BASE what files tell by their arrays."""
    c = {**BASE, **config}
    D, heads, inner, P = c["embed_dim"], c["num_heads"], c["inner"], c["patch_size"]
    rows, columns = c["img_size"][0] // P, c["img_size"][1] // P
    shapes = {"patch_embed.proj.weight": (D, c["in_chans"], P, P), "patch_embed.proj.bias": (D,)}
    if c["class_token"]:
        shapes["cls_token"] = (1, 1, D)
    registers = c.get("num_reg_tokens", c.get("reg_tokens", 0))
    if registers:
        shapes["reg_token"] = (1, registers, D)
    if c.get("positions"):
        extra = 0 if c["positions"] == "patches" else c["class_token"] + registers
        shapes["pos_embed"] = (1, rows * columns + extra, D)
    if c.get("rope_type") == "mixed":
        shapes["rope.freqs"] = (2, c["depth"], heads, D // heads // 2)
    offsets = (2 * rows - 1) * (2 * columns - 1)
    if c.get("use_shared_rel_pos_bias"):
        shapes["rel_pos_bias.relative_position_bias_table"] = (offsets + 3, heads)
    if c.get("shared_rel_pos"):
        shapes |= mlp_of_offsets("shared_rel_pos.", c, heads)

    def norm(name, width):
        shapes[f"{name}.weight"] = (width,)
        if c.get("norm", "layer") == "layer":
            shapes[f"{name}.bias"] = (width,)

    def linear(name, out, into, bias=True):
        shapes[f"{name}.weight"] = (out, into)
        if bias:
            shapes[f"{name}.bias"] = (out,)

    for i in range(c["depth"]):
        name = f"blocks.{i}"
        norm(f"{name}.norm1", D)
        if c.get("qkv_fused", True):
            linear(f"{name}.attn.qkv", 3 * D, D, c["qkv"] == "all")
            shapes |= {f"{name}.attn.{letter}_bias": (D,) for letter in ("qv" if c["qkv"] == "qv" else "")}
        else:
            for letter in "qkv":
                linear(f"{name}.attn.{letter}_proj", D, D, letter in c["qkv"] or c["qkv"] == "all")
        for part, width in (("q_norm", D // heads), ("k_norm", D // heads)):
            if c.get("qk_norm"):
                norm(f"{name}.attn.{part}", width)
        if c.get("scale_attn_inner"):
            norm(f"{name}.attn.norm", D)
        if c.get("use_rel_pos_bias"):
            shapes[f"{name}.attn.relative_position_bias_table"] = (offsets + 3, heads)
        if c.get("rel_pos_type") and not c.get("shared_rel_pos"):
            shapes |= mlp_of_offsets(f"{name}.attn.rel_pos.", c, heads)
        linear(f"{name}.attn.proj", D, D)
        norm(f"{name}.norm2", D)
        if c.get("split"):
            linear(f"{name}.mlp.fc1_g", inner, D)
            linear(f"{name}.mlp.fc1_x", inner, D)
        else:
            linear(f"{name}.mlp.fc1", inner * (2 if c.get("gated") else 1), D)
        if c.get("scale_mlp"):
            norm(f"{name}.mlp.norm", inner)
        linear(f"{name}.mlp.fc2", D, inner)
        for gamma in c.get("gammas", ()):
            shapes[f"{name}.{gamma}"] = (D,)
    norm("fc_norm" if c.get("fc_norm") else "norm", D)
    if c["num_classes"]:
        linear("head", c["num_classes"], D)
    return {name: rng.normal(size=shape) * 0.5 for name, shape in shapes.items()}


def mlp_of_offsets(prefix, c, heads):
    shapes = {f"{prefix}mlp.fc1.weight": (5, 2), f"{prefix}mlp.fc1.bias": (5,), f"{prefix}mlp.fc2.weight": (heads, 5)}
    return shapes if "swin" in c["rel_pos_type"] else {**shapes, f"{prefix}mlp.fc2.bias": (heads,)}


class ByHand:
    """Outputs of images (B, C, height, width), and the loss: of labels, or the product with a cotangent."""

    def __init__(self, config, weights, image, labels=None, cotangent=None):
        self.c, self.w = {**BASE, **config}, weights
        self.output = np.array([self.one(x) for x in image])
        if cotangent is not None:
            self.loss = (self.output * cotangent).sum()
        else:
            likely = [x[k] - math.log(sum(map(math.exp, x))) for x, k in zip(self.output, labels, strict=True)]
            self.loss = -sum(likely) / len(likely)

    def one(self, image):
        w, c, P = self.w, self.c, self.c["patch_size"]
        self.grid = image.shape[1] // P, image.shape[2] // P
        self.places = [(y, x) for y in range(self.grid[0]) for x in range(self.grid[1])]
        tokens = []
        for y, x in self.places:
            cut = image[:, y * P : y * P + P, x * P : x * P + P]
            tokens.append(np.einsum("dcij,cij->d", w["patch_embed.proj.weight"], cut) + w["patch_embed.proj.bias"])
        if c.get("positions") == "patches":
            tokens = [x + p for x, p in zip(tokens, w["pos_embed"][0], strict=True)]
        first = [x for name in ("cls_token", "reg_token") if name in w for x in w[name][0]]
        tokens, self.before = [*first, *tokens], len(first)
        if c.get("positions") == "all":
            tokens = [x + p for x, p in zip(tokens, w["pos_embed"][0], strict=True)]
        for i in range(c["depth"]):
            tokens = self.block(tokens, i)
        if c.get("fc_norm"):
            features = self.norm(self.pooled(tokens), "fc_norm")
        else:
            features = self.pooled([self.norm(x, "norm") for x in tokens])
        return self.linear(features, "head") if c["num_classes"] else features

    def pooled(self, tokens):
        if self.c.get("global_pool") == "token":
            return tokens[0]
        return sum(tokens[self.before :]) / len(self.places)

    def block(self, tokens, i):
        name = f"blocks.{i}"
        g1, g2 = (self.w[f"{name}.{gamma}"] for gamma in self.c["gammas"]) if "gammas" in self.c else (1, 1)
        added = self.attention([self.norm(x, f"{name}.norm1") for x in tokens], i)
        tokens = [x + g1 * y for x, y in zip(tokens, added, strict=True)]
        return [x + g2 * self.mlp(self.norm(x, f"{name}.norm2"), f"{name}.mlp") for x in tokens]

    def attention(self, tokens, i):
        name, heads, D = f"blocks.{i}.attn", self.c["num_heads"], self.c["embed_dim"]
        qs, ks, vs = zip(*(self.qkv(x, name) for x in tokens), strict=True)
        mixed = [np.zeros(D) for _ in tokens]
        for h in range(heads):
            mine = slice(h * D // heads, (h + 1) * D // heads)
            q = [self.turned(self.qk(x[mine], f"{name}.q_norm"), n, i, h) for n, x in enumerate(qs)]
            k = [self.turned(self.qk(x[mine], f"{name}.k_norm"), n, i, h) for n, x in enumerate(ks)]
            for n in range(len(tokens)):
                scores = [q[n] @ k[m] / math.sqrt(D / heads) + self.relative(n, m, h, name) for m in range(len(tokens))]
                e = np.exp(np.array(scores) - max(scores))
                mixed[n][mine] = sum(a * v[mine] for a, v in zip(e / e.sum(), vs, strict=True))
        if self.c.get("scale_attn_inner"):
            mixed = [self.norm(x, f"{name}.norm") for x in mixed]
        return [self.linear(x, f"{name}.proj") for x in mixed]

    def qkv(self, x, name):
        w = self.w
        if not self.c.get("qkv_fused", True):
            return [self.linear(x, f"{name}.{letter}_proj") for letter in "qkv"]
        q, k, v = np.split(self.linear(x, f"{name}.qkv"), 3)
        return q + w.get(f"{name}.q_bias", 0), k, v + w.get(f"{name}.v_bias", 0)

    def qk(self, x, name):
        return self.norm(x, name) if self.c.get("qk_norm") else x

    def turned(self, x, n, block, head):
        """A query or key of token n."""
        c, pairs = self.c, len(x) // 2
        if not c.get("use_rot_pos_emb") or n < self.before:
            return x
        y_place, x_place = self.places[n - self.before]
        rows, columns = self.grid
        angles = []
        for j in range(pairs):
            exponent = (j % (pairs // 2)) / (pairs // 2)
            if c.get("rope_type") == "mixed":
                f, g = self.w["rope.freqs"][:, block, head, j]
                one, other = (x_place, y_place) if c["rope_grid_indexing"] == "xy" else (y_place, x_place)
                angles.append(one * f + other * g)
            elif c.get("rope_type") == "dinov3":
                place = (2 * y_place + 1) / rows - 1 if j < pairs // 2 else (2 * x_place + 1) / columns - 1
                angles.append(2 * math.pi * place / c["rope_temperature"] ** exponent)
            else:
                down, right = y_place + c.get("rope_grid_offset", 0), x_place + c.get("rope_grid_offset", 0)
                if "ref_feat_shape" in c:
                    down, right = down * c["ref_feat_shape"][0] / rows, right * c["ref_feat_shape"][1] / columns
                first = right if c.get("rope_grid_indexing") == "xy" else down
                second = down if c.get("rope_grid_indexing") == "xy" else right
                angles.append((first if j < pairs // 2 else second) / c.get("rope_temperature", 10000.0) ** exponent)
        result = np.zeros(len(x))
        for j, t in enumerate(angles):
            a, b = (j, pairs + j) if c.get("rope_rotate_half") else (2 * j, 2 * j + 1)
            z = complex(x[a], x[b]) * cmath.exp(1j * t)
            result[a], result[b] = z.real, z.imag
        return result

    def relative(self, n, m, head, name):
        """What is added to the score of query n and key m."""
        c, w, (rows, columns) = self.c, self.w, self.grid
        table = w.get(f"{name}.relative_position_bias_table", w.get("rel_pos_bias.relative_position_bias_table"))
        if table is not None and (n == 0 or m == 0):
            return table[-1 if n == m else -3 if n == 0 else -2, head]
        if table is None and not c.get("rel_pos_type"):
            return 0
        if n < self.before or m < self.before:
            return 0
        (y1, x1), (y2, x2) = self.places[n - self.before], self.places[m - self.before]
        if table is not None:
            return table[(y1 - y2 + rows - 1) * (2 * columns - 1) + x1 - x2 + columns - 1, head]
        prefix = "shared_rel_pos.mlp" if c.get("shared_rel_pos") else f"{name}.rel_pos.mlp"
        d = np.array([y1 - y2, x1 - x2], float)
        swin = "swin" in c["rel_pos_type"]
        d = d / [max(1, rows - 1), max(1, columns - 1)] * 8 if swin else d
        d = np.sign(d) * np.log(1 + abs(d)) / (math.log(8) if swin else 1)
        bias = self.linear(np.maximum(self.linear(d, f"{prefix}.fc1"), 0), f"{prefix}.fc2")[head]
        return 16 / (1 + math.exp(-bias)) if swin else bias

    def mlp(self, x, name):
        if self.c.get("split"):
            h = self.act(self.linear(x, f"{name}.fc1_g")) * self.linear(x, f"{name}.fc1_x")
        elif self.c.get("gated"):
            gate, value = np.split(self.linear(x, f"{name}.fc1"), 2)
            h = self.act(gate) * value
        else:
            h = self.linear(x, f"{name}.fc1")
            h = h * (1 + erf(h / math.sqrt(2))) / 2
        return self.linear(self.norm(h, f"{name}.norm") if self.c.get("scale_mlp") else h, f"{name}.fc2")

    def act(self, h):
        return h * (1 + erf(h / math.sqrt(2))) / 2 if self.c.get("geglu") else h / (1 + np.exp(-h))

    def norm(self, x, name):
        if self.c.get("norm") == "rms":
            return x / math.sqrt((x * x).mean() + self.c["eps"]) * self.w[f"{name}.weight"]
        return (x - x.mean()) / math.sqrt(x.var() + self.c["eps"]) * self.w[f"{name}.weight"] + self.w.get(
            f"{name}.bias", 0
        )

    def linear(self, x, name):
        return self.w[f"{name}.weight"] @ x + self.w.get(f"{name}.bias", 0)
