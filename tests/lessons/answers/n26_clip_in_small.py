"""Answers to the exercises of notebook 26."""

import math

import numpy as np


def repeated_by_complement(B, sentences):
    return 1 - ((sentences - 1) / sentences) ** (B - 1)


def repeated_by_sum(B, sentences):
    chance = 1 / sentences
    return sum(math.comb(B - 1, k) * chance**k * (1 - chance) ** (B - 1 - k) for k in range(1, B))


def smallest_by_formula(B, s):
    return np.log1p((B - 1) * np.exp(-np.exp(s) * B / (B - 1)))


def smallest_by_vectors(B, s):
    """The corners of a simplex."""
    corners = np.eye(B) - 1 / B
    corners = corners / np.linalg.norm(corners, axis=1)[:, None]
    z = math.exp(s) * corners @ corners.T
    return math.log(np.exp(z[0] - z[0, 0]).sum())


def shared_by_softmax(z, sentence):
    same = sentence[:, None] == sentence
    t = same / same.sum(axis=1, keepdims=True)
    rows, columns = z - z.max(axis=1, keepdims=True), z - z.max(axis=0)
    log_p = rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))
    log_q = columns - np.log(np.exp(columns).sum(axis=0))
    return -(t * (log_p + log_q)).sum() / (2 * len(z)), (np.exp(log_p) + np.exp(log_q) - 2 * t) / (2 * len(z))


def shared_by_loop(z, sentence):
    B, loss, dz = len(z), 0.0, np.zeros(z.shape)
    for i in range(B):
        right = [j for j in range(B) if sentence[j] == sentence[i]]
        for values, place in ((z[i], dz[i]), (z[:, i], dz[:, i])):
            lse = values.max() + np.log(np.exp(values - values.max()).sum())
            place += np.exp(values - lse) / (2 * B)
            for j in right:
                loss += (lse - values[j]) / len(right) / (2 * B)
                place[j] -= 1 / len(right) / (2 * B)
    return loss, dz


def without_copies(z, sentence):
    z = z.copy()
    z[(sentence[:, None] == sentence) & ~np.eye(len(z), dtype=bool)] = -np.inf
    return shared_by_loop(z, np.arange(len(z)))


def floor_by_counts(sentence):
    total = 0.0
    for m in np.unique(sentence, return_counts=True)[1]:
        if m > 1:
            q = 1 / m
            total += -m * math.log(q) - m * (m - 1) * math.log(1 - q)
    return total / len(sentence)


def floor_by_pairs(sentence):
    total = 0.0
    for i in range(len(sentence)):
        m = sum(1 for other in sentence if other == sentence[i])
        for j in range(len(sentence)):
            if i == j:
                total += math.log(m)
            elif sentence[i] == sentence[j]:
                total -= math.log(1 - 1 / m)
    return total / len(sentence)


def floor_by_clip(sentence):
    return np.log((sentence[:, None] == sentence).sum(axis=1)).mean()


# number -> answers that must pass
RIGHT = {
    "26.1": [repeated_by_complement, repeated_by_sum],
    "26.2": [smallest_by_formula, smallest_by_vectors],
    "26.3": [shared_by_softmax, shared_by_loop],
    "26.4": [floor_by_counts, floor_by_pairs],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "26.1": [
        (lambda B, sentences: repeated_by_complement(B + 1, sentences), "does not repeat itself"),
        (lambda B, sentences: (B - 1) / sentences, "mean number"),
        (lambda B, sentences: 1 - repeated_by_complement(B, sentences), "occurs once"),
        (lambda B, sentences: 0.86, "differs"),
    ],
    "26.2": [
        (lambda B, s: math.log(1 + (B - 1) * math.exp(-2 * math.exp(s))), "Three cannot"),
        (lambda B, s: math.log(1 + (B - 1) * math.exp(-math.exp(s))), "below 0"),
        (lambda B, s: smallest_by_formula(B, math.log(s) if s > 0 else -math.inf), "differs"),
        (lambda B, s: math.log(1 + (B - 1) * math.exp(-s * B / (B - 1))), "logarithm of the scale"),
        (lambda B, s: 0, "finite scale"),
        (lambda B, s: 2 * smallest_by_formula(B, s), "not their sum"),
    ],
    "26.3": [
        (lambda z, sentence: shared_by_loop(z, np.arange(len(z))), "still count as wrong"),
        (lambda z, sentence: tuple(2 * x for x in shared_by_loop(z, sentence)), "not their sum"),
        (lambda z, sentence: (shared_by_loop(z, sentence)[0], shared_by_loop(z, sentence)[1].T), "transposed"),
        (without_copies, "left out of the sums"),
        (lambda z, sentence: shared_by_loop(z, sentence)[0], "tuple of 2"),
    ],
    "26.4": [
        (floor_by_clip, "CLIP's bound"),
        (lambda sentence: floor_by_counts(sentence) / len(sentence), "not by that of pairs"),
        (lambda sentence: floor_by_counts(sentence) * len(sentence), "sum over all images"),
        (lambda sentence: (floor_by_counts(sentence) + floor_by_clip(sentence)) / 2, "two questions"),
        (lambda sentence: 1.0, "differs"),
    ],
}

# number -> a change of a right answer that leaves it right -> why
EQUIVALENT = {
    "26.2": {
        "return math.log(np.exp(z[…] - z[0, 0]).sum())": "every row has the same entries",
        "z = corners.T @ (math.exp(s) * corners)": "the matrix of corners is symmetric",
        "z = math.exp(s) * corners @ corners": "the matrix of corners is symmetric",
        "corners = corners / np.linalg.norm(corners, axis=0)[:, None]": "the matrix of corners is symmetric",
    },
    "26.3": {"t = same / same.sum(…)": "equal sentences form blocks with equal sums"},
}
