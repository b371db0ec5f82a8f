"""Answers to the exercises of notebook 22."""

import numpy as np


def inverse_by_loop(order):
    back = np.zeros_like(order)
    for b in range(len(order)):
        for place, patch in enumerate(order[b]):
            back[b, patch] = place
    return back


def inverse_at_once(order):
    back = np.empty_like(order)
    np.put_along_axis(back, order, np.arange(order.shape[1])[None], axis=1)
    return back


def loss_by_loop(y, x, visible):
    loss, dy = 0.0, np.zeros_like(y)
    missing = [p for p in range(len(y)) if not visible[p]]
    for p in missing:
        loss += np.mean((y[p] - x[p]) ** 2) / len(missing)
        dy[p] = 2 * (y[p] - x[p]) / y.shape[1] / len(missing)
    return loss, dy


def loss_by_index(y, x, visible):
    error = y[~visible] - x[~visible]
    dy = np.zeros_like(y)
    dy[~visible] = 2 * error / error.size
    return np.mean(error * error), dy


def in_place_by_loop(dy, back, visible):
    dx, dm = np.zeros((visible, dy.shape[1])), np.zeros(dy.shape[1])
    for p, place in enumerate(back):
        if place < visible:
            dx[place] = dy[p]
        else:
            dm += dy[p]
    return dx, dm


def in_place_by_matrix(dy, back, visible):
    chosen = (np.arange(len(dy)) == back[:, None]).astype(float)  # (patches, places)
    tokens = chosen.T @ dy
    return tokens[:visible], tokens[visible:].sum(axis=0)


def normalise_by_jacobian(x, dz):
    dx = np.zeros_like(x)
    for p, row in enumerate(x):
        n = len(row)
        c = row - row.sum() / n
        s = np.sqrt((c * c).sum() / (n - 1) + 1e-6)
        jacobian = (np.eye(n) - 1 / n) / s - np.outer(c, c) / ((n - 1) * s**3)
        dx[p] = jacobian @ dz[p]
    return dx


def normalise_in_steps(x, dz):
    n = x.shape[1]
    c = x - x.mean(axis=1, keepdims=True)
    v = np.sum(c * c, axis=1, keepdims=True) / (n - 1) + 1e-6
    dv = np.sum(dz * c, axis=1, keepdims=True) * -0.5 * v**-1.5
    dc = dz / np.sqrt(v) + dv * 2 * c / (n - 1)
    return dc - dc.mean(axis=1, keepdims=True)


# number -> answers that must pass
RIGHT = {
    "22.1": [inverse_by_loop, inverse_at_once],
    "22.2": [loss_by_loop, loss_by_index],
    "22.3": [in_place_by_loop, in_place_by_matrix],
    "22.4": [normalise_by_jacobian, normalise_in_steps],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "22.1": [
        (lambda order: order + 0, "`order` itself"),
        (lambda order: inverse_by_loop(order)[::-1], "more than one image"),
        (lambda order: inverse_by_loop(order) - 1, "off by the same number"),
        (lambda order: np.flip(order, axis=1), "turns the order around"),
        (lambda order: inverse_by_loop(order)[0], "shape"),
    ],
    "22.2": [
        (lambda y, x, visible: loss_by_loop(y, x, visible & False), "over all patches"),
        (lambda y, x, visible: (loss_by_index(y, x, visible)[0], loss_by_index(x, y, visible)[1]), "sign"),
        (lambda y, x, visible: loss_by_index(y, x, visible)[0], "tuple of 2"),
        (lambda y, x, visible: loss_by_index(y, x, ~visible), "exchanged"),
        (lambda y, x, visible: loss_by_index(y, x, visible)[::-1], "another order"),
        (
            lambda y, x, visible: (len(y) * loss_by_index(y, x, visible)[0], loss_by_index(y, x, visible)[1]),
            "dy is right",
        ),
    ],
    "22.3": [
        (lambda dy, back, visible: (dy[back < visible], in_place_by_loop(dy, back, visible)[1]), "order of the draw"),
        (lambda dy, back, visible: (in_place_by_loop(dy, back, visible)[0], dy.sum(axis=0)), "missing places only"),
        (lambda dy, back, visible: in_place_by_loop(dy, np.argsort(back), visible), "inverse"),
        (lambda dy, back, visible: in_place_by_matrix(dy, back, visible)[0], "tuple of 2"),
        (lambda dy, back, visible: in_place_by_matrix(dy, back[::-1], visible), "differs"),
    ],
    "22.4": [
        (lambda x, dz: dz / np.sqrt(x.var(axis=1, keepdims=True, ddof=1) + 1e-6), "both as constants"),
        (lambda x, dz: normalise_in_steps(x + 1e-3 * x**2, dz), "differs"),
        (lambda x, dz: normalise_in_steps(x, dz).sum(axis=0), "shape"),
        (lambda x, dz: -normalise_by_jacobian(x, dz), "sign"),
        (lambda x, dz: normalise_in_steps(x, dz) + 0.1 * dz, "wrong are those of dz."),
        (lambda x, dz: normalise_in_steps(x, dz) + 1 + x - x.mean(axis=1, keepdims=True), "those of x - mean and of 1"),
    ],
}

# number -> a change of a right answer that leaves it right -> why
EQUIVALENT = {
    "22.1": {"back = np.ones_like(order)": "every entry is overwritten"},
    "22.3": {"dx, dm = (np.ones((visible, dy.shape[1])), np.zeros(dy.shape[1]))": "every row of dx is overwritten"},
    "22.4": {
        "dx = np.ones_like(x)": "every entry is overwritten",
        "dx[p] = dz[p] @ jacobian": "the Jacobian is symmetric",
        "jacobian = (np.eye(n) - 1 / n) / s - np.outer(c, c) / ((n - 1) * s ** 3)": "c is c",
    },
}
