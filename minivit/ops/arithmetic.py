"""Arithmetic, element by element.

Shapes: inputs broadcast as in NumPy, y has the broadcast shape. Each vjp returns gradients in that shape; the engine
sums them back to the shape of an argument that was stretched. A Python number is a valid second argument; being no
array it takes no gradient, and it never changes the dtype.
"""

from minivit.backend import Array


def add(x: Array, y: Array):
    """z = x + y.   dx = g,  dy = g."""
    z = x + y

    def vjp(g):
        return g, g

    return z, vjp


def sub(x: Array, y: Array):
    """z = x - y.   dx = g,  dy = -g."""
    z = x - y

    def vjp(g):
        return g, -g

    return z, vjp


def mul(x: Array, y: Array):
    """z = x y.   dx = g y,  dy = g x."""
    z = x * y

    def vjp(g):
        return g * y, g * x

    return z, vjp


def div(x: Array, y: Array):
    """z = x / y.   dx = g / y,  dy = -g z / y."""
    z = x / y

    def vjp(g):
        dx = g / y
        return dx, -dx * z

    return z, vjp


def neg(x: Array):
    """y = -x.   dx = -g."""
    y = -x

    def vjp(g):
        return (-g,)

    return y, vjp
