"""Answers to the exercises of notebook 07."""

import numpy as np


def causal(q, k, v):
    y = np.zeros_like(v)
    for i in range(len(q)):
        e = np.exp(k[: i + 1] @ q[i] / np.sqrt(q.shape[1]))
        y[i] = e @ v[: i + 1] / e.sum()
    return y


def causal_masked_twice(q, k, v):
    s = q @ k.T / np.sqrt(q.shape[1])
    s[np.triu_indices(len(q), 1)] = 0
    e = np.exp(s)
    return e / e.sum(axis=1, keepdims=True) @ v


def softmax_of(s, axis=1):
    e = np.exp(s - s.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def causal_backward(q, k, v, dY, row_sum=True, scaled=True):
    s = q @ k.T / np.sqrt(q.shape[1])
    s[np.triu_indices(len(q), 1)] = -np.inf
    A = softmax_of(s)
    dA = dY @ v.T
    dS = A * (dA - row_sum * (dA * A).sum(axis=1, keepdims=True))
    if scaled:
        dS = dS / np.sqrt(q.shape[1])
    return dS @ k, dS.T @ q, A.T @ dY


def in_blocks(q, k, v, block, correct=True, start=-np.inf):
    m = np.full(len(q), start)
    total, y = np.zeros(len(q)), np.zeros(v.shape)
    for i in range(0, len(k), block):
        s = q @ k[i : i + block].T / np.sqrt(q.shape[1])
        new = np.maximum(m, s.max(axis=1))
        if correct:
            total, y = total * np.exp(m - new), y * np.exp(m - new)[:, None]
        e = np.exp(s - new[:, None])
        total, y, m = total + e.sum(axis=1), y + e @ v[i : i + block], new
    return y / total[:, None]


def strictly_earlier(q, k, v):
    s = q @ k.T / np.sqrt(q.shape[1])
    s[np.triu_indices(len(q))] = -np.inf
    with np.errstate(invalid="ignore"):
        return softmax_of(s) @ v


def from_zero(q, k, v, block):
    with np.errstate(invalid="ignore"):
        return in_blocks(q, k, v, block, start=0.0)


# number -> answers that must pass
RIGHT = {
    "7.1": [lambda v: v.sum(axis=0) / len(v)],
    "7.2": [causal],
    "7.3": [causal_backward],
    "7.4": [in_blocks],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "7.1": [
        (lambda v: 0 * v[0], "softmax(0) is not 0"),
        (lambda v: v.sum(axis=0), "1/N each, not 1"),
        (lambda v: v[0], "differs"),
    ],
    "7.2": [
        (causal_masked_twice, "exp(0) = 1"),
        (lambda q, k, v: softmax_of(q @ k.T / np.sqrt(q.shape[1])) @ v, "without a mask"),
        (lambda q, k, v: np.tril(softmax_of(q @ k.T / np.sqrt(q.shape[1]))) @ v, "before the softmax"),
        (lambda q, k, v: causal(q * np.sqrt(q.shape[1]), k, v), "divided by sqrt(K)"),
        (lambda q, k, v: causal(q, k, v)[::-1], "reversed order"),
        (strictly_earlier, "may look at itself"),
    ],
    "7.3": [
        (lambda q, k, v, dY: causal_backward(q, k, v, dY, row_sum=False), "row sum"),
        (lambda q, k, v, dY: causal_backward(q, k, v, dY, scaled=False), "sqrt(K)"),
        (lambda q, k, v, dY: causal_backward(q, k, v, dY)[:2], "tuple of 3"),
    ],
    "7.4": [
        (lambda q, k, v, block: in_blocks(q, k, v, block, correct=False), "rises from m to m'"),
        (lambda q, k, v, block: softmax_of(q @ k.T) @ v, "divided by sqrt(K)"),
        (from_zero, "not finite"),
    ],
}

# number -> changed line of a right answer (… for anything) -> why the answer stays right
EQUIVALENT = {
    "7.2": {
        "y = np.ones_like(v)": "every entry is overwritten",
    },
    "7.3": {
        "e = np.exp(s…)": "a softmax does not change when a number is added to a row; 7.4 asks for large scores",
    },
    "7.4": {
        "new = np.maximum(s.max(axis=1), m)": "the two stand on equal terms",
        "total, y = (np.ones(len(q)), np.zeros(v.shape))": "the first correction multiplies it by exp(-inf) = 0",
        "total, y = (np.zeros(len(q)), np.ones(v.shape))": "the first correction multiplies it by exp(-inf) = 0",
    },
}
