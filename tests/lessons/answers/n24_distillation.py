"""Answers to the exercises of notebook 24."""

import numpy as np


def log_probabilities(z):
    top = z.max(axis=1)[:, None]
    return z - top - np.log(np.exp(z - top).sum(axis=1))[:, None]


def hard(z, d, t, y, alpha, first=None):
    dz, dd, loss = np.zeros_like(z), np.zeros_like(d), 0.0
    log_p, log_q = log_probabilities(z), log_probabilities(d)
    for b in range(len(z)):
        c = t[b].argmax() if first is None else first[b]
        loss -= (1 - alpha) * y[b] @ log_p[b] + alpha * log_q[b, c]
        dz[b] = (1 - alpha) * (np.exp(log_p[b]) - y[b])
        dd[b] = alpha * np.exp(log_q[b])
        dd[b, c] -= alpha
    return loss / len(z), dz / len(z), dd / len(z)


def hard_at_once(z, d, t, y, alpha):
    said = (t == t.max(axis=1, keepdims=True)).astype(float)
    log_p, log_q = log_probabilities(z), log_probabilities(d)
    losses = -(1 - alpha) * (y * log_p).sum(axis=1) - alpha * (said * log_q).sum(axis=1)
    scale = 1 / len(losses)
    return losses.mean(), (1 - alpha) * scale * (np.exp(log_p) - y), alpha * scale * (np.exp(log_q) - said)


def overflowing(z, d, t, y, alpha):
    """Without the largest logit taken off."""
    p, q = (np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) for x in (z, d))
    said = np.eye(d.shape[1])[t.argmax(axis=1)]
    loss = -((1 - alpha) * (y * np.log(p)).sum() + alpha * (said * np.log(q)).sum()) / len(z)
    return loss, (1 - alpha) * (p - y) / len(z), alpha * (q - said) / len(z)


def order(d, t, m, start=lambda i: i):
    loss, dd = 0.0, np.zeros(d.shape)
    for b in range(len(d)):
        classes = sorted(range(len(d[b])), key=lambda k, b=b: -t[b, k])
        for i in range(m):
            rest = classes[start(i) :]
            top = max(d[b, k] for k in rest)
            total = sum(np.exp(d[b, k] - top) for k in rest)
            loss += top + np.log(total) - d[b, classes[i]]
            dd[b, classes[i]] -= 1
            for k in rest:
                dd[b, k] += np.exp(d[b, k] - top) / total
    return loss / len(d), dd / len(d)


def order_sorted(d, t, m):
    """All in the order of the teacher, and back."""
    by = np.argsort(t, axis=1)[:, ::-1]
    x = np.take_along_axis(d, by, axis=1)
    loss, dx = 0, np.zeros_like(x)
    for i in range(m):
        log_p = log_probabilities(x[:, i:])
        loss = loss - log_p[:, 0].mean()
        dx[:, i:] += np.exp(log_p) / len(x)
        dx[:, i] -= 1 / len(x)
    dd = np.empty_like(dx)
    np.put_along_axis(dd, by, dx, axis=1)
    return loss, dd


# number -> answers that must pass
RIGHT = {
    "24.1": [lambda D, K: (D + 1) * K + D + D, lambda D, K: K + D * (K + 2)],
    "24.2": [
        lambda alpha, K: 1 / (1 + (1 - alpha) / (alpha * K)),
        lambda alpha, K: alpha / (alpha + (1 - alpha) / K),
    ],
    "24.3": [hard, hard_at_once],
    "24.4": [order, order_sorted],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "24.1": [
        (lambda D, K: D + D * K + K, "a position of its own"),
        (lambda D, K: D * K + 2 * D, "has a bias"),
        (lambda D, K: 2 * D, "a head of its own"),
        (lambda D, K: 2 * D + K * D + 2 * K, "those with K are not"),
    ],
    "24.2": [
        (lambda alpha, K: alpha * K, "sum to 1 again"),
        (lambda alpha, K: alpha / K, "has to grow"),
        (lambda alpha, K: alpha / (alpha + (1 - alpha) * K), "from the code to the paper"),
        (lambda alpha, K: alpha, "K times less"),
        (lambda alpha, K: alpha**2, "differs"),
    ],
    "24.3": [
        (lambda z, d, t, y, alpha: hard(z, d, t, y, 1 - alpha), "left for the labels"),
        (lambda z, d, t, y, alpha: hard(z, d, t, y, alpha, first=d.argmax(axis=1)), "student's own"),
        (lambda z, d, t, y, alpha: hard(z, d, t, np.eye(z.shape[1])[y.argmax(axis=1)], alpha), "labels are mixed"),
        (lambda z, d, t, y, alpha: hard(d, z, t, y, alpha), "[distillation] token's logits"),
        (lambda z, d, t, y, alpha: hard(z, d, t, y, alpha)[:2], "tuple of 3"),
        (overflowing, "logits are large"),
        (lambda z, d, t, y, alpha: hard(z, d, -t, y, alpha), "differs"),
    ],
    "24.4": [
        (lambda d, t, m: order(d, t, m, start=lambda i: 0), "has been found is out"),
        (lambda d, t, m: order(d, t, 1), "hard distillation"),
        (lambda d, t, m: order(d, -t, m), "largest logit"),
        (lambda d, t, m: order(d, t, d.shape[1]), "takes all"),
        (lambda d, t, m: order(d, t, m)[0], "tuple of 2"),
        (lambda d, t, m: order(t, d, m), "differs"),
    ],
}

# number -> a change of a right answer that leaves it right -> why
EQUIVALENT = {
    "24.4": {
        "x = np.take_along_axis(d, by)": "the last axis is the one that is meant without a word",
        "by = np.argsort(t)[:, ::-1]": "the last axis is the one that is meant without a word",
        "classes = sorted(range(len(t[b])), key=lambda k, b=b: -t[b, k])": "the two have the same length",
    },
}
