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


def clip_as_torch(a, b, max_norm):
    norm = (np.sum(a**2) + np.sum(b**2)) ** 0.5
    factor = np.clip(max_norm / (norm + 1e-6), None, 1)
    return a * factor, b * factor


def clip_lists(a, b, max_norm):
    norm = math.sqrt(sum(x * x for x in [*a.flat, *b.flat]))
    return [x if norm < max_norm else (x * (max_norm / norm)).tolist() for x in (a, b)]


def factored_at_once(theta, gradients, lr, b1, b2, eps, inside=False):
    """With weights for all gradients instead of running means."""
    for t in range(1, len(gradients) + 1):
        g, ages = gradients[:t], np.arange(t)[::-1]
        m = np.tensordot(b1**ages, g, 1) * (1 - b1) / (1 - b1**t)
        square = np.tensordot(b2**ages, g * g, 1) * (1 - b2) / (1 - b2**t)
        v = square.mean(1, keepdims=True) * square.mean(0, keepdims=True) / square.mean()
        theta = theta - lr * m / (np.sqrt(v + eps) if inside else np.sqrt(v) + eps)
    return theta


def clip_by_shorter(a, b, max_norm):
    norm = np.hypot(np.linalg.norm(a), np.linalg.norm(b))
    return tuple(x / norm * np.minimum(norm, max_norm) for x in (a, b))


# number -> answers that must pass
RIGHT = {
    "12.1": [lambda g, lr: -lr * np.sign(g), adam_on_one_gradient, lambda g, lr: [-lr * x / abs(x) for x in g]],
    "12.2": [clip, lambda *args: list(clip(*args)), clip_as_torch, clip_lists],
    "12.3": [half_life, lambda lr, wd: math.log(0.5, 1 - lr * wd), lambda lr, wd: np.log(2) / -np.log1p(-lr * wd)],
    "12.4": [0.1, [0.1], 1e-4 / 1e-3],
    "12.5": [factored, factored_at_once],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "12.1": [
        (lambda g, lr: -lr * g / np.sqrt(g * g + 1e-8), "inside the root"),
        (lambda g, lr: -lr * g, "gradient descent"),
        (lambda g, lr: adam_on_one_gradient(g, lr, correct=False), "Without the corrections"),
        (lambda g, lr: -lr * np.sign(g) * 0.1 / np.sqrt(0.001), "Without the corrections"),
        (lambda g, lr: -lr * (0.1 * g / (1 - 0.9)) / (np.sqrt(0.001 * g**2) + 1e-8), "v is not"),
        (lambda g, lr: -lr * 0.1 * np.sign(g), "m is not"),
        (lambda g, lr: lr * np.sign(g), "sign"),
        (lambda g, lr: -lr / g, "by v itself"),
        (lambda g, lr: -lr * g / np.linalg.norm(g), "not by the norm"),
        (lambda g, lr: -np.sign(g), "learning rate is missing"),
        (lambda g, lr: -lr * np.sqrt(np.abs(g)) * np.sign(g), "too far from 0 everywhere"),
    ],
    "12.2": [
        (
            lambda a, b, c: tuple(x * min(1, c / math.hypot(*map(np.linalg.norm, (a, b)))) for x in (a, b)),
            "Gradients of zero",
        ),
        (clip_by_shorter, "Gradients of zero must stay"),
        (clip_each, "its own norm"),
        (lambda a, b, c: (a * c / np.hypot(*map(np.linalg.norm, (a, b))),) * 2, "shape"),
        (lambda a, b, c: tuple(x * c / np.hypot(np.linalg.norm(a), np.linalg.norm(b)) for x in (a, b)), "made longer"),
        (lambda a, b, c: (np.clip(a, -c, c), np.clip(b, -c, c)), "for itself"),
        (lambda a, b, c: (a, b), "Nothing is clipped"),
        (lambda a, b, c: tuple(x * min(1, c / (np.linalg.norm(a) + np.linalg.norm(b))) for x in (a, b)), "squares do"),
        (lambda a, b, c: tuple(x * min(1, c / np.linalg.norm(a)) for x in (a, b)), "norm of a alone"),
        (lambda a, b, c: (clip(a, b, c)[0], b), "Only a is scaled"),
        (lambda a, b, c: clip(a, b, c)[::-1], "another order"),
        (lambda a, b, c: clip(a, b, c)[0], "tuple of 2"),
        (lambda a, b, c: clip(a, b, 2 * c), "only where the gradients are longer"),
    ],
    "12.3": [
        (lambda lr, wd: math.log(2) / (lr * wd), "Near, for small"),
        (lambda lr, wd: 1 / (2 * lr * wd), "of what is left"),
        (lambda lr, wd: math.log(2) / -math.log(1 - wd), "not wd"),
        (lambda lr, wd: math.floor(half_life(lr, wd)) + 1, "Not rounded"),
        (lambda lr, wd: 2 * half_life(lr, wd), "2 times"),
        (lambda lr, wd: -1 / math.log(1 - lr * wd), "1 / e"),
        (lambda lr, wd: math.log(2) / math.log(1 + lr * wd), "it does not grow"),
        (lambda lr, wd: math.log(2) / math.log(1 - lr * wd), "sign"),
        (lambda lr, wd: math.log(0.5) / math.log((1 - lr) * (1 - wd)), "one factor"),
    ],
    "12.4": [
        (1e-4, "too small"),
        (1e-7, "other way round"),
        (10, "solve for weight_decay"),
        (0.001, "peak rate"),
        (0.2, "no factor 2"),
        (0.3, "It is not"),
    ],
    "12.5": [
        (lambda *args: factored(*args, correct=False), "not corrected"),
        (lambda *args: factored(*args, mean=False), "not by its sum"),
        (lambda *args: factored_at_once(*args, inside=True), "not to v"),
        (lambda theta, *rest: theta, "Nothing has moved"),
        (lambda theta, gradients, lr, b1, b2, eps: factored(theta, gradients, lr, b2, b1, eps), "exchanged"),
        (lambda theta, gradients, *numbers: factored(theta, gradients[-1:], *numbers), "more than one gradient"),
        (lambda theta, gradients, *numbers: 2 * theta - factored(theta, gradients, *numbers), "against the gradient"),
        (lambda theta, gradients, *numbers: factored(theta, gradients, *numbers).T, "transposed"),
    ],
}

# number -> a change of a right answer that leaves it right -> why
EQUIVALENT = {
    "12.1": {
        "lambda g, lr: -lr / np.sign(g)": "a sign is its own inverse",
        "return -lr * m / (np.sqrt(v) …": "epsilon may be left out",
        "return -lr * m / np.sqrt(v)": "epsilon may be left out",
    },
    "12.2": {
        "if norm < max_norm:": "where the two are equal, the factor is 1",
        "return [x if norm <= max_norm else …": "where the two are equal, the factor is 1",
        "factor = np.clip(max_norm / norm, None, 1)": "PyTorch's epsilon may be left out",
        "factor = np.clip(max_norm / (norm + 0.0), None, 1)": "PyTorch's epsilon may be left out",
    },
    "12.5": {
        "r += (1 - b2) * ((g ** 2).sum(axis=1) - r)": "r is divided by its own mean, so a factor in it cancels",
        "v = square.mean(1, keepdims=True) * square.mean(0…": "a row spreads with and without an axis of length 1",
    },
}
