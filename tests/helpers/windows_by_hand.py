"""Slow parts of networks on maps with windows and relative positions: one place at a time."""

import math

import dense_by_hand as by_hand
import numpy as np


def conv(x, kernel, stride=1, border=0, bias=0):
    """(h, w, C), kernel (E, C, k, k): one place after another."""
    k = kernel.shape[-1]
    x = np.pad(x, ((border, border), (border, border), (0, 0)))
    rows, columns = ((side - k) // stride + 1 for side in x.shape[:2])
    y = np.empty((rows, columns, len(kernel)))
    for i, j in np.ndindex(rows, columns):
        y[i, j] = np.einsum("yxc,ecyx->e", x[i * stride : i * stride + k, j * stride : j * stride + k], kernel)
    return y + bias


def enlarged(x, weights, name):
    """A transposed convolution 2 x 2 at stride 2, kernel (C, E, 2, 2): every place paints four."""
    kernel, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    y = np.empty((2 * x.shape[0], 2 * x.shape[1], kernel.shape[1]))
    for i, j in np.ndindex(x.shape[:2]):
        y[2 * i : 2 * i + 2, 2 * j : 2 * j + 2] = np.einsum("c,ceyx->yxe", x[i, j], kernel) + bias
    return y


def cubic(d):
    d = abs(d)
    return (1.25 * d - 2.25) * d * d + 1 if d <= 1 else -0.75 * (((d - 5) * d + 8) * d - 4) if d < 2 else 0.0


def bicubic(x, size):
    """(h, w, C) -> (*size, C): 16 places around every new one, those outside replaced by the nearest."""
    h, w, c = x.shape
    y = np.zeros((*size, c))
    for i, j in np.ndindex(size):
        a, b = ((p + 0.5) * old / new - 0.5 for p, old, new in ((i, h, size[0]), (j, w, size[1])))
        for r in range(math.floor(a) - 1, math.floor(a) + 3):
            for s in range(math.floor(b) - 1, math.floor(b) + 3):
                y[i, j] += cubic(a - r) * cubic(b - s) * x[min(max(r, 0), h - 1), min(max(s, 0), w - 1)]
    return y


def attended(x, weights, name, heads):
    """(R, C, D): every place asks every other, with the numbers of their distance."""
    rows, columns, width = x.shape
    q, k, v = np.split(by_hand.linear(x.reshape(-1, width), weights, f"{name}.qkv"), 3, -1)
    tables = [weights.get(f"{name}.rel_pos_{axis}") for axis in "hw"]
    places, out = list(np.ndindex(rows, columns)), np.empty_like(v)
    inner = width // heads
    for i in range(2):
        if tables[i] is not None:
            tables[i] = by_hand.resized(tables[i][:, None], (2 * (rows, columns)[i] - 1, 1))[:, 0]
    for h in range(heads):
        own = slice(h * inner, (h + 1) * inner)
        for a, place in enumerate(places):
            scores = k[:, own] @ q[a, own] / math.sqrt(inner)
            for b, other in enumerate(places):
                for axis, table in enumerate(tables):
                    if table is not None:
                        scores[b] += q[a, own] @ table[place[axis] - other[axis] + (rows, columns)[axis] - 1]
            out[a, own] = by_hand.softmax(scores) @ v[:, own]
    return by_hand.linear(out, weights, f"{name}.proj").reshape(x.shape)


def block(x, weights, name, words, heads, window):
    """x + attention, + MLP, inside windows of this side, 0 for none.   words: names of norms, attention and MLP."""
    norm, attention, mlp = words
    normed = by_hand.norm(x, weights, f"{name}.{norm}1", 1e-6)
    rows, columns = x.shape[:2]
    if window:
        normed = np.pad(normed, ((0, -rows % window), (0, -columns % window), (0, 0)))
        for i in range(0, rows, window):
            for j in range(0, columns, window):
                part = slice(i, i + window), slice(j, j + window)
                normed[part] = attended(normed[part], weights, f"{name}.{attention}", heads)
        x = x + normed[:rows, :columns]
    else:
        x = x + attended(normed, weights, f"{name}.{attention}", heads)
    hidden = by_hand.linear(by_hand.norm(x, weights, f"{name}.{norm}2", 1e-6), weights, f"{name}.{mlp}1")
    return x + by_hand.linear(by_hand.gelu(hidden), weights, f"{name}.{mlp}2")
