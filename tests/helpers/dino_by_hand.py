"""DINO once more, from the paper's text: one crop, one token, one head at a time, under the published names."""

import math

import numpy as np

erf = np.vectorize(math.erf)
SIZES = {
    "image_global": 12, "image_local": 8, "patch": 4, "width": 12, "depth": 2, "heads": 2, "mlp": 10,
    "norm_eps": 1e-6, "gelu": "erf", "global_crops": 2, "local_crops": 2, "channels": 3,
    "head": {"layers": 3, "hidden": 9, "bottleneck": 5, "out": 7},
    "student_temp": 0.1, "teacher_temp": 0.04, "center_momentum": 0.9, "ema": 0.99,
}  # fmt: skip


def pair(size):
    return size if isinstance(size, list) else [size, size]


def cells(size, config):
    return [side // patch for side, patch in zip(pair(size), pair(config["patch"]), strict=True)]


def arrays(config, rng):
    """Random weights of student and teacher under the official names."""
    D, head, N = config["width"], config["head"], math.prod(cells(config["image_global"], config))
    shapes = {
        "backbone.cls_token": (1, 1, D),
        "backbone.pos_embed": (1, 1 + N, D),
        "backbone.patch_embed.proj.weight": (D, config["channels"], *pair(config["patch"])),
        "backbone.patch_embed.proj.bias": (D,),
        "backbone.norm.weight": (D,),
        "backbone.norm.bias": (D,),
        "head.last_layer.weight_g": (head["out"], 1),
        "head.last_layer.weight_v": (head["out"], head["bottleneck"]),
    }
    for i in range(config["depth"]):
        kernels = {
            "attn.qkv": (3 * D, D),
            "attn.proj": (D, D),
            "mlp.fc1": (config["mlp"], D),
            "mlp.fc2": (D, config["mlp"]),
        }
        for name, shape in {"norm1": (D,), "norm2": (D,), **kernels}.items():
            shapes[f"backbone.blocks.{i}.{name}.weight"] = shape
            shapes[f"backbone.blocks.{i}.{name}.bias"] = shape[:1]
    widths = [D, *[head["hidden"]] * (head["layers"] - 1), head["bottleneck"]]
    for i in range(head["layers"]):
        name = "head.mlp" if head["layers"] == 1 else f"head.mlp.{2 * i}"
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (widths[i + 1], widths[i]), (widths[i + 1],)
    found = {
        f"{who}.{name}": rng.normal(0, 0.4, shape) for who in ("student", "teacher") for name, shape in shapes.items()
    }
    if head.get("norm_last_layer"):
        found |= {name: np.ones_like(x) for name, x in found.items() if name.endswith("weight_g")}
    return found


def cubic(distance, a=-0.75):
    if distance <= 1:
        return (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    return a * distance**3 - 5 * a * distance**2 + 8 * a * distance - 4 * a if distance < 2 else 0.0


def table(old, grid, new):
    """The position table `old` of a grid for another one, a new cell at a time."""
    if list(grid) == list(new):
        return old
    maps = old[0, 1:].reshape(*grid, -1)
    rows = [old[0, 0]]
    for r in range(new[0]):
        for c in range(new[1]):
            place = [(i + 0.5) * grid[k] / (new[k] + 0.1) - 0.5 for k, i in enumerate((r, c))]
            near = [range(math.floor(x) - 1, math.floor(x) + 3) for x in place]
            rows.append(
                sum(
                    cubic(abs(place[0] - i)) * cubic(abs(place[1] - j))
                    * maps[min(max(i, 0), grid[0] - 1), min(max(j, 0), grid[1] - 1)]
                    for i in near[0] for j in near[1]
                )
            )  # fmt: skip
    return np.array(rows)[None]


class ByHand:
    """The forward pass of both networks, loss and centre.   crops: a list of (B, C, height, width), global ones first;
    center: (1, K)."""

    def __init__(self, config, weights, crops, center):
        self.config, self.weights = config, weights
        count = config["global_crops"]
        students = [[self.encode(image, "student") for image in crop] for crop in crops]
        teachers = [[self.encode(image, "teacher") for image in crop] for crop in crops[:count]]
        said = [[self.head(x, "student") for x in crop] for crop in students]
        taught = [[self.head(x, "teacher") for x in crop] for crop in teachers]
        tau_s, tau_t = config["student_temp"], config["teacher_temp"]
        q = [[softmax((y - center[0]) / tau_t) for y in crop] for crop in taught]
        terms = [
            -np.mean([t @ np.log(softmax(y / tau_s)) for t, y in zip(q[i], said[j], strict=True)])
            for i in range(count)
            for j in range(len(crops))
            if i != j
        ]
        flat = {"student_features": students, "teacher_features": teachers, "student_out": said, "teacher_out": taught}
        self.found = {name: np.array([x for crop in parts for x in crop]) for name, parts in flat.items()}
        moved = config["center_momentum"] * center + (1 - config["center_momentum"]) * self.found["teacher_out"].mean(
            axis=0
        )
        self.found |= {
            "teacher_probabilities": np.array([x for crop in q for x in crop]),
            "terms": np.array(terms),
            "loss": np.mean(terms),
            "new_center": moved,
        }

    def encode(self, image, who):
        w = {name.removeprefix(f"{who}.backbone."): x for name, x in self.weights.items()}
        high, wide = pair(self.config["patch"])
        grid = image.shape[1] // high, image.shape[2] // wide
        positions = table(w["pos_embed"], cells(self.config["image_global"], self.config), grid)[0]
        tokens = [w["cls_token"][0, 0] + positions[0]]
        for r in range(grid[0]):
            for c in range(grid[1]):
                patch = image[:, r * high : (r + 1) * high, c * wide : (c + 1) * wide]
                x = np.tensordot(w["patch_embed.proj.weight"], patch, 3) + w["patch_embed.proj.bias"]
                tokens.append(x + positions[len(tokens)])
        for i in range(self.config["depth"]):
            tokens = self.block(tokens, {name.removeprefix(f"blocks.{i}."): x for name, x in w.items()})
        return self.norm(tokens[0], w, "norm")

    def block(self, tokens, w):
        packed = [np.split(linear(self.norm(x, w, "norm1"), w, "attn.qkv"), 3) for x in tokens]
        mixed = []
        for q, _, _ in packed:
            parts = []
            for mine in np.split(np.arange(len(q)), self.config["heads"]):
                shares = softmax(np.array([q[mine] @ k[mine] / math.sqrt(len(mine)) for _, k, _ in packed]))
                parts.append(sum(share * v[mine] for share, (_, _, v) in zip(shares, packed, strict=True)))
            mixed.append(np.concatenate(parts))
        tokens = [x + linear(y, w, "attn.proj") for x, y in zip(tokens, mixed, strict=True)]
        return [x + linear(gelu(linear(self.norm(x, w, "norm2"), w, "mlp.fc1")), w, "mlp.fc2") for x in tokens]

    def norm(self, x, w, name):
        scaled = (x - x.mean()) / math.sqrt(x.var() + self.config["norm_eps"])
        return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]

    def head(self, x, who):
        w = {name.removeprefix(f"{who}.head."): array for name, array in self.weights.items()}
        layers = self.config["head"]["layers"]
        for i in range(layers):
            x = linear(x, w, "mlp" if layers == 1 else f"mlp.{2 * i}")
            x = gelu(x) if i < layers - 1 else x
        x = x / math.sqrt(x @ x)
        lengths, rows = w["last_layer.weight_g"][:, 0], w["last_layer.weight_v"]
        return np.array([g * (v @ x) / math.sqrt(v @ v) for g, v in zip(lengths, rows, strict=True)])


def linear(x, w, name):
    return w[f"{name}.weight"] @ x + w[f"{name}.bias"]


def gelu(x):
    return x * (1 + erf(x / math.sqrt(2))) / 2


def softmax(x):
    powers = np.exp(x - x.max())
    return powers / powers.sum()
