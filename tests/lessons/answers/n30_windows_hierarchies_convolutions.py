"""Answers to the exercises of notebook 30."""

import numpy as np


def reach_by_sets(n, m, starts, place):
    seen = {place}
    for start in reversed(starts):
        seen = {j for i in seen for j in range(n) if (i - start) // m == (j - start) // m}
    return len(seen)


def reach_by_matrices(n, m, starts, place):
    depends = np.eye(n)
    for start in starts:
        window = (np.arange(n) - start) // m
        depends = (window[:, None] == window) @ depends
    return np.count_nonzero(depends[place])


def joined_by_slices(dy):
    h, w, four = dy.shape
    parts = np.split(dy, 4, axis=2)
    dx = np.empty((2 * h, 2 * w, four // 4))
    dx[0::2, 0::2], dx[1::2, 0::2], dx[0::2, 1::2], dx[1::2, 1::2] = parts
    return dx


def joined_by_reshape(dy):
    h, w, four = dy.shape
    parts = dy.reshape(h, w, 2, 2, four // 4)  # column, row of a square
    return parts.transpose(0, 3, 1, 2, 4).reshape(2 * h, 2 * w, four // 4)


def dilated_by_slices(x, W, dy):
    dx, dW = np.zeros(x.shape), np.zeros(W.shape)
    for a in range(len(W)):
        dx[2 * a : 2 * a + len(dy)] += dy * W[a]
        dW[a] = np.sum(x[2 * a : 2 * a + len(dy)] * dy, axis=0)
    return dx, dW


def dilated_by_index(x, W, dy):
    places = np.arange(len(dy))[:, None] + 2 * np.arange(len(W))  # (outputs, taps)
    dx = np.zeros(x.shape)
    np.add.at(dx, places, dy[:, None] * W)
    return dx, np.einsum("iad,id->ad", x[places], dy)


def with_zeros(x, W, dy):
    """Zeros at the ends, as in the notebook."""
    padded = np.pad(x, ((len(W), len(W)), (0, 0)))
    return dilated_by_slices(padded, W, dy)[0][len(W) : -len(W)], dilated_by_slices(padded, W, dy)[1]


# number -> answers that must pass
RIGHT = {
    "30.1": [8, [8.0], np.array(8)],
    "30.2": [reach_by_sets, reach_by_matrices],
    "30.3": [joined_by_slices, joined_by_reshape, lambda dy: joined_by_slices(dy).tolist()],
    "30.4": [dilated_by_slices, dilated_by_index],
    "30.5": [6, (6,)],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "30.1": [(64, "scores and mixing"), (0.125, "other way round"), (4.8, "two products"), (7, "not 7")],
    "30.2": [
        (lambda n, m, starts, place: reach_by_sets(n, m, [0 for _ in starts], place), "shifts are ignored"),
        (lambda n, m, starts, place: reach_by_sets(n, m, [-s for s in starts], place), "the other way"),
        (lambda n, m, starts, place: reach_by_sets(n, m, starts[::-1], place), "from the first to the last"),
        (lambda n, m, starts, place: m, "one window"),
        (lambda n, m, starts, place: n, "sees all n places"),
        (lambda n, m, starts, place: reach_by_sets(n, m, starts[:2], place), "more than two blocks"),
    ],
    "30.3": [
        (lambda dy: dy.reshape(2 * dy.shape[0], 2 * dy.shape[1], -1), "reshape alone"),
        (lambda dy: joined_by_slices(np.concatenate(np.split(dy, 4, axis=2)[::-1], axis=2)), "opposite order"),
        (lambda dy: joined_by_slices(dy.swapaxes(0, 1)).swapaxes(0, 1), "row by row"),
        (lambda dy: joined_by_slices(dy)[: dy.shape[0]], "shape"),
        (lambda dy: joined_by_slices(dy) ** 2, "differs"),
    ],
    "30.4": [
        (lambda x, W, dy: dilated_by_slices(x, W, dy)[::-1], "another order"),
        (lambda x, W, dy: dilated_by_slices(x, W[::-1], dy), "mirrors the filter"),
        (lambda x, W, dy: dilated_by_slices(x, W, dy)[0], "tuple of 2"),
        (with_zeros, "differs"),
        (lambda x, W, dy: (dilated_by_index(x, W, dy)[0], dilated_by_index(x, W, dy)[1] / len(dy)), "not a mean"),
    ],
    "30.5": [(5, "first two stages"), (24, "globally"), (8, "not 8"), (7, "switches late")],
}

# number -> a change of a right answer that leaves it right -> why
EQUIVALENT = {
    "30.3": {
        "parts = dy.reshape(h, 2, w, 2, four // 4)": "the last reshape joins both axes of the column again",
        "parts = dy.reshape(h, w, 2, 2, four // 4)": "two equal lengths exchanged",
    },
    "30.4": {"dx, dW = (np.zeros(x.shape), np.ones(W.shape))": "every row of dW is overwritten"},
}
