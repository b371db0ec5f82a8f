"""Answers to the exercises of notebook 04."""

import numpy as np


def by_permutation_matrix(A, order):
    P = np.eye(len(A))[order]
    return P @ A @ P.T


def by_its_transpose(A, order):
    P = np.eye(len(A))[:, order]
    return P @ A @ P.T


def tables(dpositions, rows, columns, halves=(0, 1)):
    half = dpositions.shape[1] // 2
    dby = [np.zeros((columns, half)), np.zeros((rows, half))]
    for n in range(rows * columns):
        for side, index in enumerate((n % columns, n // columns)):
            start = halves[side] * half
            dby[side][index] += dpositions[n, start : start + half]
    return dby[1], dby[0]


def relative(q, k, r, dS, direction=1, keep_last=False):
    n, width = q.shape
    dq, dk, dr = np.zeros_like(q), np.zeros_like(k), np.zeros_like(r)
    for i in range(n):
        for j in range(n):
            g = dS[i, j] / np.sqrt(width)
            o = direction * (i - j) + n - 1
            dq[i] += g * (k[j] + r[o])
            dk[j] += g * q[i]
            dr[o] = g * q[i] + (0 if keep_last else dr[o])
    return dq, dk, dr


# number -> answers that must pass
RIGHT = {
    "4.1": [((224 // 16) ** 2 + 1) * 768],
    "4.2": [by_permutation_matrix, lambda A, order: A[np.ix_(order, order)]],
    "4.3": [tables],
    "4.4": [relative],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "4.1": [
        ((224 // 16) ** 2 * 768, "has a position, too"),
        (224 * 224 * 768, "not"),
        (151296.4, "It is not 151296.4."),
        (14**2 + 1, "vector of D"),
    ],
    "4.2": [
        (by_its_transpose, "inverse"),
        (lambda A, order: np.eye(len(A))[order] @ A, "queries"),
        (lambda A, order: np.diag(A)[order], "diagonal"),
        (lambda A, order: A, "It is A itself"),
    ],
    "4.3": [
        (lambda *args: tables(*args, halves=(1, 0)), "column's vector comes first"),
        (lambda *args: tables(*args)[::-1], "wrong order"),
        (
            lambda dp, rows, columns: (tables(dp, rows, columns)[0] / columns, tables(dp, rows, columns)[1] / rows),
            "means",
        ),
        (lambda *args: tables(*args)[0], "tuple of 2"),
        (lambda dp, rows, columns: tables(dp[::-1], rows, columns), "reversed order"),
    ],
    "4.4": [
        (lambda *args: relative(*args, direction=-1), "query minus key"),
        (lambda *args: relative(*args, keep_last=True), "sum over them"),
        (lambda q, k, r, dS: relative(q, k, 0 * r, dS), "second term"),
        (lambda q, k, r, dS: relative(q, k, r, dS.T), "differs"),
    ],
}

# number -> changed line of a right answer (… for anything) -> why the answer stays right
EQUIVALENT = {
    "4.2": {
        "lambda A, order: A[np.ix_(order, order)]": "the two arguments are the same",
    },
}
