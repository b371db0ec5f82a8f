"""Answers to the exercises of notebook 17."""

import numpy as np


def half_pixel(old, new, clip=True):
    weights = np.zeros((new, old))
    for i in range(new):
        place = (i + 0.5) * old / new - 0.5
        if clip:
            place = min(max(place, 0), old - 1)
        for u in range(old):
            weights[i, u] = max(0, 1 - abs(place - u))
    return weights


def corner_like(old, new):
    places = np.linspace(0, old - 1, new)
    return np.stack([np.interp(places, range(old), e) for e in np.eye(old)], axis=1)


def resized(table, old, new, weights):
    out = np.zeros((1 + new[0] * new[1], table.shape[1]))
    out[0] = table[0]
    a, b = weights(old[0], new[0]), weights(old[1], new[1])
    for i in range(new[0]):
        for j in range(new[1]):
            for u in range(old[0]):
                for v in range(old[1]):
                    out[1 + i * new[1] + j] += a[i, u] * b[j, v] * table[1 + u * old[1] + v]
    return out


def backward(d_new, old, new, weights):
    whole = np.kron(weights(old[0], new[0]), weights(old[1], new[1]))
    return np.concatenate([d_new[:1], whole.T @ d_new[1:]])


def written_by_columns(table, old, new, weights):
    swapped = resized(table, old, new, weights)
    order = [1 + i * new[1] + j for j in range(new[1]) for i in range(new[0])]
    return swapped[[0, *order]]


def undone(d_new, old, new, weights):
    whole = np.kron(weights(old[0], new[0]), weights(old[1], new[1]))
    return np.concatenate([d_new[:1], np.linalg.lstsq(whole, d_new[1:], rcond=None)[0]])


def edges(old, new):
    places = [min(i * old / new, old - 1) for i in range(new)]
    return np.stack([np.interp(places, range(old), e) for e in np.eye(old)], axis=1)


def backward_without_class(d_new, old, new, weights):
    d = backward(d_new, old, new, weights)
    return np.concatenate([0 * d[:1], d[1:]])


def half_pixel_by_index(old, new):
    weights = np.zeros((new, old))
    for i in range(new):
        x = min(max((2 * i + 1) * old / (2 * new) - 0.5, 0), old - 1)
        low = int(x)
        weights[i, low] += 1 - (x - low)
        if x > low:
            weights[i, low + 1] += x - low
    return weights


def antialiased(old, new):
    places = (np.arange(new) + 0.5) * old / new - 0.5
    weights = np.maximum(0, 1 - abs(places[:, None] - np.arange(old)) / max(1, old / new))
    return weights / weights.sum(axis=1)[:, None]


def by_columns(d_new, new):
    grid = d_new[1:].reshape(new[1], new[0], -1).swapaxes(0, 1)
    return np.concatenate([d_new[:1], grid.reshape(len(d_new) - 1, -1)])


def resized_by_products(table, old, new, weights):
    a, b = weights(old[0], new[0]), weights(old[1], new[1])
    moved = a @ table[1:].T.reshape(-1, *old) @ b.T
    return np.vstack([table[0], moved.reshape(len(moved), -1).T])


def backward_by_products(d_new, old, new, weights):
    a, b = weights(old[0], new[0]), weights(old[1], new[1])
    d = np.tensordot(a.T, np.tensordot(b.T, d_new[1:].reshape(*new, -1), (1, 1)), (1, 1))
    return [d_new[0], *d.reshape(old[0] * old[1], -1)]


# number -> answers that must pass
RIGHT = {
    "17.1": [(384 // 16) ** 2 + 1, 577.0],
    "17.2": [half_pixel, half_pixel_by_index],
    "17.3": [resized, resized_by_products],
    "17.4": [backward, backward_by_products],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "17.1": [
        (576, "position embedding of its own"),
        (197, "before"),
        (24, "along one side"),
        (147457, "per pixel"),
        (578, "one [class] token"),
        (385, "not 385"),
    ],
    "17.2": [
        (lambda old, new: half_pixel(old, new).T, "transposed"),
        (lambda old, new: half_pixel(old, new, clip=False), "do not sum to 1"),
        (corner_like, "align_corners"),
        (edges, "half a patch from its edge"),
        (antialiased, "antialiasing"),
        (lambda old, new: half_pixel(old, new)[::-1], "reversed"),
        (lambda old, new: half_pixel(old, new) ** 2, "differs"),
        (lambda old, new: half_pixel(old, new) * (old > 1), "entries that are 0 and should not be"),
    ],
    "17.3": [
        (lambda t, old, new, weights: resized(t, old, new, weights)[1:], "missing"),
        (lambda t, old, new, weights: weights(len(t), 1 + new[0] * new[1]) @ t, "no place in the image"),
        (written_by_columns, "row by row"),
        (lambda t, old, new, weights: resized(t, old, new, corner_like), "that you are given"),
        (lambda t, old, new, weights: resized(t, old, new, half_pixel), "those of half_pixel"),
        (lambda t, old, new, weights: np.roll(resized(t, old, new, weights), -1, axis=0), "comes first"),
        (lambda t, old, new, weights: resized(t, old[::-1], new, weights), "differs"),
        (lambda t, old, new, weights: resized(0 * t + t.mean(axis=0), old, new, weights), "differs"),
        (lambda t, old, new, weights: resized(t, old, new[::-1], weights), "differs"),
    ],
    "17.4": [
        (lambda d, old, new, weights: resized(d, new, old, weights), "interpolates the gradient back"),
        (backward_without_class, "copied"),
        (undone, "undoes the interpolation"),
        (lambda d, old, new, weights: -backward(d, old, new, weights), "sign"),
        (lambda d, old, new, weights: backward(d, old, new, corner_like), "that you are given"),
        (lambda d, old, new, weights: backward(d, old, new, half_pixel), "those of half_pixel"),
        (lambda d, old, new, weights: backward(d, old, new, weights)[1:], "missing"),
        (lambda d, old, new, weights: backward(by_columns(d, new), old, new, weights), "row-major order"),
    ],
}

# number -> a change of a right answer that leaves it right -> why
EQUIVALENT = {
    "17.2": {
        "weights = np.ones((new, old))": "every entry is overwritten",
        "place = min(old - 1, max(place, 0))": "the two stand on equal terms",
        "place = min(max(0, place), old - 1)": "the two stand on equal terms",
        "weights[i, u] = max(1 - abs(place - u), 0)": "the two stand on equal terms",
        "x = min(old - 1, max((2 * i + 1) * old / (2 * new) - 0.5, 0))": "the two stand on equal terms",
        "x = min(max(0, (2 * i + 1) * old / (2 * new) - 0.5), old - 1)": "the two stand on equal terms",
        "weights[i, low] = 1 - (x - low)": "each entry is written once, and was 0",
        "weights[i, low + 1] = x - low": "each entry is written once, and was 0",
    },
    "17.3": {
        "moved = a @ table[1:].T.reshape(-2, *old) @ b.T": "a negative number stands for the length that is left",
        "return np.vstack([table[0], moved.reshape(…, -2).T])": "a negative number stands for the length that is left",
    },
    "17.4": {
        "d = … d_new[1:].reshape(*new, -2), (1, 1)), (1, 1))": "a negative number stands for the length that is left",
        "return [d_new[0], *d.reshape(old[0] * old[1], -2)]": "a negative number stands for the length that is left",
    },
}
