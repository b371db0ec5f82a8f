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


def probe(x, p, dy, value=True, key=True):
    n, d = x.shape
    s = x @ p / np.sqrt(d)
    a = np.exp(s) / np.exp(s).sum()
    ds = (np.diag(a) - np.outer(a, a)) @ (x @ dy) / np.sqrt(d)
    dx = np.zeros_like(x)
    for i in range(n):
        dx[i] = value * a[i] * dy + key * ds[i] * p
    return x.T @ a, dx, x.T @ ds


RIGHT = {
    "19.1": [lambda D: D + D],
    "19.2": [masked],
    "19.3": [maximum],
    "19.4": [probe],
}

WRONG = {
    "19.1": [(lambda D: D, "a row of its own"), (lambda D: D * D, "not matrices"), (lambda D: 2 * D + 1, "differs")],
    "19.2": [
        (lambda x, real, dy: masked(x, np.ones_like(real), dy), "not left out"),
        (lambda x, real, dy: masked(x, real, dy, divide=real.shape[1]), "number of all tokens"),
        (lambda x, real, dy: (masked(x, real, dy)[0], np.einsum("bn,bd->bnd", real, dy)), "so does its gradient"),
        (lambda x, real, dy: masked(x, real, dy)[0], "tuple of 2"),
        (lambda x, real, dy: masked(x, real[::-1], dy), "differs"),
    ],
    "19.3": [
        (lambda x, dy: np.tile(dy / len(x), (len(x), 1)), "gradient of the mean"),
        (lambda x, dy: np.tile(dy, (len(x), 1)), "Every token"),
        (lambda x, dy: np.where(x == np.max(x), dy, 0), "the whole array"),
        (lambda x, dy: maximum(-x, dy), "differs"),
    ],
    "19.4": [
        (lambda x, p, dy: probe(x, p, dy, key=False), "only the first part"),
        (lambda x, p, dy: probe(x, p, dy, value=False), "lacks the second"),
        (lambda x, p, dy: probe(x, 0 * p, dy), "differs"),
    ],
}
