"""Arithmetic, element by element (q1).

Every function returns its value and its pullback, see engine.py. `sin` shows how.
"""

import numpy as np


def sin(x):
    """The sine of x. This is the example; no program asks for it."""
    y = np.sin(x)

    def pullback(g):
        return (g * np.cos(x),)

    return y, pullback


def add(x, y):
    """The sum of x and y."""

    # BEGIN SOLUTION q1
    def pullback(g):
        return g, g

    return x + y, pullback
    # END SOLUTION


def sub(x, y):
    """The difference: x minus y."""

    # BEGIN SOLUTION q1
    def pullback(g):
        return g, -g

    return x - y, pullback
    # END SOLUTION


def mul(x, y):
    """The product of x and y."""

    # BEGIN SOLUTION q1
    def pullback(g):
        return g * y, g * x

    return x * y, pullback
    # END SOLUTION


def div(x, y):
    """The quotient: x divided by y."""
    # BEGIN SOLUTION q1
    z = x / y

    def pullback(g):
        return g / y, -g * z / y

    return z, pullback
    # END SOLUTION


def maximum(x, y):
    """The larger of x and y. Where they are equal, each gets half of the gradient."""
    # BEGIN SOLUTION q1
    z = np.maximum(x, y)

    def pullback(g):
        share = np.where(x == y, 0.5, x > y)
        return g * share, g * (1 - share)

    return z, pullback
    # END SOLUTION


def neg(x):
    """The negative of x."""
    # BEGIN SOLUTION q1
    y = -x

    def pullback(g):
        return (-g,)

    return y, pullback
    # END SOLUTION


def power(x, exponent):
    """x to the power of exponent, a Python float without gradient. The derivative is 0 everywhere for exponent 0."""
    # BEGIN SOLUTION q1
    y = x**exponent

    def pullback(g):
        if exponent == 0:
            return (0 * g,)
        return (g * exponent * x ** (exponent - 1),)

    return y, pullback
    # END SOLUTION


def exp(x):
    """e to the power of x."""
    # BEGIN SOLUTION q1
    y = np.exp(x)

    def pullback(g):
        return (g * y,)

    return y, pullback
    # END SOLUTION


def log(x):
    """The natural logarithm of x."""
    # BEGIN SOLUTION q1
    y = np.log(x)

    def pullback(g):
        return (g / x,)

    return y, pullback
    # END SOLUTION


def sqrt(x):
    """The square root of x."""
    # BEGIN SOLUTION q1
    y = np.sqrt(x)

    def pullback(g):
        return (g / (2 * y),)

    return y, pullback
    # END SOLUTION


def tanh(x):
    """The hyperbolic tangent of x."""
    # BEGIN SOLUTION q1
    y = np.tanh(x)

    def pullback(g):
        return (g * (1 - y * y),)

    return y, pullback
    # END SOLUTION
