"""Answers to the exercises of notebook 18."""

import functools
from fractions import Fraction

import numpy as np


def rollout(attention, kept, first_to_last=True):
    blocks, heads, n, _ = attention.shape
    order = range(blocks) if first_to_last else reversed(range(blocks))
    result = np.eye(n)
    for block in order:
        matrix = kept[block] * np.eye(n)
        for h in range(heads):
            matrix = matrix + (1 - kept[block]) * attention[block, h] / heads
        result = np.dot(matrix, result)
    return result


def distance(attention, grid, pitch, others=True, normalised=True):
    rows, columns = grid
    places = [(pitch[0] * r, pitch[1] * c) for r in range(rows) for c in range(columns)]
    result = np.zeros(len(attention))
    for h, weights in enumerate(attention):
        for i, (y, x) in enumerate(places):
            total = reach = 0.0
            for j, (y2, x2) in enumerate(places):
                if others and i == j:
                    continue
                total += weights[1 + i, 1 + j]
                reach += weights[1 + i, 1 + j] * ((y - y2) ** 2 + (x - x2) ** 2) ** 0.5
            result[h] += reach / (total if normalised else 1) / len(places)
    return result


def divided_once(attention, grid, pitch):
    n = grid[0] * grid[1]
    weights = attention[:, 1:, 1:] * ~np.eye(n, dtype=bool)
    own = weights.sum(-1) / weights.sum((-1, -2))[:, None]  # of each query in the whole
    places = np.stack(np.divmod(np.arange(n), grid[1]), axis=1) * pitch
    d = np.linalg.norm(places[:, None] - places, axis=-1)
    return ((weights * d).sum(-1) / weights.sum(-1) * own).sum(-1)


def manhattan(attention, grid, pitch):
    rows, columns = np.divmod(np.arange(grid[0] * grid[1]), grid[1])
    d = pitch[0] * abs(rows[:, None] - rows) + pitch[1] * abs(columns[:, None] - columns)
    w = attention[:, 1:, 1:] * (d > 0)
    return ((w * d).sum(-1) / w.sum(-1)).mean(-1)


def over_queries(A, v, U):
    f = np.linalg.norm(sum(A[h][:, :, None] * (v[h] @ u) for h, u in enumerate(np.split(U, len(v)))), axis=-1)
    return f / f.sum(axis=0, keepdims=True)


def lengths(A, v, U, project=True, add=True):
    heads, n, Dh = v.shape
    f = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            parts = np.concatenate([A[h, i, j] * v[h, j] for h in range(heads)])
            if add:
                f[i, j] = np.linalg.norm(parts @ U if project else parts)
            else:
                f[i, j] = sum(np.linalg.norm(A[h, i, j] * v[h, j] @ U[h * Dh : (h + 1) * Dh]) for h in range(heads))
        f[i] /= f[i].sum()
    return f


def rollout_from_the_top(attention, kept):
    blocks = [k * np.eye(a.shape[-1]) + (1 - k) * a.mean(0) for a, k in zip(attention, kept, strict=True)]
    return functools.reduce(lambda done, block: done @ block, reversed(blocks))


def distance_by_complex_numbers(attention, grid, pitch):
    rows, columns = np.indices(grid).reshape(2, -1)
    place = rows * pitch[0] + 1j * columns * pitch[1]
    w = attention[:, 1:, 1:].copy()
    for h in range(len(w)):
        np.fill_diagonal(w[h], 0)
    return np.einsum("hij,ij,hi->h", w, abs(place[:, None] - place), 1 / w.sum(axis=2)) / len(place)


def lengths_by_einsum(A, v, U, squares=True, root=0.5):
    H, _, Dh = v.shape
    f = np.einsum("hij,hjk,hkd->ijd", A, v, U.reshape(H, Dh, U.shape[1]))
    f = ((f * f).sum(axis=-1) if squares else abs(f).sum(axis=-1) ** 2) ** root
    return f / f.sum(axis=1)[:, None]


# number -> answers that must pass
RIGHT = {
    "18.1": [32 / 9, 3.56, np.abs(np.subtract.outer([0, 4, 8], [0, 4, 8])).mean(), Fraction(32, 9)],
    "18.2": [rollout, rollout_from_the_top],
    "18.3": [distance, distance_by_complex_numbers],
    "18.4": [lengths, lengths_by_einsum],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "18.1": [
        (16 / 3, "itself"),
        (8 / 9, "in patches"),
        (4, "middle"),
        (8 / 3, "ends have further"),
        (32 / 3, "sum of three"),
        (5.0, "not 5"),
        (3.6, "not 3.6"),
    ],
    "18.2": [
        (lambda a, kept: rollout(a, kept, first_to_last=False), "wrong order"),
        (lambda a, kept: rollout(a, 0 * kept), "residual connection is missing"),
        (lambda a, kept: rollout(a, 0 * kept + 0.5), "one half everywhere"),
        (lambda a, kept: rollout(a, 1 - kept), "exchanged"),
        (lambda a, kept: rollout(a, kept)[0], "has shape"),
        (lambda a, kept: rollout(a, kept).T, "transposed"),
        (lambda a, kept: rollout(a[-1:], kept[-1:]), "last block alone"),
        (lambda a, kept: rollout(a.max(axis=1, keepdims=True), kept), "not the largest"),
        (lambda a, kept: rollout(a[:, :1], kept), "differs"),
    ],
    "18.3": [
        (lambda *args: distance(*args, others=False), "library's"),
        (lambda *args: distance(*args, normalised=False), "divide by their sum"),
        (lambda a, grid, pitch: distance(a, grid, pitch[::-1]), "(down, across)"),
        (divided_once, "its own weights"),
        (manhattan, "straight line"),
        (lambda a, grid, pitch: distance(a, grid, (1, 1)), "in pixels"),
        (lambda a, grid, pitch: distance(a, grid[::-1], pitch), "row by row"),
        (lambda a, grid, pitch: distance(a, grid, pitch).mean(), "shape"),
    ],
    "18.4": [
        (lambda A, v, U: lengths(A, v, U, project=False), "projection is missing"),
        (lambda A, v, U: lengths(A, v, U, add=False), "may cancel"),
        (lambda A, v, U: A.mean(axis=0), "do not enter"),
        (over_queries, "over j"),
        (lambda A, v, U: lengths(A, v, U).T, "transposed"),
        (lambda A, v, U: lengths_by_einsum(A, v, U, root=1), "squared lengths"),
        (lambda A, v, U: lengths_by_einsum(A, v, U, squares=False), "sizes of the entries"),
        (lambda A, v, U: lengths(A * 0 + A.mean(axis=0), v, U), "averaged over the heads first"),
        (lambda A, v, U: lengths(A[:1], v[:1], U[: v.shape[2]]), "more than one head"),
    ],
}

# number -> a change of a right answer that leaves it right -> why
EQUIVALENT = {
    "18.2": {
        "blocks = [k * np.eye(a.shape[…": "a matrix of attention is square, so either length will do",
        "blocks = [k * np.eye(a.shape[-1]) + … zip(attention, kept…": "the two have the same length",
    },
    "18.3": {
        "rows, columns = np.indices(grid).reshape(2, -2)": "a negative number stands for the length that is left",
        "place = rows * pitch[0] - 1j * columns * pitch[1]": "a mirrored grid has the same distances",
    },
    "18.4": {
        "f = np.ones((n, n))": "every entry is overwritten",
        "f = (f * f).mean(axis=-1) ** 0.5": "a share does not depend on a factor",
    },
}
