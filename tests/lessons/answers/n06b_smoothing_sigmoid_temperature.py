"""Answers to the exercises of notebook 06b."""

import math

import numpy as np


def first_loss(bias=-10.0, classes=21843):
    yes = 1 / (1 + math.exp(-bias))
    return -math.log(yes) - (classes - 1) * math.log(1 - yes)


def probabilities(z):
    e = np.exp(z)
    return e / e.sum(axis=1, keepdims=True)


def smoothed(z, labels, smoothing, spread=None):
    dz = probabilities(z)
    dz -= smoothing / (spread or z.shape[1])
    for b, label in enumerate(labels):
        dz[b, label] -= 1 - smoothing
    return dz / len(z)


def temperature(z, t, tau, power=2):
    p = probabilities(z / tau)
    dz, dtau = np.zeros_like(z), 0.0
    for b in range(len(z)):
        for k in range(z.shape[1]):
            dz[b, k] = (p[b, k] - t[b, k]) / tau / len(z)
            dtau -= (p[b, k] - t[b, k]) * z[b, k] / tau**power / len(z)
    return dz, dtau


# number -> answers that must pass
RIGHT = {
    "6b.1": [first_loss(), 10.9917],
    "6b.2": [math.log(1 / 21843 / (1 - 1 / 21843)), -9.9915898],
    "6b.3": [smoothed],
    "6b.4": [temperature, lambda *args: (temperature(*args)[0], [temperature(*args)[1]])],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "6b.1": [
        (21843 * math.log(2), "bias of 0"),
        (first_loss() / 21843, "no mean"),
        (10.99, "more digits"),
        (first_loss(bias=10.0), "It is not"),
    ],
    "6b.2": [
        (-10, "more digits"),
        (math.log(21842), "answered yes"),
        (-math.log(21843), "log(1/K)"),
        (1 / 21843, "best probability"),
        (-9.21, "It is not"),
    ],
    "6b.3": [
        (lambda z, labels, smoothing: smoothed(z, labels, 0), "without smoothing"),
        (lambda z, labels, smoothing: len(z) * smoothed(z, labels, smoothing), "mean over the B rows"),
        (
            lambda z, labels, smoothing: smoothed(z, labels, smoothing, spread=2),
            "an added number of its own in each column",
        ),
    ],
    "6b.4": [
        (lambda z, t, tau: temperature(z, t, tau, power=1), "one power of tau"),
        (lambda z, t, tau: temperature(z, t, 1.0), "differs"),
        (lambda z, t, tau: temperature(z, t, tau)[0], "tuple of 2"),
        (lambda z, t, tau: [len(z) * part for part in temperature(z, t, tau)], "a sum instead of a mean?"),
    ],
}

# number -> changed line of a right answer (… for anything) -> why the answer stays right
EQUIVALENT = {
    "6b.4": {
        "dz, dtau = (np.ones_like(z), 0.0)": "every entry is overwritten",
    },
}
