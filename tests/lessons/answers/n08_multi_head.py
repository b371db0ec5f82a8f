"""Answers to the exercises of notebook 08."""

import numpy as np


def merge(x):
    return np.concatenate(list(x), axis=2)


def parameters(D, H):
    head = D // H
    projections = 3 * H * (D * head + head)
    return projections + H * head * D + D


def loops(qkv, heads):
    B, N, packed = qkv.shape
    D = packed // 3
    Dh = D // heads
    y = np.zeros((B, N, D))
    for b in range(B):
        for h in range(heads):
            q, k, v = (qkv[b, :, part * D + h * Dh : part * D + (h + 1) * Dh] for part in range(3))
            for i in range(N):
                e = np.exp(k @ q[i] / np.sqrt(Dh))
                y[b, i, h * Dh : (h + 1) * Dh] = e @ v / e.sum()
    return y


def same_as_loops(attend, heads=3, width=4):
    qkv = np.random.default_rng(1).standard_normal((2, 5, 3 * heads * width))
    result = attend(qkv, heads)
    return result.shape == (2, 5, heads * width) and np.allclose(result, loops(qkv, heads))


def follows_permutation(attend):
    qkv = np.random.default_rng(1).standard_normal((2, 5, 36))
    order = [1, 2, 3, 4, 0]
    return np.allclose(attend(qkv[:, order], 3), attend(qkv, 3)[:, order])


def last_head_only(q, k, v, heads, dJ):
    y, dq, *_ = multi_query(q, k, v, heads, dJ)
    mine = slice(-k.shape[2], None)
    return y, dq, *multi_query(q[:, :, mine], k, v, 1, dJ[:, :, mine])[2:]


def multi_query(q, k, v, heads, dJ, over_heads=1):
    Dh = k.shape[2]
    y, dq, dk, dv = np.zeros_like(q), np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    for b in range(len(q)):
        for h in range(heads):
            mine = slice(h * Dh, (h + 1) * Dh)
            e = np.exp(q[b, :, mine] @ k[b].T / np.sqrt(Dh))
            A = e / e.sum(axis=1, keepdims=True)
            dA = dJ[b, :, mine] @ v[b].T
            dS = A * (dA - (A * dA).sum(axis=1, keepdims=True)) / np.sqrt(Dh)
            y[b, :, mine] = A @ v[b]
            dq[b, :, mine] = dS @ k[b]
            dk[b] += dS.T @ q[b, :, mine] / over_heads
            dv[b] += A.T @ dJ[b, :, mine] / over_heads
    return y, dq, dk, dv


# number -> answers that must pass
RIGHT = {
    "8.1": [merge],
    "8.2": [parameters, lambda D, H: np.array([parameters(D, H)])],
    "8.3": [same_as_loops, lambda attend: int(same_as_loops(attend))],
    "8.4": [multi_query],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "8.1": [
        (lambda x: x.reshape(x.shape[1], x.shape[2], -1), "a reshape moves nothing"),
        (lambda x: np.moveaxis(x, 0, 3).reshape(x.shape[1], x.shape[2], -1), "interleaved"),
        (lambda x: merge(x[::-1]), "not in their places"),
    ],
    "8.2": [
        (lambda D, H: 4 * D**2, "biases"),
        (lambda D, H: parameters(D, H) - D * D - D, "U_msa is missing"),
        (lambda D, H: parameters(D, H) - D, "U_msa has a bias too"),
        (lambda D, H: H * parameters(D, H), "do not multiply by H"),
        (lambda D, H: parameters(D, H) + H, "too large by H"),
    ],
    "8.3": [
        (lambda attend: same_as_loops(attend, heads=1), "at least two heads"),
        (follows_permutation, "interleaves"),
        (lambda attend: same_as_loops(attend, heads=2, width=1), "heads of width 1 there is nothing to interleave"),
        (lambda attend: attend(1, 2), "The implementation was one that computes all heads at once"),
        (lambda attend: True, "with those of an independent version"),
        (lambda attend: attend(np.ones((2, 5, 36)), 3).shape == (2, 5, 12), "with those of an independent version"),
        (lambda attend: False, "rejects a correct"),
        (lambda attend: "yes", "True or False"),
    ],
    "8.4": [
        (lambda q, k, v, heads, dJ: multi_query(q, k, v, heads, dJ, over_heads=heads), "not the mean"),
        (lambda q, k, v, heads, dJ: multi_query(q, k, v, heads, -dJ), "sign"),
        (last_head_only, "Only the last head is left in dk and dv"),
        (lambda *args: (lambda J, dq, dk, dv: (J, dq, dv, dk))(*multi_query(*args)), "it returns (J, dq, dv, dk)"),
        (lambda q, k, v, heads, dJ: multi_query(q, k, v, 1, dJ[:, :, : k.shape[2]]), "entries that are 0"),
    ],
}

# number -> changed line of a right answer (… for anything) -> why the answer stays right
EQUIVALENT = {
    "8.3": {
        "return … np.allclose(loops(qkv, 3), result)": "the arrays are equal or far apart",
        "qkv = np.random.default_rng(…).standard_normal((2, 5, 3 * 3 * 4))": "another seed tells as much",
        "y = np.ones((B, N, D))": "every entry is overwritten",
    },
    "8.4": {
        "y, dq, dk, dv = (np.…(q), np.…(q), np.zeros_like(k), np.zeros_like(v))": "every entry is overwritten",
        "dk[b] += dS.T @ q[b, :, mine]…": "the divisor that was dropped or moved is 1",
        "dv[b] += A.T @ dJ[b, :, mine]…": "the divisor that was dropped or moved is 1",
    },
}
