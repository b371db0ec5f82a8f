"""Answers to the exercises of notebook 25."""

import numpy as np


def rope_by_complex_numbers(q, k, v, row, column, base):
    Dh = q.shape[1]
    f = [base ** (-4 * i / Dh) for i in range(Dh // 4)]
    angle = np.outer(np.append(0, row), f), np.outer(np.append(0, column), f)
    turn = np.exp(1j * np.hstack(angle))
    zq, zk = ((x[:, ::2] + 1j * x[:, 1::2]) * turn for x in (q, k))
    scores = (zq @ zk.conj().T).real / np.sqrt(Dh)
    weights = np.exp(scores)
    return weights @ v / weights.sum(axis=1, keepdims=True)


def rope_by_offsets(q, k, v, row, column, base):
    """Each score from the offset of the two places; [class] against a patch is turned by the place of the patch."""
    N, Dh = q.shape
    y, quarter = np.zeros_like(v), Dh // 4
    places = np.array([[0, *row], [0, *column]]).T
    for i in range(N):
        scores = np.zeros(N)
        for j in range(N):
            for pair in range(Dh // 2):
                t = (places[j] - places[i])[pair // quarter] * base ** (-(pair % quarter) / quarter)
                (a, b), (c, d) = q[i, 2 * pair : 2 * pair + 2], k[j, 2 * pair : 2 * pair + 2]
                scores[j] += a * (c * np.cos(t) - d * np.sin(t)) + b * (c * np.sin(t) + d * np.cos(t))
        weights = np.exp(scores / Dh**0.5)
        y[i] = weights @ v / weights.sum()
    return y


def normed_backward(x, gamma, dy):
    """Row by row, by the Jacobian of RMSNorm."""
    dx, dgamma, Dh = np.zeros_like(x), np.zeros(len(gamma)), len(gamma)
    for h in range(x.shape[0]):
        for i, row in enumerate(x[h]):
            size = np.sqrt(row @ row / Dh + 1e-6)
            jacobian = np.eye(Dh) / size - np.outer(row, row) / (Dh * size**3)
            dx[h, i] = (dy[h, i] * gamma) @ jacobian
            dgamma += dy[h, i] * row / size
    return dx, dgamma


def scaled(x, gamma):
    return gamma * x / np.sqrt(np.mean(x**2, axis=2, keepdims=True) + 1e-6)


def qk_by_jacobian(q, k, gamma_q, gamma_k, dS):
    g = dS / q.shape[2] ** 0.5
    dq, dgamma_q = normed_backward(q, gamma_q, np.einsum("hij,hjd->hid", g, scaled(k, gamma_k)))
    dk, dgamma_k = normed_backward(k, gamma_k, np.einsum("hij,hid->hjd", g, scaled(q, gamma_q)))
    return dq, dk, dgamma_q, dgamma_k


def qk_in_steps(q, k, gamma_q, gamma_k, dS):
    results = []
    for x, gamma, other, gradient in (
        (q, gamma_q, scaled(k, gamma_k), dS),
        (k, gamma_k, scaled(q, gamma_q), dS.transpose(0, 2, 1)),
    ):
        dy = gradient @ other / np.sqrt(x.shape[-1])
        size = np.mean(x * x, axis=-1, keepdims=True) + 1e-6
        drho = np.sum(dy * gamma * x, axis=-1, keepdims=True)
        dx = dy * gamma * size**-0.5 - drho * size**-1.5 * x / x.shape[-1]
        results.append((dx, np.sum(dy * x * size**-0.5, axis=(0, 1))))
    return results[0][0], results[1][0], results[0][1], results[1][1]


def largest_weight():
    scores = np.full(65, -4.0)
    scores[0] = 4
    return np.exp(scores[0]) / np.exp(scores).sum()


# number -> answers that must pass
RIGHT = {
    "25.1": [512, 3 * 384 * 1024 + 2 * 1024 + 384 - (2 * 384 * 1536 + 1536 + 384)],
    "25.2": [rope_by_complex_numbers, rope_by_offsets],
    "25.3": [qk_by_jacobian, qk_in_steps],
    "25.4": [largest_weight(), 1 / (1 + 64 * np.exp(-8))],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "25.1": [
        (2 * 384 * 1024 + 1024 + 384 - (2 * 384 * 1536 + 1536 + 384), "three: gate, value and out"),
        (2 * 384 * 1024 + 2 * 1024 + 384 - (2 * 384 * 1536 + 1536 + 384), "three: gate, value and out"),
        (3 * 384 * 1536 + 2 * 1536 + 384 - (2 * 384 * 1536 + 1536 + 384), "1,024 features"),
        (0, "biases"),
        (513, "It is not 513"),
    ],
    "25.2": [
        (lambda q, k, v, r, c, base: rope_by_complex_numbers(q, k, v, c, r, base), "turns with the row"),
        (lambda q, k, v, r, c, base: rope_by_complex_numbers(q, k, v, -r, -c, base), "wrong direction"),
        (lambda q, k, v, r, c, base: rope_by_complex_numbers(q, k, v, r, c, base**0.5), "fall too slowly"),
        (lambda q, k, v, r, c, base: rope_by_complex_numbers(q, k, v, r, c, 1.0), "base is missing"),
        (lambda q, k, v, r, c, base: rope_by_complex_numbers(q, k, v, r, c, 10_000.0), "more than one frequency"),
        (lambda q, k, v, r, c, base: rope_by_complex_numbers(q, k, v, r, c, base)[1:], "shape"),
    ],
    "25.3": [
        (
            lambda q, k, gamma_q, gamma_k, dS: qk_by_jacobian(q, k, gamma_q, gamma_k, dS * q.shape[2] ** 0.5),
            "does not replace it",
        ),
        (lambda q, k, gamma_q, gamma_k, dS: qk_in_steps(q, k, gamma_q, gamma_k, dS.transpose(0, 2, 1)), "differs"),
        (lambda *arguments: qk_in_steps(*arguments)[:2], "tuple of 4"),
        (lambda q, k, gamma_q, gamma_k, dS: qk_in_steps(k, q, gamma_q, gamma_k, dS), "differs"),
        (lambda *arguments: (*qk_in_steps(*arguments)[:2], *qk_in_steps(*arguments)[:1:-1]), "dgamma"),
    ],
    "25.4": [
        (1.0, "does not reach 1"),
        (np.exp(4) / (np.exp(4) + 64), "lower than that"),
        (np.exp(1) / (np.exp(1) + 64 * np.exp(-1)), "length sqrt(Dh)"),
        (0.5, "It is not 0.5"),
    ],
}

# number -> a change of a right answer that leaves it right -> why
EQUIVALENT = {
    "25.2": {
        "y, quarter = (np.ones_like(v), Dh // 4)": "every row is overwritten",
        "scores = np.ones(N)": "the softmax does not see what is added to all scores of a query",
    },
    "25.3": {
        "jacobian = np.eye(Dh) / size - np.outer(row, row) / (Dh * size ** 3)": "row is row",
        "dx, dgamma, Dh = (np.ones_like(x), np.zeros(len(gamma)), len(gamma))": "every entry of dx is overwritten",
        "dx[h, i] = jacobian @ (dy[h, i] * gamma)": "the Jacobian is symmetric",
        "size = np.sqrt(row @ row / Dh + 1e-06)": "row is row",
    },
}
