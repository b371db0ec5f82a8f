"""Exercises of notebook 09, the MLP and GELU."""

import math
from functools import partial

import numpy as np

from minivit.lessons.exercise import Exercise
from minivit.lessons.judges import function_like, number
from minivit.ops.erf_series import erf_values


def _cdf(x):
    return 0.5 * (1 + erf_values(x * math.sqrt(0.5)))


def _density(x):
    return np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


def _sigmoid(x):
    return 0.5 * (1 + np.tanh(0.5 * x))


def _da(x, a, dy, reduce=np.sum):
    s = _sigmoid(a * x)
    return reduce(dy * x * x * s * (1 - s))


def _sigmoid_form_backward(x, a, dy, gate=1.0, inner=True, reduce=np.sum):
    """y = x sigmoid(a x), a one number; each of the last three arguments makes a mistake."""
    s = _sigmoid(a * x)
    return dy * s * (1 + gate * (a if inner else 1.0) * x * (1 - s)), _da(x, a, dy, reduce)


def _sigmoid_form_cases(rng: np.random.Generator) -> list[tuple]:
    shapes = ((4, 5), 1.702), ((7,), 0.6)
    return [(2 * rng.standard_normal(shape), a, rng.standard_normal(shape)) for shape, a in shapes]


def _lowest_point() -> float:
    """Where Phi(x) + x phi(x) = 0, by halving [-1, 0]."""
    low, high = -1.0, 0.0
    for _ in range(60):
        middle = (low + high) / 2
        slope = 0.5 * (1 + math.erf(middle / math.sqrt(2))) + middle * float(_density(middle))
        low, high = (middle, high) if slope < 0 else (low, middle)
    return low


def _mlp_backward(z, W1, b1, W2, b2, dR, slope=lambda x: _cdf(x) + x * _density(x), reduce=np.sum, cdf=_cdf):
    X1 = z @ W1 + b1
    dX1 = (dR @ W2.T) * slope(X1)
    return dX1 @ W1.T, z.T @ dX1, reduce(dX1, axis=0), (X1 * cdf(X1)).T @ dR, reduce(dR, axis=0)


def _tanh_cdf(x):
    return 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))


def _tanh_slope(x):
    t = 2 * _tanh_cdf(x) - 1
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)


def _swiglu(z, W, V, W2, dR, gate_path=1.0, value_path=1.0, full_slope=True):
    gate, value = z @ W, z @ V
    s = _sigmoid(gate)
    dG = dR @ W2.T
    dgate = dG * value * (s + full_slope * gate * s * (1 - s))
    dvalue = dG * gate * s
    dz = gate_path * dgate @ W.T + value_path * dvalue @ V.T
    return (gate * s * value) @ W2, dz, z.T @ dgate, z.T @ dvalue, (gate * s * value).T @ dR


def _numbers(rng: np.random.Generator) -> list[tuple]:
    return [(2 * rng.standard_normal((3, 4)),), (2 * rng.standard_normal(7),)]


def _mlp_cases(rng: np.random.Generator) -> list[tuple]:
    def draw(tokens, width, hidden):
        shapes = (tokens, width), (width, hidden), (hidden,), (hidden, width), (width,), (tokens, width)
        return tuple(rng.standard_normal(shape) for shape in shapes)

    return [draw(4, 3, 7), draw(2, 5, 3)]


def _swiglu_cases(rng: np.random.Generator) -> list[tuple]:
    def draw(tokens, width, hidden):
        shapes = (tokens, width), (width, hidden), (width, hidden), (hidden, width), (tokens, width)
        return tuple(rng.standard_normal(shape) for shape in shapes)

    return [draw(4, 3, 7), draw(2, 5, 3)]


