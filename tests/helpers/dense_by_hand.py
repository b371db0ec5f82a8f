"""Slow parts of networks that label pixels: one vector, one pixel at a time."""

import math

import numpy as np


def norm(x, weights, name, eps=1e-5):
    centred = x - x.mean(-1, keepdims=True)
    x = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps)
    return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(x, weights, name):
    return x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0)


def gelu(x):
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attention(q, k, v, heads):
    """(M, D), (N, D), (N, D) -> (M, D)."""
    parts = (np.split(x, heads, axis=-1) for x in (q, k, v))
    return np.concatenate([softmax(a @ b.T / math.sqrt(a.shape[-1])) @ c for a, b, c in zip(*parts, strict=True)], -1)


def resized(x, size):
    """(h, w, K) -> (*size, K), bilinear, of pixels as areas: every new pixel looks for its place on the old map."""
    h, w, k = x.shape
    y = np.empty((*size, k))
    for i in range(size[0]):
        for j in range(size[1]):
            a, b = (max(0.0, (p + 0.5) * old / new - 0.5) for p, old, new in ((i, h, size[0]), (j, w, size[1])))
            r, c = int(a), int(b)
            below, right = min(r + 1, h - 1), min(c + 1, w - 1)
            a, b = a - r, b - c
            upper, lower = (x[row, c] * (1 - b) + x[row, right] * b for row in (r, below))
            y[i, j] = upper * (1 - a) + lower * a
    return y


def pixel_loss(logits, labels):
    """The mean of -log p of the labels (B, H, W) that are not 255.   logits: (B, H, W, K)."""
    terms = [-np.log(softmax(logits[place])[k]) for place, k in np.ndenumerate(labels) if k != 255]
    return sum(terms) / len(terms)


def mean_iou(answers, labels, classes):
    """From the confusion matrix of all pixels, counted one by one."""
    matrix = np.zeros((classes, classes))
    for said, true in zip(answers.ravel(), labels.ravel(), strict=True):
        if true != 255:
            matrix[true, said] += 1
    either = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
    return (matrix.diagonal()[either > 0] / either[either > 0]).mean()


def slope(loss, weights, rng, e=1e-6):
    """A direction through all weights, and the slope of the loss along it, from differences."""
    along = {name: rng.normal(size=x.shape) for name, x in weights.items()}
    up, down = ({name: x + s * along[name] for name, x in weights.items()} for s in (e, -e))
    return along, (loss(up) - loss(down)) / (2 * e)
