"""Answers to the exercises of notebook 12."""

import math

import numpy as np


def adam_on_one_gradient(g, lr, correct=True):
    m, v = 0.1 * g, 0.001 * g**2
    if correct:
        m, v = m / (1 - 0.9), v / (1 - 0.999)
    return -lr * m / (np.sqrt(v) + 1e-8)


def clip(a, b, max_norm):
    norm = np.linalg.norm(np.concatenate([a.ravel(), b.ravel()]))
    if norm <= max_norm:
        return a, b
    return a / norm * max_norm, b / norm * max_norm


def clip_each(a, b, max_norm):
    return tuple(x / max(1, np.linalg.norm(x) / max_norm) for x in (a, b))


def half_life(lr, wd):
    return -1 / math.log2(1 - lr * wd)


def factored(theta, gradients, lr, b1, b2, eps, correct=True, mean=True):
    n, k = theta.shape
    theta, m, r, c = theta.copy(), np.zeros((n, k)), np.zeros(n), np.zeros(k)
    for t in range(len(gradients)):
        g = gradients[t]
        m += (1 - b1) * (g - m)
        r += (1 - b2) * ((g**2).mean(axis=1) - r)
        c += (1 - b2) * ((g**2).mean(axis=0) - c)
        unbiased = 1 - b2 ** (t + 1) if correct else 1
        for i in range(n):
            for j in range(k):
                v = r[i] * c[j] / unbiased / (r.mean() if mean else r.sum())
                theta[i, j] -= lr * m[i, j] / (1 - b1 ** (t + 1)) / (math.sqrt(v) + eps)
    return theta


# number -> answers that must pass
RIGHT = {
    "12.1": [lambda g, lr: -lr * np.sign(g), adam_on_one_gradient],
    "12.2": [clip, lambda *args: list(clip(*args))],
    "12.3": [half_life],
    "12.4": [0.1],
    "12.5": [factored],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "12.1": [
        (lambda g, lr: -lr * g, "gradient descent"),
        (lambda g, lr: adam_on_one_gradient(g, lr, correct=False), "Without the corrections"),
        (lambda g, lr: -lr * (0.1 * g / (1 - 0.9)) / (np.sqrt(0.001 * g**2) + 1e-8), "v is not"),
        (lambda g, lr: lr * np.sign(g), "sign"),
        (lambda g, lr: -lr * np.sqrt(np.abs(g)) * np.sign(g), "differs"),
    ],
    "12.2": [
        (clip_each, "its own norm"),
        (lambda a, b, c: (a * c / np.hypot(*map(np.linalg.norm, (a, b))),) * 2, "shape"),
        (lambda a, b, c: tuple(x * c / np.hypot(np.linalg.norm(a), np.linalg.norm(b)) for x in (a, b)), "made longer"),
        (lambda a, b, c: (np.clip(a, -c, c), np.clip(b, -c, c)), "for itself"),
        (lambda a, b, c: (a, b), "differs"),
    ],
    "12.3": [
        (lambda lr, wd: math.log(2) / (lr * wd), "Near, for small"),
        (lambda lr, wd: 1 / (2 * lr * wd), "of what is left"),
        (lambda lr, wd: math.log(2) / -math.log(1 - wd), "not wd"),
        (lambda lr, wd: math.floor(half_life(lr, wd)) + 1, "Not rounded"),
        (lambda lr, wd: 2 * half_life(lr, wd), "2 times"),
    ],
    "12.4": [(1e-4, "too small"), (1e-7, "other way round"), (0.2, "It is not")],
    "12.5": [
        (lambda *args: factored(*args, correct=False), "not corrected"),
        (lambda *args: factored(*args, mean=False), "not by its sum"),
        (lambda theta, *rest: theta, "differs"),
    ],
}
