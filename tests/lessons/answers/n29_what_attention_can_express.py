"""Answers to the exercises of notebook 29."""

import numpy as np


def seen_by_clip(x, centre):
    rows = np.clip(np.arange(x.shape[0]) + centre[0], 0, x.shape[0] - 1)
    columns = np.clip(np.arange(x.shape[1]) + centre[1], 0, x.shape[1] - 1)
    return x[rows][:, columns]


def seen_by_distance(x, centre):
    y = np.empty_like(x)
    places = np.array(list(np.ndindex(x.shape)))
    for place in np.ndindex(x.shape):
        distance = ((places - place - centre) ** 2).sum(axis=1)
        y[place] = x[tuple(places[distance.argmin()])]
    return y


def long_by_terms(Q, centre):
    a, b, c = Q[0, 0], Q[0, 1], Q[1, 1]
    return [-a / 2, -b, -c / 2, a * centre[0] + b * centre[1], b * centre[0] + c * centre[1]]


def long_by_matrix(Q, centre):
    squares = -0.5 * Q
    return np.concatenate([[squares[0, 0], squares[0, 1] + squares[1, 0], squares[1, 1]], Q @ centre])


def absolute_in_queries(places, centre, alpha):
    square = (places**2).sum(axis=1)
    q = np.column_stack([2 * alpha * (places + centre), np.full(len(places), -alpha)])
    return q, np.column_stack([places, square])


def absolute_in_keys(places, centre, alpha):
    target = places + centre
    q = np.concatenate([target, np.ones((len(places), 1))], axis=1)
    k = alpha * np.concatenate([2 * places, -(places * places).sum(axis=1, keepdims=True)], axis=1)
    return [q, k]


def absolute_stacked(places, centre, alpha):
    """One array (2, N, 3), the sharpness shared by both."""
    u, v = (places + centre).T, places.T
    q = [2 * u[0], 2 * u[1], -np.ones(len(places))]
    k = [v[0], v[1], v[0] ** 2 + v[1] ** 2]
    return np.sqrt(alpha) * np.stack([np.transpose(q), np.transpose(k)])


# number -> answers that must pass
RIGHT = {
    "29.1": [np.log(8e6), 15.894952, np.array([np.log(8) + 6 * np.log(10)])],
    "29.2": [seen_by_clip, seen_by_distance],
    "29.3": [long_by_terms, long_by_matrix],
    "29.4": [absolute_in_queries, absolute_in_keys, absolute_stacked],
}


def rolled(x, centre):
    return np.roll(x, (-centre[0], -centre[1]), axis=(0, 1))


def without_square(places, centre, alpha):
    return 2 * alpha * (places + centre), places


def towards_the_query(places, centre, alpha):
    return absolute_in_keys(places, -centre, alpha)


# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "29.1": [
        (np.log(1e6), "one wrong key"),
        (np.log(4e6), "the right one has lost"),
        (6.9, "natural logarithm"),
        (46, "It is not 46"),
        (8e-6, "It is not"),
    ],
    "29.2": [
        (rolled, "other side"),
        (lambda x, centre: seen_by_clip(x, -centre), "the other way"),
        (lambda x, centre: seen_by_clip(x.T, centre).T, "counts rows"),
        (lambda x, centre: x.copy(), "image itself"),
        (lambda x, centre: seen_by_clip(x, centre) + 1, "by 1"),
        (lambda x, centre: seen_by_clip(x, centre)[:-1], "shape"),
    ],
    "29.3": [
        (lambda Q, centre: long_by_matrix(2 * Q, centre), "1/2 is missing everywhere"),
        (lambda Q, centre: long_by_matrix(Q, -centre), "the other way"),
        (lambda Q, centre: [*long_by_terms(Q, centre)[:3], *centre], "multiplied by the matrix"),
        (lambda Q, centre: long_by_terms(Q, centre)[:3], "shape"),
        (lambda Q, centre: long_by_matrix(Q, centre) + 0.1, "by 0.1"),
    ],
    "29.4": [
        (without_square, "square of the key's place"),
        (towards_the_query, "looks the other way"),
        (lambda places, centre, alpha: absolute_in_queries(places, centre, alpha)[::-1], "exchanged"),
        (lambda places, centre, alpha: absolute_in_queries(0 * places, centre, alpha), "0 everywhere"),
        (lambda places, centre, alpha: absolute_in_queries(places, centre, alpha)[0], "two arrays"),
        (
            lambda places, centre, alpha: [part[:-1] for part in absolute_in_queries(places, centre, alpha)],
            "each token",
        ),
        (lambda places, centre, alpha: absolute_in_queries(places, centre, 2 * alpha), "times"),
    ],
}

# number -> a change of a right answer that leaves it right -> why
EQUIVALENT = {
    "29.2": {
        "rows = np.clip(0, np.arange(x.shape[0]) + centre[0], x.shape[0] - 1)": "a maximum has no order",
        "columns = np.clip(0, np.arange(x.shape[1]) + centre[1], x.shape[1] - 1)": "a maximum has no order",
        "distance = ((places - place - centre) ** 2).mean(axis=1)": "half the distance is smallest at the same key",
    },
    "29.3": {
        "return np.concatenate([[squares[0, 0], squares[0, 1] + squares[1, 0], squares[1, 1]], centre @ Q])": (
            "the matrix is symmetric"
        ),
    },
}
