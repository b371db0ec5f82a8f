"""Answers to the exercises of notebook 31."""

import math

import numpy as np


def needed_by_formula(q, k, error):
    u = (q + k) / len(q) ** 0.25
    return int(np.ceil(np.expm1(u @ u) / error**2))


def needed_by_parts(q, k, error):
    exponent = (sum(x * x for x in q) + sum(x * x for x in k) + 2 * np.dot(q, k)) / math.sqrt(len(q))
    return math.ceil((math.exp(exponent) - 1) / error / error)


def combine_by_query(y1, lse1, y2, lse2):
    y, lse = [], []
    for i in range(len(y1)):
        m = max(lse1[i], lse2[i])
        if m == -np.inf:
            y.append(np.zeros(y1.shape[1]))
            lse.append(-np.inf)
            continue
        e1, e2 = math.exp(lse1[i] - m), math.exp(lse2[i] - m)
        y.append((e1 * y1[i] + e2 * y2[i]) / (e1 + e2))
        lse.append(m + math.log(e1 + e2))
    return y, lse


def combine_at_once(y1, lse1, y2, lse2):
    lse = np.logaddexp(lse1, lse2)
    safe = np.where(np.isfinite(lse), lse, 0.0)
    return np.exp(lse1 - safe)[:, None] * y1 + np.exp(lse2 - safe)[:, None] * y2, lse


def combine_by_exponentials(y1, lse1, y2, lse2):
    with np.errstate(all="ignore"):
        e1, e2 = np.exp(lse1)[:, None], np.exp(lse2)[:, None]
        below = np.where(e1 + e2 == 0, 1, e1 + e2)
        return (e1 * y1 + e2 * y2) / below, np.log(e1 + e2)[:, 0]


def combine_without_guard(y1, lse1, y2, lse2):
    with np.errstate(all="ignore"):
        m = np.maximum(lse1, lse2)
        e1, e2 = np.exp(lse1 - m)[:, None], np.exp(lse2 - m)[:, None]
        return (e1 * y1 + e2 * y2) / (e1 + e2), m + np.log(e1 + e2)[:, 0]


def backward_by_whole(q, k, v, dy, dlse):
    scale = q.shape[1] ** -0.5
    S = scale * q @ k.T
    lse = np.log(np.exp(S).sum(axis=1))
    A = np.exp(S - lse[:, None])
    delta = (dy * (A @ v)).sum(axis=1)
    dS = A * (dy @ v.T - delta[:, None] + dlse[:, None])
    return scale * dS @ k, scale * dS.T @ q, A.T @ dy


def backward_by_jacobian(q, k, v, dy, dlse):
    dq, dk, dv = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    root = math.sqrt(q.shape[1])
    for i in range(len(q)):
        e = np.exp(k @ q[i] / root)
        A = e / e.sum()
        dS = (np.diag(A) - np.outer(A, A)) @ (v @ dy[i]) + A * dlse[i]
        dq[i] = dS @ k / root
        dk += np.outer(dS, q[i]) / root
        dv += np.outer(A, dy[i])
    return dq, dk, dv


def causal_by_loop(q, k, v, omega):
    def phi(x):
        x = x / len(x) ** 0.25
        return np.exp(omega @ x - x @ x / 2)

    above, below, y = np.zeros((len(omega), v.shape[1])), np.zeros(len(omega)), []
    for i in range(len(q)):
        f = phi(k[i])
        above = above + np.outer(f, v[i])
        below = below + f
        y.append(phi(q[i]) @ above / (phi(q[i]) @ below))
    return y


def causal_by_sums(q, k, v, omega):
    a, b = (x * x.shape[1] ** -0.25 for x in (q, k))
    f, g = (np.exp(x @ omega.T - (x**2).sum(axis=1)[:, None] / 2) for x in (a, b))
    above = np.cumsum(g[:, :, None] * v[:, None, :], axis=0)  # (N, R, Dh)
    return np.einsum("nr,nrd->nd", f, above) / (f * np.cumsum(g, axis=0)).sum(axis=1)[:, None]


def causal_by_matrix(q, k, v, omega):
    a, b = (x * x.shape[1] ** -0.25 for x in (q, k))
    f, g = (np.exp(x @ omega.T - (x**2).sum(axis=1)[:, None] / 2) for x in (a, b))
    weights = np.tril(f @ g.T)
    return weights @ v / weights.sum(axis=1)[:, None]


def softmax_of_features(q, k, v, omega):
    f, g = (x * x.shape[1] ** -0.25 @ omega.T for x in (q, k))
    f, g = (np.exp(x) / np.exp(x).sum(axis=1)[:, None] for x in (f, g))
    weights = np.tril(f @ g.T)
    return weights @ v / weights.sum(axis=1)[:, None]


def without_lengths(q, k, v, omega):
    a, b = (x * x.shape[1] ** -0.25 for x in (q, k))
    weights = np.tril(np.exp(a @ omega.T) @ np.exp(b @ omega.T).T)
    return weights @ v / weights.sum(axis=1)[:, None]


