"""One training step or one inference of the same ViT in each engine, as functions of no arguments.

All get the same sizes, tanh GELU, no dropout, cross-entropy, AdamW with weight decay, float32, the same random images,
and all cores. Each peer is written as its own users would write it for speed.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minivit.backend.kernels import kernels as use_kernels
from minivit.backend.workers import Workers, keep_freed_memory
from minivit.bench.workload import Workload
from minivit.models import ViT, ViTConfig
from minivit.optim import AdamW
from minivit.runs.numerics import default_workers, pieces_per_worker
from minivit.tensor import no_grad
from minivit.update.supervised import step

Step = Callable[[], object]


class Minivit:
    """This project, as `python -m minivit.train` runs it. The worker threads live until `close` is called."""

    def __init__(
        self,
        load: Workload,
        training: bool,
        workers: int | None = None,
        accumulate: int | None = None,
        kernels: str = "fused",
        recompute: bool = False,
    ):
        keep_freed_memory()
        self.images, self.labels = load.data()
        self.model = ViT(load.model).train(training)
        self.model.recompute_blocks = recompute
        self.training, self.kernels = training, kernels
        if training:
            self.optimizer = AdamW(self.model.named_parameters(), 1e-4, weight_decay=0.05)
        self.workers = Workers(workers or default_workers(load.batch, load.model)).__enter__()
        self.accumulate = accumulate or pieces_per_worker(load.batch, load.model.num_tokens, self.workers.count)

    def __call__(self) -> object:
        with use_kernels(self.kernels):
            if self.training:
                args = self.model, self.optimizer, self.images, self.labels
                return step(*args, workers=self.workers, accumulate=self.accumulate)
            pieces = np.array_split(self.images, self.workers.count * self.accumulate)
            return self.workers.map(self._infer, [piece for piece in pieces if len(piece)])

    def _infer(self, images: np.ndarray) -> np.ndarray:
        with no_grad():
            return self.model(images).data

    def close(self) -> None:
        """Stop the threads."""
        self.workers.__exit__()


def torch_model(c: ViTConfig) -> Any:
    """The ViT as a PyTorch user would write it."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(c.width, 1e-6), nn.LayerNorm(c.width, 1e-6)
            self.qkv, self.out = nn.Linear(c.width, 3 * c.width), nn.Linear(c.width, c.width)
            self.fc1, self.fc2 = nn.Linear(c.width, c.mlp_width), nn.Linear(c.mlp_width, c.width)

        def forward(self, x):
            b, n, d = x.shape
            q, k, v = self.qkv(self.norm1(x)).view(b, n, 3, c.heads, d // c.heads).permute(2, 0, 3, 1, 4)
            x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, d))
            return x + self.fc2(F.gelu(self.fc1(self.norm2(x)), approximate="tanh"))

    class ViT(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(c.channels, c.width, c.patch_size, c.patch_size)
            self.cls = nn.Parameter(torch.zeros(1, 1, c.width))
            self.positions = nn.Parameter(0.02 * torch.randn(1, c.num_tokens, c.width))
            self.blocks = nn.Sequential(*(Block() for _ in range(c.depth)))
            self.norm, self.head = nn.LayerNorm(c.width, 1e-6), nn.Linear(c.width, c.num_classes)

        def forward(self, images):
            x = self.patches(images).flatten(2).transpose(1, 2)
            if c.classifier == "token":
                x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1)
            x = self.norm(self.blocks(x + self.positions))
            return self.head(x[:, 0] if c.classifier == "token" else x.mean(1))

    torch.manual_seed(0)
    return ViT()


