"""Answers to the exercises of notebook 34."""

import math

import numpy as np


def code_by_point(points, G, height, width):
    rows = []
    for x, y in points:
        u, v = (x + 0.5) / width, (y + 0.5) / height
        angles = [2 * math.pi * ((2 * u - 1) * g + (2 * v - 1) * k) for g, k in G.T]
        rows.append([math.sin(a) for a in angles] + [math.cos(a) for a in angles])
    return rows


def code_at_once(points, G, height, width):
    shares = (np.asarray(points) + 0.5) / np.array([width, height])
    angles = 2 * np.pi * (2 * shares - 1) @ G
    return np.hstack([np.sin(angles), np.cos(angles)])


def best_by_loop(z, t):
    best = None
    for i in range(len(z)):
        p = 1 / (1 + np.exp(-z[i]))
        above, below = 2 * p[t].sum() + 1, p.sum() + t.sum() + 1
        if best is None or 1 - above / below < best[0]:
            dp = above / below**2 - 2 * t / below
            dz = np.zeros(z.shape)
            dz[i] = dp * p * (1 - p)
            best = 1 - above / below, dz
    return best


def best_by_mask(z, t):
    p = 1 / (1 + np.exp(-z))
    above = 2 * p @ t.astype(float) + 1
    below = p.sum(axis=1) + t.sum() + 1
    errors = 1 - above / below
    chosen = np.arange(len(z)) == np.argmin(errors)
    dp = (above[:, None] - 2 * t * below[:, None]) / below[:, None] ** 2
    return errors.min(), chosen[:, None] * dp * p * (1 - p)


def best_of_pixels(z, t):
    said = z > 0
    i = np.argmax((said & t).sum(axis=1) / (said.sum(axis=1) + t.sum()))
    loss, row = best_by_mask(z[i : i + 1], t)
    dz = np.zeros(z.shape)
    dz[i] = row[0]
    return loss, dz


def single_by_ends(inner, outer, chance):
    found = []
    for size in (inner, outer):
        found.append((chance * inner / size + (1 - chance) * size / outer, size))
    iou, size = max(found)
    return size, iou


def single_by_majority(inner, outer, chance):
    share = inner / outer
    if chance > 1 / 2:
        return inner, chance + (1 - chance) * share
    return outer, chance * share + (1 - chance)


def single_where_flat(inner, outer, chance):
    size = min(outer, max(inner, math.sqrt(chance * inner * outer / (1 - chance))))
    return size, chance * inner / size + (1 - chance) * size / outer


def single_of_mean_size(inner, outer, chance):
    size = (inner + outer) / 2
    return size, chance * inner / size + (1 - chance) * size / outer


def iou_by_logic(z, t):
    said = z > 0
    union = np.logical_or(said, t).sum()
    return np.logical_and(said, t).sum() / union if union else 0.0


def iou_by_sets(z, t):
    said, true = set(np.flatnonzero(z.ravel() > 0)), set(np.flatnonzero(t.ravel()))
    return len(said & true) / max(1, len(said | true))


# number -> answers that must pass
RIGHT = {
    "34.1": [code_by_point, code_at_once],
    "34.2": [0.01 - 0.18 * math.log(0.9), 0.02896, 0.029],
    "34.3": [best_by_loop, best_by_mask],
    "34.4": [single_by_ends, single_by_majority],
    "34.5": [iou_by_logic, iou_by_sets],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "34.1": [
        (lambda points, G, height, width: code_at_once(points, G, width, height), "sides are exchanged"),
        (lambda points, G, height, width: code_at_once(points, G[::-1], height, width), "the two are exchanged"),
        (lambda points, G, height, width: code_at_once(points[:, ::-1], G, width, height), "the two are exchanged"),
        (lambda points, G, height, width: code_at_once(points[:, ::-1], G, height, width), "(row, column)"),
        (lambda points, G, height, width: code_at_once(points - 0.5, G, height, width), "its middle"),
        (lambda points, G, height, width: code_at_once(points, G / 2 / np.pi, height, width), "2 pi is missing"),
        (lambda points, G, height, width: code_at_once(points, 3 * G, height, width), "differs"),
    ],
    "34.2": [
        (0.01, "ratio of the errors"),
        (0.0090000001, "not"),
        (0.002896, "gradient itself"),
        (0.03, "tends to"),
        (-0.028965, "same sign"),
        ("0.03", "one number"),
    ],
    "34.3": [
        (
            lambda z, t: (
                best_by_mask(z, t)[0],
                np.concatenate([best_by_mask(z[i : i + 1], t)[1] for i in range(len(z))]),
            ),
            "All masks get",
        ),
        (lambda z, t: best_by_mask(-z, t), "differs"),
        (lambda z, t: best_by_mask(z, t)[0], "tuple of 2"),
        (best_of_pixels, "of probabilities"),
        (lambda z, t: (best_by_mask(z, t)[0], -best_by_mask(z, t)[1]), "sign"),
    ],
    "34.4": [
        (lambda inner, outer, chance: (single_by_ends(inner, outer, chance)[0], 1.0), "Three answers"),
        (lambda inner, outer, chance: (outer, chance * inner / outer + 1 - chance), "outer shape is not always"),
        (single_of_mean_size, "A mask between"),
        (single_where_flat, "smallest"),
        (lambda inner, outer, chance: (single_by_ends(inner, outer, chance)[0], (1 + inner / outer) / 2), "not 1/2"),
        (lambda inner, outer, chance: single_by_ends(inner, outer, 1 - chance), "worse"),
        (lambda inner, outer, chance: single_by_ends(inner, outer, chance)[1], "tuple of 2"),
    ],
    "34.5": [
        (lambda z, t: iou_by_logic(1 / (1 + np.exp(-z)), t), "always above 0"),
        (lambda z, t: (((z > 0) & t).sum() + 1) / (((z > 0) | t).sum() + 1), "Nothing is added"),
        (lambda z, t: iou_by_logic(z - 0.5, t), "compared with 0"),
        (lambda z, t: iou_by_logic(z, t) if t.any() else 1.0, "both are empty"),
        (lambda z, t: ((z > 0) == t).mean(), "outside both"),
        (
            lambda z, t: (1 / (1 + np.exp(-z)) * t).sum() / np.maximum(1 / (1 + np.exp(-z)), t).sum(),
            "threshold comes first",
        ),
    ],
}

# number -> a change of a right answer that leaves it right -> why
EQUIVALENT = {
    "34.3": {"if best is None or 1 - above / below <= best[0]:": "no two errors are equal"},
    "34.4": {"if chance >= 1 / 2:": "at 1/2 both shapes are as good, and no case has it"},
    "34.5": {
        "said = z >= 0": "no logit is exactly 0",
        "said, true = (set(np.flatnonzero(z.ravel() >= 0)), set(np.flatnonzero(t.ravel())))": "no logit is exactly 0",
        "union = np.logical_or(t, said).sum()": "a union has no order",
        "return np.logical_and(t, said).sum() / union if union else 0.0": "an intersection has no order",
        "return len(said & true) / max(len(said | true), 1)": "a maximum has no order",
    },
}
