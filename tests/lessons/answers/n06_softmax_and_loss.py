"""Answers to the exercises of notebook 06."""

import math

import numpy as np


def log_sum_exp(z):
    sums = np.full(len(z), -np.inf)
    for column in z.T:
        sums = np.logaddexp(sums, column)
    return sums


def log_softmax_backward(z, dy):
    dz = dy.copy()
    for b, row in enumerate(probabilities(z)):
        dz[b] -= row * dy[b].sum()
    return dz


def probabilities(z):
    e = np.exp(z)
    return e / e.sum(axis=1, keepdims=True)


def in_blocks(x, W, labels, block, with_labels=True):
    rows = np.arange(len(x))
    starts = range(0, W.shape[1], block)
    lse = np.full(len(x), -np.inf)
    for i in starts:
        lse = np.logaddexp(lse, log_sum_exp(x @ W[:, i : i + block]))
    loss, dx, dW = lse.mean(), np.zeros_like(x), np.zeros_like(W)
    for i in starts:
        z = x @ W[:, i : i + block]
        here = (labels >= i) & (labels < i + z.shape[1])
        loss -= z[rows[here], labels[here] - i].sum() / len(x)
        dz = np.exp(z - lse[:, None]) / len(x)
        if with_labels:
            dz[rows[here], labels[here] - i] -= 1 / len(x)
        dx += dz @ W[:, i : i + block].T
        dW[:, i : i + block] = x.T @ dz
    return loss, dx, dW


def in_blocks_unshifted(x, W, labels, block):
    starts = range(0, W.shape[1], block)
    total = sum(np.exp(x @ W[:, i : i + block]).sum(axis=1) for i in starts)
    t = np.eye(W.shape[1])[labels]
    dz = (np.exp(x @ W) / total[:, None] - t) / len(x)
    return np.mean(np.log(total) - (x @ W * t).sum(axis=1)), dz @ W.T, x.T @ dz


def all_at_once(x, W, labels, block):
    log_p = x @ W - log_sum_exp(x @ W)[:, None]
    t = np.eye(W.shape[1])[labels]
    dz = (np.exp(log_p) - t) / len(x)
    return -(t * log_p).sum() / len(x), dz @ W.T, x.T @ dz


def blocks_from_zero(x, W, labels, block):
    largest, total = np.zeros(len(x)), np.zeros(len(x))
    starts = range(0, W.shape[1], block)
    for i in starts:
        z = x @ W[:, i : i + block]
        new = np.maximum(largest, z.max(axis=1))
        total = total * np.exp(largest - new) + np.exp(z - new[:, None]).sum(axis=1)
        largest = new
    dx, dW, lse = np.zeros_like(x), np.zeros_like(W), largest + np.log(total)
    for i in starts:
        part = W[:, i : i + block]
        dz = (np.exp(x @ part - lse[:, None]) - (labels[:, None] - i == np.arange(part.shape[1]))) / len(x)
        dx += dz @ part.T
        dW[:, i : i + block] = x.T @ dz
    return (lse - np.einsum("nd,dn->n", x, W[:, labels])).mean(), dx, dW


# number -> answers that must pass
RIGHT = {
    "6.1": [log_sum_exp],
    "6.2": [math.log(9 + math.e) - 1, 1.46115],
    "6.3": [log_softmax_backward],
    "6.4": [in_blocks],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "6.1": [
        (lambda z: np.log(np.exp(z).sum(axis=1)), "exp(1000) overflows"),
        (lambda z: np.log(np.exp(z - z.max(1, keepdims=True)).sum(1)), "must be added again"),
        (lambda z: z.max(axis=1), "largest logit alone"),
        (lambda z: log_sum_exp(z)[:, None], "shape"),
    ],
    "6.2": [
        (0, "never reaches 1"),
        (math.log(10), "equal probabilities"),
        (math.log(1 + 10 / math.e), "Nine classes"),
        (1.46, "more digits"),
        (1 / 10, "It is not"),
    ],
    "6.3": [
        (lambda z, dy: dy - probabilities(z), "dy is any array"),
        (lambda z, dy: dy - probabilities(z) * dy.sum(axis=0), "not over the rows"),
        (lambda z, dy: dy - dy.mean(axis=1, keepdims=True), "differs"),
        (lambda z, dy: 2 * log_softmax_backward(z, dy), "2 times"),
    ],
    "6.4": [
        (blocks_from_zero, "begins with -inf"),
        (in_blocks_unshifted, "exp overflows"),
        (lambda x, W, labels, block: in_blocks(x, W, labels, block, with_labels=False), "targets are missing"),
        (lambda x, W, labels, block: in_blocks(x, W[:, :block], labels % block, block), "shape"),
        (lambda x, W, labels, block: in_blocks(-x, W, labels, block), "differs"),
        (all_at_once, "Make no array with an entry for each row and class"),
        (
            lambda x, *rest: (len(x) * in_blocks(x, *rest)[0], *in_blocks(x, *rest)[1:]),
            "L is the right one",
        ),
    ],
}

# number -> changed line of a right answer (… for anything) -> why the answer stays right
EQUIVALENT = {
    "6.1": {
        "sums = np.logaddexp(column, sums)": "the two stand on equal terms",
    },
    "6.4": {
        "lse = np.logaddexp(log_sum_exp(x @ W[:, i:i + block]), lse)": "the two stand on equal terms",
        "sums = np.logaddexp(column, sums)": "the two stand on equal terms",
        "loss, dx, dW = (lse.mean(), np.zeros_like(x), np.ones_like(W))": "every entry is overwritten",
    },
}
