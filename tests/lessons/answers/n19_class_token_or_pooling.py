"""Answers to the exercises of notebook 19."""

import numpy as np


def masked(x, real, dy, divide=None):
    y, dx = np.zeros_like(dy), np.zeros_like(x)
    for b in range(len(x)):
        tokens = [i for i in range(x.shape[1]) if real[b, i]]
        count = divide or len(tokens)
        for i in tokens:
            y[b] += x[b, i] / count
            dx[b, i] = dy[b] / count
    return y, dx


def maximum(x, dy):
    dx = np.zeros_like(x)
    dx[x.argmax(axis=0), np.arange(x.shape[1])] = dy
    return dx


def probe(x, u, dy, value=True, key=True):
    n, d = x.shape
    s = x @ u / np.sqrt(d)
    a = np.exp(s) / np.exp(s).sum()
    ds = (np.diag(a) - np.outer(a, a)) @ (x @ dy) / np.sqrt(d)
    dx = np.zeros_like(x)
    for i in range(n):
        dx[i] = value * a[i] * dy + key * ds[i] * u
    return x.T @ a, dx, x.T @ ds


def masked_by_einsum(x, real, dy, eps=0):
    share = real / (real.sum(axis=1, keepdims=True) + eps)
    return [np.einsum("bn,bnd->bd", share, x), np.einsum("bn,bd->bnd", share, dy)]


def masked_by_index(x, real, dy):
    y, dx = np.empty_like(dy), np.zeros_like(x)
    for b, keep in enumerate(real.astype(bool)):
        y[b] = x[b][keep].mean(axis=0)
        dx[b][keep] = dy[b] / keep.sum()
    return y, dx


def prefixes(x, real, dy):
    """Only how many are real."""
    return masked(x, np.arange(x.shape[1]) < real.sum(axis=1)[:, None], dy)


def maximum_by_loop(x, dy, largest=-np.inf):
    dx = np.zeros(x.shape)
    for d in range(x.shape[1]):
        best, where = largest, None
        for i in range(x.shape[0]):
            if x[i, d] > best:
                best, where = x[i, d], i
        if where is not None:
            dx[where, d] += dy[d]
    return dx


def probe_in_steps(x, u, dy):
    scale = np.sqrt(len(u))
    s = (x * u).sum(axis=1) / scale
    a = np.exp(s - s.max())
    a = a / a.sum()
    y = (a[:, None] * x).sum(axis=0)
    ds = [a_i * ((x_i - y) @ dy) / scale for a_i, x_i in zip(a, x, strict=True)]
    dx = np.outer(a, dy) + np.outer(ds, u)
    return y, dx, sum(ds_i * x_i for ds_i, x_i in zip(ds, x, strict=True))


# number -> answers that must pass
RIGHT = {
    "19.1": [lambda D: D + D, lambda D: np.int64(2) * D],
    "19.2": [masked, masked_by_einsum, masked_by_index],
    "19.3": [maximum, maximum_by_loop, lambda x, dy: np.where(x == x.max(axis=0), dy, 0)],
    "19.4": [probe, probe_in_steps],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "19.1": [
        (lambda D: D, "a row of its own"),
        (lambda D: D * D, "not matrices"),
        (lambda D: 3 * D, "classifier behind is the same"),
        (lambda D: -2 * D, "a positive number"),
        (lambda D: 2 * D + 1, "no single number"),
        (lambda D: 2 * D + 5, "no letter are not"),
    ],
    "19.2": [
        (lambda x, real, dy: masked(x, np.ones_like(real), dy), "not left out"),
        (lambda x, real, dy: masked(x, real, dy, divide=real.shape[1]), "number of all tokens"),
        (lambda x, real, dy: (masked(x, real, dy)[0], np.einsum("bn,bd->bnd", real, dy)), "so does its gradient"),
        (lambda x, real, dy: masked(x, real, dy)[0], "tuple of 2"),
        (prefixes, "need not stand at the end"),
        (lambda x, real, dy: masked_by_einsum(x, real, dy, eps=1e-6), "epsilon"),
        (lambda x, real, dy: masked(x, real, dy, divide=1), "the gradient that of the sum"),
        (lambda x, real, dy: masked(x, real, dy, divide=real.sum()), "not by that of the batch"),
        (lambda x, real, dy: masked(x, real, dy)[::-1], "another order"),
        (lambda x, real, dy: masked(x, real[::-1], dy), "differs"),
    ],
    "19.3": [
        (lambda x, dy: np.tile(dy / len(x), (len(x), 1)), "gradient of the mean"),
        (lambda x, dy: np.tile(dy, (len(x), 1)), "Every token"),
        (lambda x, dy: np.where(x == np.max(x), dy, 0), "the whole array"),
        (lambda x, dy: maximum(-x, dy), "smallest value"),
        (lambda x, dy: maximum_by_loop(x, dy, largest=0), "none below 0"),
        (lambda x, dy: maximum(abs(x), dy), "furthest from 0"),
        (lambda x, dy: maximum(x, dy * x.max(axis=0)), "not dy times the value"),
        (lambda x, dy: maximum(x, dy).sum(axis=0), "shape"),
        (lambda x, dy: np.roll(maximum(x, dy), 1, axis=0), "shifted by one place"),
    ],
    "19.4": [
        (lambda x, u, dy: probe(x, u, dy, key=False), "only the first part"),
        (lambda x, u, dy: probe(x, u, dy, value=False), "lacks the second"),
        (lambda x, u, dy: (x.mean(axis=0), *probe(x, u, dy)[1:]), "as if u were 0"),
        (lambda x, u, dy: (*probe(x, u, dy)[:2], probe(x, u, dy)[2] * len(u) ** 0.5), "dx is right"),
        (lambda x, u, dy: probe(x, u, dy)[:2], "tuple of 3"),
        (lambda x, u, dy: probe(x, 0 * u, dy), "differs"),
    ],
}

# number -> a change of a right answer that leaves it right -> why
EQUIVALENT = {
    "19.2": {
        "share = real / …real.sum(axis=1, keepdims=True)…": "the epsilon is 0 here",
    },
    "19.3": {
        "dx[where, d] = dy[d]": "each entry is written once, and was 0",
        "if x[i, d] >= best:": "no two tokens are equal in any feature",
    },
    "19.4": {
        "ds = x @ dy @ (np.diag(a) - np.outer(a, a)) / np.sqrt(d)": "the Jacobian is symmetric",
        "ds = [a_i * (dy @ (x_i - y)) / scale for a_i, x_i in zip(a, x, strict=True)]": "<x, y> is <y, x>",
        "ds = [a_i * ((x_i - y) @ dy) / scale for a_i, x_i in zip(a, x…": "the two have the same length",
        "ds = (np.diag(a) - np.outer(a, a)) @ (x @ dy) / np.sqrt(d)": "a is a",
        "a = np.exp(s…": "a softmax does not change when a number is added to all scores; no case has large ones",
        "dx = np.ones_like(x)": "every entry is overwritten",
        "return (y, dx, sum((ds_i * x_i for ds_i, x_i in zip(x, ds, strict=True))))": "the two stand on equal terms",
        "return (y, dx, sum((ds_i * x_i for ds_i, x_i in zip(ds, x…": "the two have the same length",
    },
}
