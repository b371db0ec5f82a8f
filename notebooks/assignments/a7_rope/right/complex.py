"""Pairs of features as complex numbers; everything else in loops over heads and einsum."""

import numpy as np


def _phases(grid, width, base):
    quarter = width // 4
    rate = np.float64(base) ** -np.linspace(0, 1, quarter + 1)[:quarter]
    r, c = np.indices(grid)
    place = np.stack([c.ravel(), r.ravel()], axis=1)
    return np.exp(1j * np.einsum("nz,i->nzi", place, rate).reshape(len(place), -1))


def _as_complex(x):
    return np.ascontiguousarray(x).view(np.complex128)


def rope(x, grid, base):
    return (_as_complex(x) * _phases(grid, x.shape[-1], base)).view(np.float64)


def rope_backward(x, grid, base, g):
    return (_as_complex(g) * np.conj(_phases(grid, g.shape[-1], base))).view(np.float64)


def rms_norm(x, scale, eps):
    size = (np.einsum("...d,...d->...", x, x) / x.shape[-1] + eps) ** 0.5
    return scale * (x / size[..., None])


def rms_norm_backward(x, scale, eps, g):
    d = x.shape[-1]
    flat, up = x.reshape(-1, d), g.reshape(-1, d)
    dx, dscale = np.zeros_like(flat), np.zeros(d)
    for row, x_row in enumerate(flat):
        size = np.sqrt(x_row @ x_row / d + eps)
        jacobian = np.eye(d) / size - np.outer(x_row, x_row) / (d * size**3)
        dx[row] = jacobian @ (scale * up[row])
        dscale += up[row] * x_row / size
    return [dx.reshape(x.shape), dscale]


def _silu(u):
    half = np.tanh(u / 2)
    return u * (1 + half) / 2, (1 + half) / 2 * (1 + u * (1 - half) / 2)


def swiglu(x, params):
    return np.dot(_silu(np.dot(x, params["gate.weight"]))[0] * np.dot(x, params["up.weight"]), params["out.weight"])


def swiglu_backward(x, params, g):
    shape = x.shape
    x, g = x.reshape(-1, shape[-1]), g.reshape(-1, shape[-1])
    open_, slope = _silu(x @ params["gate.weight"])
    value = x @ params["up.weight"]
    back = np.einsum("no,fo->nf", g, params["out.weight"])
    grads = {"out.weight": np.einsum("nf,no->fo", open_ * value, g)}
    grads["up.weight"] = np.einsum("nd,nf->df", x, back * open_)
    grads["gate.weight"] = np.einsum("nd,nf->df", x, back * value * slope)
    dx = (back * value * slope) @ params["gate.weight"].T
    dx += (back * open_) @ params["up.weight"].T
    return dx.reshape(shape), grads


def block_modern(x, params, config, grid):
    n, width = grid[0] * grid[1], x.shape[-1]
    heads, base = config["heads"], config["rope_base"]
    size, out = width // heads, np.zeros_like(x)
    h = rms_norm(x, params["norm1.scale"], config["norm_eps"])
    qkv = h @ params["attention.qkv.weight"] + params["attention.qkv.bias"]
    for k in range(heads):
        part = [qkv[:, None, :, s * width + k * size : s * width + (k + 1) * size].copy() for s in range(3)]
        for turned in part[:2]:
            turned[:, :, -n:] = rope(turned[:, :, -n:], grid, base)
        q, key, v = (p[:, 0] for p in part)
        weights = np.exp(np.einsum("bnk,bmk->bnm", q, key) / size**0.5)
        weights /= weights.sum(-1, keepdims=True)
        out += weights @ v @ params["attention.out.weight"][k * size : (k + 1) * size]
    x = x + out + params["attention.out.bias"]
    mlp = {key.partition(".")[2]: value for key, value in params.items() if key.startswith("mlp")}
    return x + swiglu(rms_norm(x, params["norm2.scale"], config["norm_eps"]), mlp)
