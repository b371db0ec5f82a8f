"""Answers to the exercises of notebook 09."""

import math

import numpy as np

from minivit import ops

_erf = np.vectorize(math.erf)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def sigmoid_form_backward(x, a, dy, inner=1.0):
    e = np.exp(-a * x)
    slope_of_gate = e / (1 + e) ** 2
    return dy / (1 + e) + dy * x * inner * a * slope_of_gate, float(np.sum(dy * x**2 * slope_of_gate))


def lowest_point():
    x = -0.75
    for _ in range(10):
        density = math.exp(-x * x / 2) / math.sqrt(2 * math.pi)
        slope = 0.5 * math.erfc(-x / math.sqrt(2)) + x * density
        x -= slope / (density * (2 - x * x))
    return x


def mlp_backward(z, W1, b1, W2, b2, dR, density=True):
    dz, dW1, db1 = np.zeros_like(z), np.zeros_like(W1), np.zeros_like(b1)
    dW2, db2 = np.zeros_like(W2), np.zeros_like(b2)
    for i in range(len(z)):
        p = z[i] @ W1 + b1
        cdf = 0.5 * (1 + _erf(p / np.sqrt(2)))
        dp = W2 @ dR[i] * (cdf + density * p * np.exp(-p * p / 2) / np.sqrt(2 * np.pi))
        dz[i] = W1 @ dp
        dW1 += np.outer(z[i], dp)
        db1 += dp
        dW2 += np.outer(p * cdf, dR[i])
        db2 += dR[i]
    return dz, dW1, db1, dW2, db2


def mlp_backward_with_ops_erf(z, W1, b1, W2, b2, dR):
    p = z @ W1 + b1
    cdf = 0.5 * (1 + ops.erf(p / np.sqrt(2))[0])
    dp = dR @ W2.T * (cdf + p * np.exp(-p * p / 2) / np.sqrt(2 * np.pi))
    return dp @ W1.T, z.T @ dp, dp.sum(axis=0), (p * cdf).T @ dR, dR.sum(axis=0)


def mlp_backward_by_ops_gelu(z, W1, b1, W2, b2, dR):
    g, gelu_vjp = ops.gelu(z @ W1 + b1, "erf")
    (dp,) = gelu_vjp(dR @ W2.T)
    return dp @ W1.T, z.T @ dp, dp.sum(axis=0), g.T @ dR, dR.sum(axis=0)


def mlp_backward_tanh(z, W1, b1, W2, b2, dR):
    p = z @ W1 + b1
    c = np.sqrt(2 / np.pi)
    t = np.tanh(c * (p + 0.044715 * p**3))
    slope = (1 + t + p * (1 - t**2) * c * (1 + 0.134145 * p**2)) / 2
    dp = dR @ W2.T * slope
    return dp @ W1.T, z.T @ dp, dp.sum(axis=0), (p * (1 + t) / 2).T @ dR, dR.sum(axis=0)


def swiglu(z, W, V, W2, dR, both=True):
    a, v = z @ W, z @ V
    h = a * sigmoid(a) * v
    dh = dR @ W2.T
    da = dh * v * sigmoid(a) * (1 + a * sigmoid(-a))
    dv = dh * a * sigmoid(a)
    return h @ W2, da @ W.T + both * (dv @ V.T), z.T @ da, z.T @ dv, h.T @ dR


@np.errstate(invalid="ignore")
def by_a_quotient(x, y):
    return -x * (1 - y / x)


# number -> answers that must pass
RIGHT = {
    "9.1": [lambda x, y: -x + y],
    "9.2": [sigmoid_form_backward],
    "9.3": [lowest_point(), -0.75179],
    "9.4": [mlp_backward, mlp_backward_with_ops_erf],
    "9.5": [swiglu],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "9.1": [
        (by_a_quotient, "0 / 0"),
        (lambda x, y: -y, "not odd"),
        (lambda x, y: x - y, "wrong way round"),
        (lambda x, y: np.maximum(-x, 0), "differs"),
    ],
    "9.2": [
        (lambda x, a, dy: sigmoid_form_backward(x, a, dy, inner=1 / a), "inner factor"),
        (lambda x, a, dy: sigmoid_form_backward(x, a, dy, inner=0.0), "way through the gate is missing"),
        (lambda x, a, dy: sigmoid_form_backward(x, a, dy, inner=a), "differs"),
        (lambda x, a, dy: sigmoid_form_backward(x, a, dy)[::-1], "it returns (da, dx)"),
        (lambda x, a, dy: (sigmoid_form_backward(x, a, dy)[0], 0.0 * a), "da is 0 in every case. dx is right."),
    ],
    "9.3": [
        (-0.7524614, "tanh form"),
        (-0.169971, "where"),
        (-0.752, "more digits"),
        (-0.7518, "more digits"),
        (-0.6, "It is not"),
    ],
    "9.4": [
        (lambda *args: mlp_backward(*args, density=False), "second term"),
        (mlp_backward_tanh, "gradients of the tanh form"),
        (lambda *args: mlp_backward(*args)[:3], "tuple of 5"),
        (mlp_backward_by_ops_gelu, "The library did this (`gelu` was called)"),
        (lambda z, W1, b1, W2, b2, dR: mlp_backward(z, W1, 0 * b1, W2, b2, dR), "differs"),
    ],
    "9.5": [
        (lambda *args: swiglu(*args, both=False), "through V"),
        (
            lambda *args: (lambda R, dz, dW, dV, dW2: (R, dz, dV, dW, dW2))(*swiglu(*args)),
            "it returns (R, dz, dV, dW, dW2)",
        ),
        (lambda z, W, V, W2, dR: swiglu(z, V, W, W2, dR), "differs"),
    ],
}

# number -> changed line of a right answer (… for anything) -> why the answer stays right
EQUIVALENT = {
    "9.4": {
        "dz, dW1, db1 = (np.ones_like(z), np.zeros_like(W1), np.zeros_like(b1))": "every entry is overwritten",
    },
}
