"""DINOv2's encoder and its training once more, slow and plain: one image, one token, one answer at a time. Weights have
the official names."""

import math
import re

import numpy as np
from sizes_by_hand import GELU, attend, block_shapes, dense, drawn, norm, patches_of, weights_1d

WIDTH, PATCH = 12, (2, 3)


def arrays(registers=0, gated=False, grid=(2, 2), mask=True, classes=0):
    """Weights by the official names."""
    shapes = {"cls_token": (1, 1, WIDTH), "pos_embed": (1, 1 + grid[0] * grid[1], WIDTH), "norm.weight": (WIDTH,)}
    shapes |= {"norm.bias": (WIDTH,), "patch_embed.proj.weight": (WIDTH, 2, *PATCH), "patch_embed.proj.bias": (WIDTH,)}
    shapes |= {"register_tokens": (1, registers, WIDTH)} if registers else {}
    shapes |= {"mask_token": (1, WIDTH)} if mask else {}
    shapes |= {"head.weight": (classes, 2 * WIDTH), "head.bias": (classes,)} if classes else {}
    for i in range(2):
        shapes |= block_shapes(f"blocks.{i}", WIDTH, 8, scales=True)
        if gated:
            shapes = {name: shape for name, shape in shapes.items() if f"blocks.{i}.mlp" not in name}
            shapes |= {f"blocks.{i}.mlp.w12.weight": (16, WIDTH), f"blocks.{i}.mlp.w12.bias": (16,)}
            shapes |= {f"blocks.{i}.mlp.w3.weight": (WIDTH, 8), f"blocks.{i}.mlp.w3.bias": (WIDTH,)}
    return drawn(shapes)


def cubic(old, new, scale):
    """Row i: what new place i takes of every old one, if places are 1 / scale apart."""
    found = np.zeros((new, old))
    for i in range(new):
        centre = (i + 0.5) / scale - 0.5
        for j in range(int(centre) - 3, int(centre) + 5):
            d = abs(j - centre)
            one = 1.25 * d**3 - 2.25 * d**2 + 1 if d < 1 else -0.75 * (d**3 - 5 * d**2 + 8 * d - 4)
            found[i, min(max(j, 0), old - 1)] += one if d < 2 else 0.0
    return found


def axis_matrix(old, new, resize):
    if resize == "offset":
        return cubic(old, new, (new + 0.1) / old)
    return weights_1d(old, new, "cubic", resize == "antialias")


def by_hand(w, image, grid, resize, mask=None, gelu="erf"):
    """One image -> tokens (N, D)."""
    kernel = w["patch_embed.proj.weight"].transpose(2, 3, 1, 0)
    cut = patches_of(image, PATCH)
    new = cut.shape[:2]
    x = cut.reshape(-1, cut.shape[-1]) @ kernel.reshape(cut.shape[-1], -1) + w["patch_embed.proj.bias"]
    for i in range(len(x)):
        if mask is not None and mask[i]:
            x[i] = w["mask_token"][0]
    table = w["pos_embed"][0, 1:].reshape(*grid, -1)
    if new != grid:
        down, across = (axis_matrix(o, n, resize) for o, n in zip(grid, new, strict=True))
        table = np.einsum("ih,jw,hwd->ijd", down, across, table)
    x = x + table.reshape(len(x), -1)
    first = w["cls_token"][0] + w["pos_embed"][0, :1]
    x = np.concatenate([first, w.get("register_tokens", np.zeros((1, 0, WIDTH)))[0], x])
    for i in range(2):
        name = f"blocks.{i}"
        y = norm(x, w[f"{name}.norm1.weight"], w[f"{name}.norm1.bias"])
        y = attend(*np.split(dense(y, w, f"{name}.attn.qkv"), 3, axis=1), 2)
        x = x + w[f"{name}.ls1.gamma"] * dense(y, w, f"{name}.attn.proj")
        y = norm(x, w[f"{name}.norm2.weight"], w[f"{name}.norm2.bias"])
        if f"{name}.mlp.w12.weight" in w:
            gate, value = np.split(dense(y, w, f"{name}.mlp.w12"), 2, axis=1)
            y = dense(gate / (1 + np.exp(-gate)) * value, w, f"{name}.mlp.w3")
        else:
            y = dense(GELU[gelu](dense(y, w, f"{name}.mlp.fc1")), w, f"{name}.mlp.fc2")
        x = x + w[f"{name}.ls2.gamma"] * y
    return norm(x, w["norm.weight"], w["norm.bias"])


