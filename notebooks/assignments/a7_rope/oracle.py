"""The reference: minivit's ops; the angles token by token."""

import numpy as np

from minivit import Tensor, grad, ops
from minivit import functional as F


def _angles(grid, width, base, front=0):
    rows, cols = grid
    rates = [float(base) ** (-i / (width // 4)) for i in range(width // 4)]
    places = [[c * rate for rate in rates] + [r * rate for rate in rates] for r in range(rows) for c in range(cols)]
    return np.array([[0.0] * (width // 2)] * front + places)


def rope(x, grid, base):
    return ops.rotate(x, _angles(grid, x.shape[-1], base))[0]


def rope_backward(x, grid, base, g):
    return ops.rotate(x, _angles(grid, x.shape[-1], base))[1](g)[0]


def rms_norm(x, scale, eps):
    return ops.rms_norm(x, scale, eps)[0]


def rms_norm_backward(x, scale, eps, g):
    return ops.rms_norm(x, scale, eps)[1](g)


def _swiglu(x, params):
    return F.swiglu(x @ params["gate.weight"], x @ params["up.weight"]) @ params["out.weight"]


def swiglu(x, params):
    return _swiglu(Tensor(x), {name: Tensor(value) for name, value in params.items()}).data


def swiglu_backward(x, params, g):
    leaves = {name: Tensor(value.copy(), requires_grad=True) for name, value in params.items()}
    x = Tensor(x.copy(), requires_grad=True)
    dx, *grads = grad(_swiglu(x, leaves), [x, *leaves.values()], g)
    return dx, dict(zip(leaves, grads))


def block_modern(x, params, config, grid):
    p, eps, heads = {name: Tensor(value) for name, value in params.items()}, config["norm_eps"], config["heads"]
    batch, tokens, width = x.shape
    head = width // heads
    angles = _angles(grid, head, config["rope_base"], tokens - grid[0] * grid[1])
    x = Tensor(x)
    qkv = F.rms_norm(x, p["norm1.scale"], eps) @ p["attention.qkv.weight"] + p["attention.qkv.bias"]
    q, k, v = (
        qkv[..., i * width : (i + 1) * width].reshape((batch, tokens, heads, head)).transpose((0, 2, 1, 3))
        for i in range(3)
    )
    scores = F.rotate(q, angles) @ F.rotate(k, angles).transpose((0, 1, 3, 2)) * (1 / np.sqrt(head).item())
    mixed = (F.softmax(scores) @ v).transpose((0, 2, 1, 3)).reshape((batch, tokens, width))
    x = x + mixed @ p["attention.out.weight"] + p["attention.out.bias"]
    mlp = {name[4:]: value for name, value in p.items() if name.startswith("mlp.")}
    return (x + _swiglu(F.rms_norm(x, p["norm2.scale"], eps), mlp)).data