EXERCISES = [
    Exercise(
        "9.1",
        function_like(
            lambda x, y: y - x,
            lambda rng: [(x, x * _cdf(x)) for x in (*(x for (x,) in _numbers(rng)), np.array([1.5, 0.0, -0.5]))],
            {
                "It is not finite where x is 0: y / x is 0 / 0 there. The x cancels before any division.": (
                    lambda x, y: -x * (1 - y / x)
                ),
                "GELU is not odd: only erf is. Write -x Phi(-x) and put 1 - Phi(x) for Phi(-x).": lambda x, y: -y,
                "GELU is not even: very negative x give nearly 0, large ones nearly x.": lambda x, y: y,
                "The signs are the wrong way round: GELU(-x) = -x Phi(-x) begins with a minus.": lambda x, y: x - y,
                "The first x stays -x: GELU(-x) = -x Phi(-x).": lambda x, y: x + y,
            },
            allowed=(),
        ),
        "GELU(x) - GELU(-x) = x, as for ReLU. It holds for the tanh form too, because tanh(u) is odd in x.",
    ),
    Exercise(
        "9.2",
        function_like(
            _sigmoid_form_backward,
            _sigmoid_form_cases,
            {
                "dx: x is used twice. This is the way through the product; the way through the gate is missing.": (
                    partial(_sigmoid_form_backward, gate=0.0)
                ),
                "dx: the derivative of sigmoid(a x) with respect to x has the inner factor a.": (
                    partial(_sigmoid_form_backward, inner=False)
                ),
                "dx: the slope of the gate must be multiplied by x.": (
                    lambda x, a, dy: (dy * _sigmoid(a * x) * (1 + a * (1 - _sigmoid(a * x))), _da(x, a, dy))
                ),
                "da: a is one number that all entries share. What does the chain rule do with their contributions?": (
                    partial(_sigmoid_form_backward, reduce=lambda values: values)
                ),
                "da: this is a mean. The contributions of all entries add up, without a division.": (
                    partial(_sigmoid_form_backward, reduce=np.mean)
                ),
                "da: x is a factor twice, once beside the gate and once inside it.": (
                    lambda x, a, dy: (
                        _sigmoid_form_backward(x, a, dy)[0],
                        np.sum(dy * x * _sigmoid(a * x) * (1 - _sigmoid(a * x))),
                    )
                ),
            },
            allowed=("sigmoid",),
            results="dx da",
        ),
        "Any gate x s(x) has the slope s + x s'. What all entries share collects the sum of their gradients.",
    ),
    Exercise(
        "9.3",
        number(
            _lowest_point(),
            {
                -_lowest_point(): "The sign: for positive x GELU is positive.",
                _lowest_point() * 0.5 * (1 + math.erf(_lowest_point() / math.sqrt(2))): (
                    "This is how low GELU gets. The question is where."
                ),
                -0.7524614: "This is the lowest point of the tanh form, which is close by and not the same.",
                -1.0: "There the density has its inflection point. Set the slope Phi(x) + x phi(x) to zero.",
            },
            rtol=1e-5,
        ),
        "Left of it the slope is negative: there a growing input lowers the output.",
    ),
    Exercise(
        "9.4",
        function_like(
            _mlp_backward,
            _mlp_cases,
            {
                "The slope of GELU is Phi(x) + x phi(x); the second term is missing.": (
                    lambda z, W1, b1, W2, b2, dR: _mlp_backward(z, W1, b1, W2, b2, dR, slope=_cdf)
                ),
                "These are the gradients of the tanh form; asked for are those of the erf form.": (
                    lambda z, W1, b1, W2, b2, dR: _mlp_backward(z, W1, b1, W2, b2, dR, slope=_tanh_slope, cdf=_tanh_cdf)
                ),
                "This is the slope of the tanh form. It is close, but the exact one is asked for.": (
                    lambda z, W1, b1, W2, b2, dR: _mlp_backward(z, W1, b1, W2, b2, dR, slope=_tanh_slope)
                ),
                "The gradient passes GELU without its slope.": (
                    lambda z, W1, b1, W2, b2, dR: _mlp_backward(z, W1, b1, W2, b2, dR, slope=np.ones_like)
                ),
                "A bias is added to every row, so its gradient is the sum over the rows, not the mean.": (
                    lambda z, W1, b1, W2, b2, dR: _mlp_backward(z, W1, b1, W2, b2, dR, reduce=np.mean)
                ),
            },
            allowed=("erf",),
            results="dz dW1 db1 dW2 db2",
        ),
        "Exact to rounding: the forms differ by far more than the error that is allowed here.",
    ),
    Exercise(
        "9.5",
        function_like(
            _swiglu,
            _swiglu_cases,
            {
                "dz has one contribution only: z is used by both layers, and the way through V is missing.": (
                    lambda z, W, V, W2, dR: _swiglu(z, W, V, W2, dR, value_path=0.0)
                ),
                "dz has one contribution only: z is used by both layers, and the way through W is missing.": (
                    lambda z, W, V, W2, dR: _swiglu(z, W, V, W2, dR, gate_path=0.0)
                ),
                "The slope of silu is s + x s (1 - s); the second term is missing.": (
                    lambda z, W, V, W2, dR: _swiglu(z, W, V, W2, dR, full_slope=False)
                ),
            },
            allowed=("sigmoid", "silu"),
            results="R dz dW dV dW2",
        ),
        "In a product each factor's gradient is scaled by the other factor: the gate decides what learns as well.",
    ),
]