def hub(weights):
    """Weights by Hugging Face's names, as facebook/dinov2-* have them."""
    found = {}
    for name, x in weights.items():
        name = re.sub(r"^(cls_token|mask_token|register_tokens)", r"embeddings.\1", name)
        name = re.sub(r"^pos_embed", "embeddings.position_embeddings", name)
        name = re.sub(r"^patch_embed\.proj", "embeddings.patch_embeddings.projection", name)
        name = re.sub(r"^blocks\.", "encoder.layer.", name)
        name = re.sub(r"^norm\.", "layernorm.", name)
        name = re.sub(r"attn\.proj", "attention.output.dense", name)
        name = re.sub(r"ls([12])\.gamma", r"layer_scale\1.lambda1", name)
        name = name.replace("mlp.w12", "mlp.weights_in").replace("mlp.w3", "mlp.weights_out")
        name = name.replace("head.", "classifier.")
        if ".attn.qkv." in name:
            parts = zip(("query", "key", "value"), np.split(x, 3), strict=True)
            found |= {name.replace("attn.qkv", f"attention.attention.{part}"): third for part, third in parts}
        else:
            found[name] = x
    return found


# training


def head_shapes(name, outputs, hidden=7, bottleneck=5):
    widths, shapes = [WIDTH, hidden, hidden, bottleneck], {}
    for i in range(3):
        shapes[f"{name}.mlp.{2 * i}.weight"] = (widths[i + 1], widths[i])
        shapes[f"{name}.mlp.{2 * i}.bias"] = (widths[i + 1],)
    return {**shapes, f"{name}.last_layer.weight_g": (outputs, 1), f"{name}.last_layer.weight_v": (outputs, bottleneck)}


def training_arrays(registers=0, gated=False, outputs=6, patch_outputs=4):
    found = {}
    for seed, who in enumerate(("student", "teacher")):
        shapes = {name: x.shape for name, x in arrays(registers, gated, grid=(3, 2)).items()}
        shapes = {f"backbone.{name}": shape for name, shape in shapes.items()}
        shapes |= head_shapes("dino_head", outputs) | head_shapes("ibot_head", patch_outputs)
        found |= {f"{who}.{name}": x for name, x in drawn(shapes, seed).items()}
    return found


def answer(w, name, x):
    """One token (D,) -> (K,)."""
    for i in range(3):
        x = dense(x, w, f"{name}.mlp.{2 * i}")
        x = GELU["erf"](x) if i < 2 else x
    v = w[f"{name}.last_layer.weight_v"]
    rows = [g[0] * row / np.sqrt((row**2).sum()) for g, row in zip(w[f"{name}.last_layer.weight_g"], v, strict=True)]
    return np.array(rows) @ (x / np.sqrt((x**2).sum()))


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def balanced(answers, temperature, iterations=3):
    """Sinkhorn as it is published: outputs in rows, without subtracting anything."""
    q = np.exp(np.array(answers) / temperature).T
    q /= q.sum()
    for _ in range(iterations):
        q /= q.sum(axis=1, keepdims=True) * q.shape[0]
        q /= q.sum(axis=0, keepdims=True) * q.shape[1]
    return (q * q.shape[1]).T


