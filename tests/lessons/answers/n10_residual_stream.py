"""Answers to the exercises of notebook 10."""

import math

import numpy as np

from minivit import ops


def norm_backward(z, g, eps=1e-6):
    """Token by token, by the Jacobian of LayerNorm."""
    result = np.zeros_like(g)
    for i, row in enumerate(z):
        sigma = np.sqrt(row.var() + eps)
        x = (row - row.mean()) / sigma
        result[i] = (g[i] - g[i].mean() - x * (g[i] * x).mean()) / sigma
    return result


def norm(z, eps=1e-6):
    return (z - z.mean(axis=1, keepdims=True)) / np.sqrt(z.var(axis=1, keepdims=True) + eps)


def parallel(z, V, W, dz_out, stream=True, eps=1e-6):
    u = norm(z, eps)
    slope = np.cosh(u @ W) ** -2
    dV = np.einsum("ni,nj->ij", u, dz_out)
    dW = np.einsum("ni,nj->ij", u, dz_out * slope)
    both = dz_out @ V.T + (dz_out * slope) @ W.T
    return norm_backward(z, both, eps) + stream * dz_out, dV, dW


def parallel_by_parts(z, V, W, dz_out):
    """Each branch pulled back through the LayerNorm by itself."""
    u, vjp = ops.layer_norm(z, np.ones(z.shape[1]), np.zeros(z.shape[1]), 1e-6)
    dx = dz_out - dz_out * np.tanh(u @ W) ** 2
    first, _, _ = vjp(dz_out @ V.T)
    second, _, _ = vjp(dx @ W.T)
    return dz_out + first + second, u.T @ dz_out, u.T @ dx


def reversible(y1, y2, V, W, dy1, dy2):
    second = np.tanh(y1 @ W)
    x2 = y2 - second
    first = np.tanh(x2 @ V)
    dsecond = dy2 * (1 - second) * (1 + second)
    total = dy1 + dsecond @ W.T
    dfirst = total * (1 - first) * (1 + first)
    return y1 - first, x2, total, dy2 + dfirst @ V.T, x2.T @ dfirst, y1.T @ dsecond


def changed(place, change):
    """The right answer to 10.4 with one of its six results changed."""

    def answer(*args):
        results = list(reversible(*args))
        results[place] = change(results[place], *args)
        return tuple(results)

    return answer


# number -> answers that must pass
RIGHT = {
    "10.1": ["hidden", "Hidden", " HIDDEN "],
    "10.2": [276, 276.0, math.comb(24, 2), np.float64(24 * 23 / 2)],
    "10.3": [parallel, parallel_by_parts],
    "10.4": [reversible],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "10.1": [("both", "does not occur in it"), ("neither", "has passed the second"), ("first", "Choose one of")],
    "10.2": [(66, "two branches"), (552, "counts once"), (2**24, "in all"), (277, "It is not"), (24, "exactly one")],
    "10.3": [
        (lambda *args: parallel(*args, stream=False), "along the stream is missing"),
        (lambda z, V, W, dz_out: (parallel(z, V, 0 * W, dz_out)[0], *parallel(z, V, W, dz_out)[1:]), "g does too"),
        (lambda z, V, W, dz_out: parallel(z, W, V, dz_out), "dz"),
        (lambda *args: parallel(*args, eps=1e-5), "not 1e-5"),
        (lambda *args: parallel(*args)[::-1], "it returns (dW, dV, dz), expected (dz, dV, dW)"),
        (
            lambda z, V, W, dz_out: (parallel(z, V, W, dz_out)[0], z.T @ dz_out, parallel(z, V, W, dz_out)[2]),
            "dV",
        ),
    ],
    "10.4": [
        (changed(2, lambda dx1, y1, y2, V, W, dy1, dy2: dy1), "dx1"),
        (changed(3, lambda dx2, y1, y2, V, W, dy1, dy2: dx2 - dy2), "along the stream"),
        (changed(4, lambda dV, *args: dV.T), "dV is the right one transposed"),
        (changed(0, lambda x1, y1, *args: 2 * y1 - x1), "x1"),
        (lambda y1, y2, V, W, dy1, dy2: reversible(y1, y2, V, W, dy2, dy1), "differ"),
    ],
}

# number -> changed line of a right answer (… for anything) -> why the answer stays right
EQUIVALENT = {"10.3": {"result = np.ones_like(g)": "every entry is overwritten"}}
