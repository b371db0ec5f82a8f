"""Answers to the exercises of notebook 03."""

import numpy as np


def pixel_by_search(n, m, width, C, P):
    """Number the pixels, cut the picture of the numbers, and look."""
    height = (n // (width // P) + 1) * P
    places = np.arange(height * width * C).reshape(height, width, C)
    r, s = n // (width // P) * P, n % (width // P) * P
    return np.unravel_index(places[r : r + P, s : s + P].ravel()[m], places.shape)


def rows_as_columns(n, m, width, C, P):
    r, s, c = pixel_by_search(n, m, width, C, P)
    return s, r, c


def embedding_by_loops(weight, row_first=True):
    D, C, P, _ = weight.shape
    E = np.zeros((P * P * C, D))
    for u in range(P):
        for v in range(P):
            for c in range(C):
                E[(u * P + v) * C + c] = weight[:, c, u, v] if row_first else weight[:, c, v, u]
    return E


def scatter(dpatches, height, width, C, P, step, add=True):
    dx = np.zeros((height, width, C))
    columns = (width - P) // step + 1
    for n in range(len(dpatches)):
        for u in range(P):
            for v in range(P):
                r, s = n // columns * step + u, n % columns * step + v
                g = dpatches[n, (u * P + v) * C : (u * P + v + 1) * C]
                dx[r, s] = dx[r, s] + g if add else g
    return dx


def column_by_column(dpatches, height, width, C, P, step):
    rows, columns = (height - P) // step + 1, (width - P) // step + 1
    order = np.arange(len(dpatches)).reshape(rows, columns).T.ravel()
    return scatter(dpatches[order], height, width, C, P, step)


# number -> answers that must pass
RIGHT = {
    "3.1": [(512 // 16) ** 2, 1024.0],
    "3.2": [pixel_by_search, lambda *args: np.array(pixel_by_search(*args))],
    "3.3": [embedding_by_loops],
    "3.4": [scatter],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "3.1": [
        ((512 // 16) ** 2 + 1, "not a patch"),
        (512 // 16, "along one side"),
        (7, "not 7"),
        ("1024", "this is a str"),
    ],
    "3.2": [
        (rows_as_columns, "swapped"),
        (lambda n, m, width, C, P: (n // width * P + m // C // P, n % width * P + m // C % P, m % C), "width / P"),
        (
            lambda n, m, width, C, P: (n // (width // P) * P + m // C // P, n % (width // P) * P + m % P, m % C),
            "divide m by C first",
        ),
        (lambda n, m, width, C, P: pixel_by_search(n, m, width, C, P)[:2], "tuple of 3"),
        (lambda n, m, width, C, P: (m % C, m % C, m % C), "r is what c should be. c is right."),
    ],
    "3.3": [
        (lambda weight: np.array([kernel.ravel() for kernel in weight]).T, "(channel, row, column)"),
        (lambda weight: embedding_by_loops(weight, row_first=False), "diagonal"),
        (lambda weight: embedding_by_loops(weight).T, "transposed"),
        (lambda weight: embedding_by_loops(weight)[::-1], "reversed order"),
    ],
    "3.4": [
        (lambda *args: scatter(*args, add=False), "overwrites"),
        (column_by_column, "differs"),
        (lambda *args: 2 * scatter(*args), "2 times"),
    ],
}

# number -> changed line of a right answer (… for anything) -> why the answer stays right
EQUIVALENT = {
    "3.2": {
        "height = …": "any picture that is high enough holds the patch",
    },
    "3.3": {
        "E = np.ones((P * P * C, D))": "every entry is overwritten",
    },
}
