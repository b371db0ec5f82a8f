"""Answers to the exercises of notebook 32."""

import numpy as np


def change_by_loop(x, dy, eta):
    change = np.zeros(dy.shape)
    for i in range(x.shape[1]):
        for j in range(dy.shape[1]):
            gradient = sum(x[:, i] * dy[:, j])
            change[:, j] -= x[:, i] * (eta if gradient > 0 else -eta)
    return change


def change_at_once(x, dy, eta):
    gradient = np.einsum("ti,tj->ij", x, dy)
    return -x @ (eta * gradient / np.abs(gradient))


def rate_by_counting(n_in, n_out, base_in, base_out, eta, decay):
    growing = (n_in != base_in) + (n_out != base_out)
    if growing == 2:
        return eta * base_in / n_in, decay * n_in / base_in
    return eta, decay


def moved(s, eta, decay, factor):
    rate = eta / factor
    return s / factor, rate, eta * decay / rate


# number -> answers that must pass
RIGHT = {
    "32.1": [16, 1024 / 64],
    "32.2": [change_by_loop, change_at_once],
    "32.3": [rate_by_counting],
    "32.4": [moved],
    "32.5": ["c", "C"],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "32.1": [
        (4.0, "independent"),
        (1, "the rate stays"),
        (0.0625, "more terms"),
        (15.0, "It is not"),
    ],
    "32.2": [
        (lambda x, dy, eta: -eta * x @ x.T @ dy, "SGD"),
        (lambda x, dy, eta: x @ (eta * np.sign(x.T @ dy)), "against the gradient"),
        (lambda x, dy, eta: -eta * np.sign(dy) * np.abs(x).sum(axis=1)[:, None], "share the matrix"),
        (lambda x, dy, eta: change_at_once(x, dy, eta) / len(x), "number of tokens"),
        (lambda x, dy, eta: -eta * np.sign(x.T @ dy), "shape"),
        (lambda x, dy, eta: change_at_once(x, dy, eta) + 0.1 * x[:, :1], "added number of its own"),
    ],
    "32.3": [
        # the rate of the patch embedding is divided, too
        (lambda n_in, n_out, base_in, base_out, eta, decay: (
            eta * base_out / n_out if n_in == base_in else eta * base_in / n_in,
            decay * n_out / base_out if n_in == base_in else decay * n_in / base_in,
        ), "one side grows"),
        # the head's
        (lambda n_in, n_out, base_in, base_out, eta, decay: (eta / (n_in / base_in), decay * n_in / base_in), "head"),
        (lambda n_in, n_out, base_in, base_out, eta, decay: (
            rate_by_counting(n_in, n_out, base_in, base_out, eta, decay)[0], decay
        ), "larger decay"),
        (lambda n_in, n_out, base_in, base_out, eta, decay: rate_by_counting(
            n_out, n_in, base_out, base_in, eta, decay
        ), "growth of the outputs"),
        (lambda n_in, n_out, base_in, base_out, eta, decay: (eta, decay), "differs"),
    ],
    "32.4": [
        (lambda s, eta, decay, factor: (s / factor, eta / factor, decay), "which has changed"),
        (lambda s, eta, decay, factor: (s / factor, eta / factor**2, decay * factor), "SGD"),
        (lambda s, eta, decay, factor: (s / factor, eta, decay), "whatever the factor"),
        (lambda s, eta, decay, factor: (s * factor, eta * factor, decay / factor), "the other way"),
        (lambda s, eta, decay, factor: (s, eta, decay), "multiplied by factor"),
    ],
    "32.5": [
        ("a", "no matrix of a block"),
        ("b", "does not change the tokens"),
        ("d", "come after"),
        ("e", "Choose one of"),
    ],
}  # fmt: skip

# number -> a change of a right answer that leaves it right -> why
EQUIVALENT = {
    "32.2": {"change[:, j] -= x[:, i] * (eta if gradient >= 0 else -eta)": "no gradient is 0"},
}