class Training:
    """All that one case of a recording holds.   crops: large and small, [view][image] (height, width, C); mask: [view]
    [image] (N,)."""

    def __init__(self, weights, crops, small, mask, centres, group, temperatures=(0.1, 0.07)):
        self.group, self.centres, self.temperatures = group, centres, temperatures
        student, teacher = (
            {name.removeprefix(f"{who}."): x for name, x in weights.items() if name.startswith(who)}
            for who in ("student", "teacher")
        )
        bodies = [{n.removeprefix("backbone."): x for n, x in w.items()} for w in (student, teacher)]
        before = 1 + bodies[0].get("register_tokens", np.zeros((1, 0, 1))).shape[1]
        resize = "antialias" if before > 1 else "offset"
        views, count = len(crops), len(crops[0])
        heads = ["dino_head", "dino_head" if "shared" in group else "ibot_head"]

        def tokens(i, image, hidden=None):
            return by_hand(bodies[i], image, (3, 2), resize, hidden)

        seen = [[tokens(0, crops[v][b], mask[v][b]) for b in range(count)] for v in range(views)]
        whole = [[tokens(1, crops[v][b]) for b in range(count)] for v in range(views)]
        self.features = np.array([[x[0] for x in view] for view in seen])
        self.large = np.array([[answer(student, heads[0], x[0]) for x in view] for view in seen])
        self.small = np.array([[answer(student, heads[0], tokens(0, x)[0]) for x in view] for view in small])
        self.taught = np.array([[answer(teacher, heads[0], x[0]) for x in view] for view in whole])
        self.places = [(v, b, n) for v in range(views) for b in range(count) for n in range(6) if mask[v][b][n]]
        self.said_patches = np.array([answer(student, heads[1], seen[v][b][before + n]) for v, b, n in self.places])
        self.taught_patches = np.array([answer(teacher, heads[1], whole[v][b][before + n]) for v, b, n in self.places])
        self.weights = np.array([1 / mask[v][b].sum() for v, b, _ in self.places])
        self.count = count

    def found(self):
        t_student, t = self.temperatures
        k = self.taught.shape[-1]
        if "sinkhorn" in self.group:
            q = balanced(self.taught.reshape(-1, k), t).reshape(self.taught.shape)
            q_patches = balanced(self.taught_patches, t)
        else:
            q = np.array([[softmax((x - self.centres[0]) / t) for x in view] for view in self.taught])
            q_patches = np.array([softmax((x - self.centres[1]) / t) for x in self.taught_patches])
        large, small, patches = (
            np.log(np.apply_along_axis(softmax, -1, x / t_student)) for x in (self.large, self.small, self.said_patches)
        )
        terms = 2 + 2 * len(small)
        crossed = sum(-(q[1 - v] * large[v]).sum(-1).mean() for v in range(2))
        local = sum(-(q[v] * one).sum(-1).mean() for v in range(2) for one in small)
        masked = -(self.weights * (q_patches * patches).sum(-1)).sum() / (2 * self.count)
        apart, neighbours = 0.0, []
        for view in self.features:
            x = view / np.sqrt((view**2).sum(-1, keepdims=True))
            near = [max((j for j in range(len(x)) if j != i), key=lambda j, i=i: x[i] @ x[j]) for i in range(len(x))]
            distances = [math.sqrt(((x[i] - x[j] + 1e-8) ** 2).sum()) for i, j in enumerate(near)]
            apart += -np.mean(np.log(np.array(distances) + 1e-8))
            neighbours.append(near)
        new = {
            "new_center_dino": 0.9 * self.centres[0] + 0.1 * self.taught.mean(axis=(0, 1)),
            "new_center_ibot": 0.9 * self.centres[1] + 0.1 * self.taught_patches.mean(axis=0),
        }
        return {
            "teacher_dino_probabilities": q[::-1].reshape(-1, k),
            "teacher_ibot_probabilities": q_patches,
            "student_global": self.large.reshape(-1, k),
            "student_local": self.small.reshape(-1, k),
            "student_masked": self.said_patches,
            "loss_local": np.array(local / terms),
            "loss_global": np.array(crossed / terms),
            "loss_koleo": np.array(0.1 * apart),
            "loss_ibot": np.array(masked),
            "loss": np.array((local + crossed) / terms + 0.1 * apart + masked),
            **({} if "sinkhorn" in self.group else {"new_center_dino": new["new_center_dino"][None],
                                                    "new_center_ibot": new["new_center_ibot"][None, None]}),
        }, np.array(neighbours)  # fmt: skip
