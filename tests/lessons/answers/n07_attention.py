"""Answers to the exercises of notebook 07."""

import numpy as np

from minivit import functional as F
from minivit import ops
from minivit.tensor import Tensor, grad


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


def masked_by_a_product(q, k, v):
    with np.errstate(invalid="ignore"):
        return softmax_of(q @ k.T / np.sqrt(q.shape[1]) + np.triu(np.ones((len(q), len(q))), 1) * -np.inf) @ v


def unshifted(q, k, v, block):
    total, y = np.zeros((len(q), 1)), np.zeros(v.shape)
    with np.errstate(all="ignore"):
        for i in range(0, len(k), block):
            e = np.exp(q @ k[i : i + block].T / np.sqrt(q.shape[1]))
            total, y = total + e.sum(axis=1, keepdims=True), y + e @ v[i : i + block]
        return y / total


def one_branch(q, k, v):
    if len(q) > 1:
        return causal(q, k, v)


def by_the_engine(q, k, v, dY):
    leaves = [Tensor(part, requires_grad=True) for part in (q, k, v)]
    S = leaves[0] @ leaves[1].T * q.shape[1] ** -0.5 + Tensor(np.triu(np.full((len(q), len(q)), -1e30), 1))
    return tuple(grad((F.softmax(S) @ leaves[2] * Tensor(dY)).sum(), leaves))


def causal_with_minus_100(q, k, v):
    scores = q @ k.T / q.shape[1] ** 0.5
    return softmax_of(np.where(np.tri(len(q)) > 0, scores, -100.0), -1) @ v


# number -> answers that must pass
RIGHT = {
    "7.1": [lambda v: v.sum(axis=0) / len(v)],
    "7.2": [causal, lambda q, k, v: ops.softmax(np.where(np.tri(len(q)), q @ k.T / q.shape[1] ** 0.5, -1e9))[0] @ v],
    "7.3": [causal_backward, lambda *args: np.stack(causal_backward(*args))],
    "7.4": [in_blocks, lambda q, k, v, block: [softmax_of(k @ x / len(x) ** 0.5, 0) @ v for x in q]],
    "7.5": [16 * 34, 544.0],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "7.1": [
        (lambda v: 0 * v[0], "softmax(0) is not 0"),
        (lambda v: v.sum(axis=0), "1/N each, not 1"),
        (lambda v: v[0], "differs"),
        (lambda v: v.sum(axis=0) / v.shape[1], "length of axis 0 of v over the length of axis 1"),
        (lambda v: v.astype(np.float32).mean(axis=0), "computed in float32"),
    ],
    "7.2": [
        (causal_with_minus_100, "below all others"),
        (causal_masked_twice, "exp(0) = 1"),
        (lambda q, k, v: softmax_of(q @ k.T / np.sqrt(q.shape[1])) @ v, "without a mask"),
        (lambda q, k, v: np.tril(softmax_of(q @ k.T / np.sqrt(q.shape[1]))) @ v, "before the softmax"),
        (lambda q, k, v: causal(q * np.sqrt(q.shape[1]), k, v), "divided by sqrt(D_h)"),
        (lambda q, k, v: causal(q, k, v)[::-1], "reversed order"),
        (strictly_earlier, "may look at itself"),
        (masked_by_a_product, "0 * -inf is NaN"),
        (one_branch, "does it end in `return`"),
    ],
    "7.3": [
        (lambda q, k, v, dY: causal_backward(q, k, v, dY, row_sum=False), "row sum"),
        (lambda q, k, v, dY: causal_backward(q, k, v, dY, scaled=False), "sqrt(D_h)"),
        (lambda q, k, v, dY: causal_backward(q, k, v, dY)[:2], "tuple of 3"),
        (lambda *args: causal_backward(*args)[::-1], "it returns (dv, dk, dq), expected (dq, dk, dv)"),
        (by_the_engine, "The library did this"),
    ],
    "7.4": [
        (lambda q, k, v, block: in_blocks(q, k, v, block, correct=False), "rises from m to m'"),
        (lambda q, k, v, block: softmax_of(q @ k.T) @ v, "divided by sqrt(D_h)"),
        (from_zero, "not finite"),
        (unshifted, "exp overflows"),
        (lambda q, k, v, block: in_blocks(q, k, v, len(k)), "Make no array with an entry for each query and key"),
    ],
    "7.5": [
        (528, "1090 tokens"),
        (1152, "side of the image in pixels"),
        (448, "N exceeds D"),
        (543, "It is not"),
    ],
}

# number -> changed line of a right answer (… for anything) -> why the answer stays right
EQUIVALENT = {
    "7.2": {
        "y = np.ones_like(v)": "every entry is overwritten",
        "lambda q, k, v: ops.softmax(np.where(np.tri(len(q)), …, -2000000000.0))[0] @ v": (
            "any number far below all scores will do"
        ),
    },
    "7.3": {
        "e = np.exp(s…)": "a softmax does not change when a number is added to a row; 7.4 asks for large scores",
    },
    "7.4": {
        "lambda q, k, v, block: [softmax_of(k @ x / len(x) ** 0.5, -1) @ v for x in q]": "a row has one axis, 0 or -1",
        "return e / e.sum(…)": "in the answer that goes row by row, the softmax is that of one row",
        "e = np.exp(s - s.max(…))": "in the answer that goes row by row, the softmax is that of one row",
        "new = np.maximum(s.max(axis=1), m)": "the two stand on equal terms",
        "total, y = (np.ones(len(q)), np.zeros(v.shape))": "the first correction multiplies it by exp(-inf) = 0",
        "total, y = (np.zeros(len(q)), np.ones(v.shape))": "the first correction multiplies it by exp(-inf) = 0",
    },
}