def mixed_in_steps(q, k, Gk, Gv):
    S = q @ (Gk @ k).T / math.sqrt(q.shape[1])
    e = np.exp(S)
    return (e / e.sum(axis=1, keepdims=True)) @ Gv


def mixed_by_columns(q, k, Gk, Gv):
    """What each token's unit value gives."""
    columns = []
    for unit in np.eye(len(k)):
        e = np.exp(q @ k.T @ Gk.T * q.shape[1] ** -0.5)
        columns.append(e @ (Gv @ unit) / e.sum(axis=1))
    return np.transpose(columns)


def softmax(S):
    e = np.exp(S)
    return e / e.sum(axis=1, keepdims=True)


# number -> answers that must pass
RIGHT = {
    "31.1": [needed_by_formula, needed_by_parts],
    "31.2": [combine_by_query, combine_at_once],
    "31.3": [backward_by_whole, backward_by_jacobian],
    "31.4": [causal_by_loop, causal_by_sums],
    "31.5": [mixed_in_steps, mixed_by_columns],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "31.1": [
        (lambda q, k, error: needed_by_formula(q * len(q) ** 0.25, k * len(q) ** 0.25, error), "Dh^(1/4) each before"),
        (lambda q, k, error: needed_by_formula(q * len(q) ** -0.25, k * len(q) ** -0.25, error), "not by its square"),
        (lambda q, k, error: needed_by_formula(q, k, error**0.5), "its root"),
        (lambda q, k, error: needed_by_formula(q, k, error) - 1, "Rounded down"),
        (lambda q, k, error: needed_by_formula(q, -k, error), "difference"),
        (lambda q, k, error: 100, "is"),
    ],
    "31.2": [
        (lambda y1, lse1, y2, lse2: combine_by_query(y1, lse2, y2, lse1), "exchanged"),
        (lambda y1, lse1, y2, lse2: ((y1 + y2) / 2, combine_by_query(y1, lse1, y2, lse2)[1]), "equally important"),
        (lambda y1, lse1, y2, lse2: (combine_by_query(y1, lse1, y2, lse2)[0], np.maximum(lse1, lse2)), "maximum"),
        (combine_by_exponentials, "overflow"),
        (combine_without_guard, "nothing on either side"),
        (lambda y1, lse1, y2, lse2: combine_at_once(y1, lse1, y2, lse2)[0], "tuple of 2"),
    ],
    "31.3": [
        (lambda q, k, v, dy, dlse: backward_by_whole(q, k, v, dy, 0 * dlse), "no effect"),
        (lambda q, k, v, dy, dlse: backward_by_whole(q, k, v, dy, -dlse), "wrong sign"),
        (lambda q, k, v, dy, dlse: backward_by_whole(q, k, v, dy, 2 * dlse), "dv is right"),
        (lambda q, k, v, dy, dlse: backward_by_whole(q, k, v, dy, dlse)[:2], "tuple of 3"),
    ],
    "31.4": [
        (causal_by_matrix, "for each pair of tokens"),
        (softmax_of_features, "softmax"),
        (without_lengths, "squared length"),
        (lambda q, k, v, omega: causal_by_loop(q * q.shape[1] ** -0.25, k * q.shape[1] ** -0.25, v, omega), "each"),
        (lambda q, k, v, omega: causal_by_loop(q, k, v, -omega), "differs"),
    ],
    "31.5": [
        (lambda q, k, Gk, Gv: softmax(q @ k.T / math.sqrt(q.shape[1])) @ Gk.T @ Gv, "mixed then"),
        (lambda q, k, Gk, Gv: mixed_in_steps(q, k, Gv, Gk), "exchanged"),
        (lambda q, k, Gk, Gv: softmax(q @ (Gk @ k).T @ Gv), "differs"),
        (lambda q, k, Gk, Gv: mixed_in_steps(q, k, Gk, Gv).T, "transposed"),
    ],
}

# number -> a change of a right answer that leaves it right -> why
EQUIVALENT = {
    "31.1": {
        "return int(np.ceil(np.expm1(u @ u) / error ** 2))": "u is u",
        "exponent = (sum((x * x for x in q)) + sum((x * x for x in k)) + 2 * np.dot(k, q)) / math.sqrt(len(q))": (
            "an inner product has no order"
        ),
    },
    "31.2": {
        "m = max(lse2[i], lse1[i])": "a maximum has no order",
        "lse = np.logaddexp(lse2, lse1)": "a sum has no order",
        "safe = np.where(np.isfinite(lse), lse, 1.0)": "whatever is subtracted from -inf, its exponential is 0",
    },
    "31.3": {
        "dS = v @ dy[i] @ (np.diag(A) - np.outer(A, A)) + A * dlse[i]": "the Jacobian is symmetric",
        "dS = (np.diag(A) - np.outer(A, A)) @ (v @ dy[i]) + A * dlse[i]": "A is A",
        "dq, dk, dv = (np.ones_like(q), np.zeros_like(k), np.zeros_like(v))": "every row of dq is overwritten",
    },
    "31.4": {
        "y.append(phi(q[i]) @ above / (below @ phi(q[i])))": "an inner product has no order",
        "return np.exp(omega @ x - x @ x / 2)": "x is x",
    },
}
