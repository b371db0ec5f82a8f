"""GELU (Hendrycks & Gimpel 2016), element by element."""

import math

import numpy as np


def erf(x):
    """The error function of every element, from the standard library, which knows it for single numbers only."""
    return np.array([math.erf(value) for value in np.ravel(x)]).reshape(np.shape(x))


def forward(x, form):
    """x Phi(x) in the shape of x.   form: "tanh" or "erf"."""
    # BEGIN SOLUTION q1
    return x * _cdf(x, form)
    # END SOLUTION


def backward(x, form, g):
    """g times the derivative of `forward` at x."""
    # BEGIN SOLUTION q1
    if form == "tanh":
        t = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
        density = 0.5 * (1 - t**2) * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2)
    else:
        density = np.exp(-0.5 * x**2) / math.sqrt(2 * math.pi)
    return g * (_cdf(x, form) + x * density)
    # END SOLUTION


def _cdf(x, form):
    """Phi(x) of that form."""
    # BEGIN SOLUTION q1
    if form == "tanh":
        return 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * (1 + erf(x / math.sqrt(2)))
    # END SOLUTION
