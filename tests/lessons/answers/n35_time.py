"""Answers to the exercises of notebook 35."""

import math

import numpy as np


def needed_by_search(Np, factor):
    for J in range(1, 1000):
        if (1 + J * Np) ** 2 >= factor * (Np * J**2 + J * (1 + Np) ** 2):
            return J
    return None


def needed_by_array(Np, factor):
    J = np.arange(1, 1000)
    enough = (J * Np + 1) ** 2 >= factor * J * (J * Np + (Np + 1) ** 2)
    return int(J[enough][0])


def clip_by_transpose(tokens, grid, t, P):
    B, G, _, size = tokens.shape
    rows, columns = grid
    C = size // (t * P * P)
    split = tokens.reshape(B, G, rows, columns, t, P, P, C)
    return split.transpose(0, 1, 4, 2, 5, 3, 6, 7).reshape(B, G * t, rows * P, columns * P, C)


def clip_by_loop(tokens, grid, t, P):
    B, G, Np, size = tokens.shape
    C = size // (t * P * P)
    clip = np.zeros((B, G * t, grid[0] * P, grid[1] * P, C))
    for g in range(G):
        for p in range(Np):
            row, column = divmod(p, grid[1])
            block = tokens[:, g, p].reshape(B, t, P, P, C)
            clip[:, g * t : g * t + t, row * P : row * P + P, column * P : column * P + P] = block
    return clip


def tables_by_broadcasting(places, times):
    by_frame, by_place = times[:, None] + places, places[:, None] + times
    return np.concatenate(list(by_frame)), np.concatenate(list(by_place))


def tables_by_loop(places, times):
    by_frame = [place + time for time in times for place in places]
    by_place = [place + time for place in places for time in times]
    return np.array(by_frame), np.array(by_place)


def labels_by_table(labels, mirrored, upside_down, backwards):
    left, right, up, down = 0, 1, 2, 3
    if mirrored != backwards:
        left, right = right, left
    if upside_down != backwards:
        up, down = down, up
    return np.array([left, right, up, down])[labels]


def labels_by_arrows(labels, mirrored, upside_down, backwards):
    arrows = [(-1, 0), (1, 0), (0, -1), (0, 1)]
    found = []
    for label in labels:
        x, y = arrows[label]
        x, y = (-x if mirrored else x), (-y if upside_down else y)
        found.append(arrows.index((-x, -y) if backwards else (x, y)))
    return found


def labels_overwritten(labels, mirrored, upside_down, backwards):
    labels = np.array(labels)
    for asked, first in ((mirrored, 0), (upside_down, 2), (backwards, 0), (backwards, 2)):
        if asked:
            labels[labels == first] = first + 1
            labels[labels == first + 1] = first
    return labels


def clip_with_slices_first(tokens, grid, t, P):
    B, G = tokens.shape[:2]
    return clip_by_loop(tokens.reshape(G, B, *tokens.shape[2:]).swapaxes(0, 1), grid, t, P)


def clip_by_columns(tokens, grid, t, P):
    B, G = tokens.shape[:2]
    split = tokens.reshape(B, G, grid[1], grid[0], t, P, P, -1)
    return split.transpose(0, 1, 4, 3, 5, 2, 6, 7).reshape(B, G * t, grid[0] * P, grid[1] * P, -1)


def clip_with_channels_first(tokens, grid, t, P):
    B, G = tokens.shape[:2]
    split = tokens.reshape(B, G, *grid, -1, t, P, P)
    return split.transpose(0, 1, 5, 2, 6, 3, 7, 4).reshape(B, G * t, grid[0] * P, grid[1] * P, -1)


def needed_against_factorised(Np, factor):
    J = np.arange(1, 1000)
    return int(J[(1 + J * Np) ** 2 >= factor * (J * (1 + Np) ** 2 + (1 + J) ** 2)][0])


# number -> answers that must pass
RIGHT = {
    "35.1": [needed_by_search, needed_by_array],
    "35.2": [clip_by_transpose, clip_by_loop],
    "35.3": [tables_by_broadcasting, tables_by_loop],
    "35.4": [labels_by_table, labels_by_arrows],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "35.1": [
        (lambda Np, factor: needed_by_search(Np, factor) + 1, "one frame more"),
        (lambda Np, factor: math.ceil(factor), "differs"),
        (lambda Np, factor: 4, "is"),
        (needed_against_factorised, "factorised"),
    ],
    "35.2": [
        (lambda tokens, grid, t, P: tokens.reshape(len(tokens), -1, grid[0] * P, grid[1] * P, 1), "shape"),
        (lambda tokens, grid, t, P: clip_by_transpose(tokens[::-1], grid, t, P), "reversed"),
        (lambda tokens, grid, t, P: clip_by_transpose(tokens, grid[::-1], t, P), "shape"),
        (lambda tokens, grid, t, P: clip_by_transpose(tokens, grid, t, P)[:, ::-1], "axis 1"),
        (clip_with_slices_first, "clips, then slices"),
        (clip_by_columns, "row by row"),
        (clip_with_channels_first, "channel counts fastest"),
    ],
    "35.3": [
        (lambda places, times: tables_by_loop(places, times)[::-1], "exchanged"),
        (lambda places, times: tables_by_loop(places, times)[0], "tuple of 2"),
        (
            lambda places, times: (np.repeat(places, len(times), 0) + np.repeat(times, len(places), 0),) * 2,
            "both repeated",
        ),
    ],
    "35.4": [
        (lambda labels, mirrored, upside_down, backwards: labels, "do not change"),
        (
            lambda labels, mirrored, upside_down, backwards: labels_by_table(labels, mirrored, upside_down, False),
            "Back",
        ),
        (
            lambda labels, mirrored, upside_down, backwards: labels_by_table(labels, upside_down, mirrored, backwards),
            "exch",
        ),
        (lambda labels, mirrored, upside_down, backwards: labels ^ (mirrored ^ upside_down ^ backwards), "alone"),
        (labels_overwritten, "left again"),
    ],
}

# number -> a change of a right answer that leaves it right -> why
EQUIVALENT = {
    "35.1": {
        "for J in range(1, …):": "no case needs so many frames",
        "J = np.arange(1, …)": "no case needs so many frames",
    },
    "35.2": {
        "split = tokens.reshape(G, B, rows, columns, t, P, P, C)": "both axes stay in front and are split anew",
        "split = tokens.reshape(B, G, rows, columns, t, P, P, C)": "P is P",
        "split = tokens.reshape(B, G, rows, columns, t, P, C, P)": "both axes stay at the end, and are merged there",
        "block = tokens[:, g, p].reshape(B, t, P, P, C)": "P is P",
        "clip = np.ones((B, G * t, grid[0] * P, grid[1] * P, C))": "every entry is overwritten",
    },
}
