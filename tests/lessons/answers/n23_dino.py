"""Answers to the exercises of notebook 23."""

import numpy as np


def log_softmax(z):
    return z - np.log(np.exp(z).sum())


def by_loops(s, t, c, tau_s, tau_t, own=False, centred=True):
    batch, crops, _ = s.shape
    pairs = [(i, j) for i in range(t.shape[1]) for j in range(crops) if own or i != j]
    loss, ds = 0.0, np.zeros_like(s)
    for b in range(batch):
        for i, j in pairs:
            q = np.exp(log_softmax((t[b, i] - centred * c) / tau_t))
            log_p = log_softmax(s[b, j] / tau_s)
            loss -= q @ log_p / batch / len(pairs)
            ds[b, j] += (np.exp(log_p) - q) / tau_s / batch / len(pairs)
    return loss, ds


def by_sums(s, t, c, tau_s, tau_t):
    """All crops of the student at once, less the teacher's own."""
    p, q = np.exp(s / tau_s), np.exp((t - c) / tau_t)
    p /= p.sum(axis=2, keepdims=True)
    q /= q.sum(axis=2, keepdims=True)
    others = np.log(p).sum(axis=1, keepdims=True) - np.log(p[:, :2])
    count = 2 * len(s) * (s.shape[1] - 1)
    ds = 2 * p - q.sum(axis=1, keepdims=True)
    ds[:, :2] += q - p[:, :2]
    return -(q * others).sum() / count, ds / (tau_s * count)


def normed(v, g, dW, project=True):
    dv, dg = np.empty_like(v), np.empty_like(g)
    for k in range(len(v)):
        length = np.linalg.norm(v[k])
        u = v[k] / length
        matrix = np.eye(len(u)) - project * np.outer(u, u)
        dv[k], dg[k] = g[k] / length * matrix @ dW[k], u @ dW[k]
    return dv, dg


def normed_by_the_quotient(v, g, dW):
    square = (v**2).sum(axis=1)
    root = square**0.5
    dg = (dW * v).sum(axis=1) / root
    dv = g[:, None] * dW / root[:, None] - (g * dg / square)[:, None] * v
    return [dv, dg]


# number -> answers that must pass
RIGHT = {
    "23.1": [lambda V: 2 * V + 2, lambda V: (V + 1) + (V + 1)],
    "23.2": [by_loops, by_sums],
    "23.3": [normed, normed_by_the_quotient],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "23.1": [
        (lambda V: 2 * V, "compared with each other too"),
        (lambda V: 2 * (V + 2), "not compared with itself"),
        (lambda V: (V + 2) * (V + 1), "one of two"),
        (lambda V: 2 * V + 5, "no letter are not"),
    ],
    "23.2": [
        (lambda *args: by_loops(*args, own=True), "compared with itself"),
        (lambda *args: by_loops(*args, centred=False), "not subtracted"),
        (lambda s, t, c, tau_s, tau_t: by_loops(s, t, c, tau_t, tau_s), "exchanged"),
        (lambda s, t, c, tau_s, tau_t: (by_sums(s, t, c, tau_s, tau_t)[0], -by_sums(s, t, c, tau_s, tau_t)[1]), "sign"),
        (lambda *args: by_sums(*args)[0], "tuple of 2"),
    ],
    "23.3": [
        (lambda v, g, dW: normed(v, g, dW, project=False), "depends on v as well"),
        (lambda v, g, dW: (normed(v, g, dW)[0], (v * dW).sum(axis=1)), "of length 1"),
        (lambda v, g, dW: normed(v, g * g, dW), "multiplied by g"),
        (lambda v, g, dW: normed(v, g, dW)[::-1], "another order"),
    ],
}

# number -> a change of a right answer that leaves it right -> why
EQUIVALENT = {
    "23.2": {
        "loss -= log_p @ q / batch / len(pairs)": "<x, y> is <y, x>",
    },
    "23.3": {
        "matrix = np.eye(len(u)) - …": "the projection is symmetric",
        "dv[k], dg[k] = (g[k] / length * matrix @ dW[k], dW[k] @ u)": "<x, y> is <y, x>",
        "dv[k], dg[k] = (dW[k] @ …(g[k] / length * matrix), u @ dW[k])": "the projection is symmetric",
    },
}
