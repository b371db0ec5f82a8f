"""Answers to the exercises of notebook 20."""

import numpy as np


def field(layers):
    pixels = 1  # of one value of the last layer, carried back through the layers
    for k, s in reversed(layers):
        pixels = (pixels - 1) * s + k
    return pixels


def depthwise(x, W):
    k = len(W)
    y = np.zeros((x.shape[0] - k + 1, x.shape[1] - k + 1, x.shape[2]))
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            y[i, j] = (x[i : i + k, j : j + k] * W).sum(axis=(0, 1))
    return y


def backward(x, W, dy, add=True):
    k = len(W)
    dx, dW = np.zeros(x.shape), np.zeros(W.shape)
    for i in range(dy.shape[0]):
        for j in range(dy.shape[1]):
            if add:
                dx[i : i + k, j : j + k] += W * dy[i, j]
            else:
                dx[i : i + k, j : j + k] = W * dy[i, j]
            dW += x[i : i + k, j : j + k] * dy[i, j]
    return dx, dW


RIGHT = {
    "20.1": [lambda n, k, s: len(range(0, n - k + 1, s))],
    "20.2": [field],
    "20.3": [depthwise],
    "20.4": [backward],
}

WRONG = {
    "20.1": [
        (lambda n, k, s: (n - k) // s, "counts as well"),
        (lambda n, k, s: (n - k) / s + 1, "whole number"),
        (lambda n, k, s: n // s, "end inside"),
        (lambda n, k, s: (n - k) // s + 2, "differs"),
    ],
    "20.2": [
        (lambda layers: 1 + sum(k - 1 for k, _ in layers), "ignores the strides"),
        (lambda layers: sum(k for k, _ in layers), "k - 1 steps"),
        (lambda layers: field(layers[::-1]), "wrong end"),
        (lambda layers: field(layers) + 1, "differs"),
    ],
    "20.3": [
        (lambda x, W: depthwise(x, W[::-1, ::-1]), "mirrors"),
        (lambda x, W: depthwise(x, W).sum(axis=-1), "adds the channels"),
        (lambda x, W: depthwise(x, W[:1]), "has shape"),
    ],
    "20.4": [
        (lambda x, W, dy: (backward(x, W[::-1, ::-1], dy)[0], backward(x, W, dy)[1]), "where the pixel came from"),
        (lambda x, W, dy: backward(x, W, dy, add=False), "Result 1 of 2"),
        (lambda x, W, dy: backward(x, W, dy)[::-1], "has shape"),
    ],
}