def torch(load: Workload, training: bool, compiled: bool = False) -> Step:
    """PyTorch: scaled_dot_product_attention and fused AdamW, eager or compiled."""
    import torch
    from torch.nn import functional as F

    x, y = load.data()
    images, labels = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2))), torch.from_numpy(y)
    model = torch_model(load.model)
    run = torch.compile(model) if compiled else model
    if not training:
        model.eval()

        def infer() -> object:
            with torch.inference_mode():
                return run(images)

        return infer
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, weight_decay=0.05, fused=True)

    def train() -> object:
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(run(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return train


def torch_compile(load: Workload, training: bool) -> Step:
    """PyTorch with torch.compile."""
    return torch(load, training, compiled=True)


def jax(load: Workload, training: bool) -> Step:
    """JAX: the step as one jitted function."""
    import jax
    import jax.numpy as jnp

    images, labels = map(jnp.asarray, load.data())
    start = jax.tree.map(jnp.asarray, _parameters(load))
    if not training:
        forward = jax.jit(lambda p, images: _logits(jnp, p, images, load.model))
        return lambda: forward(start, images).block_until_ready()

    def update(state: tuple, images: Any, labels: Any) -> tuple:
        parameters, m, v, t = state
        loss, grads = jax.value_and_grad(lambda p: _loss(jnp, p, images, labels, load.model))(parameters)
        new = jax.tree.map(lambda p, g, m, v: _adamw(jnp, p, g, m, v, t + 1), parameters, grads, m, v)
        leaf = lambda x: isinstance(x, tuple)
        return *(jax.tree.map(lambda x, i=i: x[i], new, is_leaf=leaf) for i in range(3)), t + 1, loss

    step = jax.jit(update, donate_argnums=0)
    zeros = lambda: jax.tree.map(jnp.zeros_like, start)
    state = [(start, zeros(), zeros(), 0.0)]

    def train() -> object:
        *new, loss = step(state.pop(), images, labels)
        state.append(tuple(new))
        return loss.item()

    return train


def autograd(load: Workload, training: bool) -> Step:
    """HIPS autograd: the same formulas through its wrapped NumPy."""
    import autograd.numpy as anp
    from autograd import value_and_grad
    from autograd.misc import flatten

    images, labels = load.data()
    flat, unflatten = flatten(_parameters(load))
    flat = flat.astype(np.float32)
    if not training:
        return lambda: _logits(anp, unflatten(flat), images, load.model)
    loss_and_grad = value_and_grad(lambda p: _loss(anp, unflatten(p), images, labels, load.model))
    m, v, t = np.zeros_like(flat), np.zeros_like(flat), [0]

    def train() -> object:
        loss, g = loss_and_grad(flat)
        t[0] += 1
        flat[:], m[:], v[:] = _adamw(np, flat, g.astype(np.float32), m, v, t[0])
        return loss

    return train


ENGINES: dict[str, Callable[..., Step]] = {
    "minivit": Minivit,
    "torch": torch,
    "torch-compile": torch_compile,
    "jax": jax,
    "autograd": autograd,
}


def _parameters(load: Workload) -> dict:
    """Random parameters of the ViT as a tree of arrays, for engines without layers."""
    c, rng = load.model, np.random.default_rng(0)
    d, f = c.width, c.mlp_width

    def weight(*shape: int) -> np.ndarray:
        return (0.02 * rng.standard_normal(shape)).astype(np.float32)

    def block() -> dict:
        shapes = {"qkv": (d, 3 * d), "out": (d, d), "fc1": (d, f), "fc2": (f, d)}
        p = {name: weight(*shape) for name, shape in shapes.items()}
        p |= {name + "_b": weight(shape[1]) for name, shape in shapes.items()}
        return p | {"s1": weight(d) + 1, "b1": weight(d), "s2": weight(d) + 1, "b2": weight(d)}

    patch = c.patch_size[0] * c.patch_size[1] * c.channels
    p = {"patch": weight(patch, d), "patch_b": weight(d), "pos": weight(1, c.num_tokens, d)}
    p |= {"s": weight(d) + 1, "b": weight(d), "head": weight(d, c.num_classes), "head_b": weight(c.num_classes)}
    if c.classifier == "token":
        p["cls"] = weight(1, 1, d)
    return p | {"blocks": [block() for _ in range(c.depth)]}


def _logits(xp: Any, p: dict, images: Any, c: Any) -> Any:
    """The ViT, written once for any library that looks like NumPy."""
    b, (rows, columns), (ph, pw) = len(images), c.grid, c.patch_size
    x = images.reshape(b, rows, ph, columns, pw, c.channels).transpose(0, 1, 3, 2, 4, 5)
    x = xp.dot(x.reshape(b, rows * columns, -1), p["patch"]) + p["patch_b"]
    if c.classifier == "token":
        x = xp.concatenate([xp.zeros((b, 1, c.width), np.float32) + p["cls"], x], axis=1)
    x = x + p["pos"]
    k = c.width // c.heads
    for q in p["blocks"]:
        h = xp.dot(_norm(xp, x, q["s1"], q["b1"]), q["qkv"]) + q["qkv_b"]
        h = xp.transpose(xp.reshape(h, (b, -1, 3, c.heads, k)), (2, 0, 3, 1, 4))
        scores = xp.matmul(h[0], xp.swapaxes(h[1], -1, -2)) * (1 / math.sqrt(k))
        e = xp.exp(scores - xp.max(scores, -1, keepdims=True))
        y = xp.matmul(e / xp.sum(e, -1, keepdims=True), h[2])
        x = x + xp.dot(xp.reshape(xp.transpose(y, (0, 2, 1, 3)), (b, -1, c.width)), q["out"]) + q["out_b"]
        h = xp.dot(_norm(xp, x, q["s2"], q["b2"]), q["fc1"]) + q["fc1_b"]
        h = 0.5 * h * (1 + xp.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h * h * h)))
        x = x + xp.dot(h, q["fc2"]) + q["fc2_b"]
    x = _norm(xp, x, p["s"], p["b"])
    return xp.dot(x[:, 0] if c.classifier == "token" else xp.mean(x, 1), p["head"]) + p["head_b"]


def _norm(xp: Any, x: Any, scale: Any, bias: Any) -> Any:
    centred = x - xp.mean(x, -1, keepdims=True)
    return centred / xp.sqrt(xp.mean(centred * centred, -1, keepdims=True) + 1e-6) * scale + bias


def _loss(xp: Any, p: dict, images: Any, labels: Any, c: Any) -> Any:
    logits = _logits(xp, p, images, c)
    shifted = logits - xp.max(logits, -1, keepdims=True)
    log_p = shifted - xp.log(xp.sum(xp.exp(shifted), -1, keepdims=True))
    return -xp.mean(log_p[np.arange(len(labels)), labels])


def _adamw(xp: Any, p: Any, g: Any, m: Any, v: Any, t: Any) -> tuple:
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    step = m / (1 - 0.9**t) / (xp.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return p - 1e-4 * (step + 0.05 * p), m, v
