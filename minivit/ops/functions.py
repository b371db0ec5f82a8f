"""Functions of numbers, element by element: powers and roots, trigonometry, erf, choices, activations.

Shapes as in arithmetic: inputs broadcast, and a Python number is a valid second argument.
"""

import math

from minivit.backend import Array, is_array, xp_of
from minivit.backend.precision import widened
from minivit.ops.erf_series import erf_values

_FAR = 40  # from 0: there a sigmoid is 0 or 1 to the last digit. Going no further, inf meets no 0


def pow(x: Array, exponent: Array):
    """z = x^p.   dx = g p x^(p-1),  dp = g z log x: 0 where x or z is 0, and NaN where x is negative.

    For small whole exponents write x * x * x instead: NumPy's power is tens of times slower.
    """
    z = x**exponent

    def vjp(g):
        if not is_array(exponent):
            return g * exponent * x ** (exponent - 1 if exponent else 0), None  # 0^-1 would spoil the 0
        where, base = xp_of(z).where, xp_of(z).asarray(x, dtype=z.dtype)
        dx, inside = g * exponent * base ** where(exponent == 0, 0, exponent - 1), (base > 0) & (z != 0)
        log_x = xp_of(z).log(where(inside, base, 1))
        return dx, g * where(base >= 0, where(inside, z, 0) * log_x, math.nan)

    return z, vjp


def exp(x: Array):
    """y = e^x.   dx = g y."""
    y = xp_of(x).exp(x)

    def vjp(g):
        return (g * y,)

    return y, vjp


def log(x: Array):
    """y = log x (natural).   dx = g / x."""
    y = xp_of(x).log(x)

    def vjp(g):
        return (g / x,)

    return y, vjp


def sqrt(x: Array):
    """y = sqrt x.   dx = g / (2 y)."""
    y = xp_of(x).sqrt(x)

    def vjp(g):
        return (g / (2 * y),)

    return y, vjp


def tanh(x: Array):
    """y = tanh x.   dx = g (1 - y^2)."""
    y = xp_of(x).tanh(x)

    def vjp(g):
        return (g * (1 - y * y),)

    return y, vjp


def sin(x: Array):
    """y = sin x.   dx = g cos x."""
    y = xp_of(x).sin(x)

    def vjp(g):
        return (g * xp_of(x).cos(x),)

    return y, vjp


def cos(x: Array):
    """y = cos x.   dx = -g sin x."""
    y = xp_of(x).cos(x)

    def vjp(g):
        return (-g * xp_of(x).sin(x),)

    return y, vjp


def erf(x: Array):
    """y = erf x = 2/sqrt(pi) * integral of exp(-t^2) from 0 to x.   dx = g 2/sqrt(pi) exp(-x^2)."""
    y = erf_values(x)

    def vjp(g):
        near = x.clip(-30, 30)  # the square of a large x overflows
        return (g * (2 / math.sqrt(math.pi)) * xp_of(x).exp(-near * near),)

    return y, vjp


def maximum(x: Array, y: Array):
    """z = max(x, y).   dx = g where x > y,  dy = g where y > x;  where they are equal each takes half."""
    xp = xp_of(x)
    z = xp.maximum(x, y)

    def vjp(g):
        half = xp.where(x == y, 0.5 * g, 0)
        return xp.where(x > y, g, half), xp.where(y > x, g, half)

    return z, vjp


def where(condition: Array, x: Array, y: Array):
    """z = x where condition (boolean) holds, else y.   dx = g there, dy = g elsewhere; condition has no gradient."""
    xp = xp_of(condition)
    condition = condition.copy() if is_array(condition) else condition  # the caller may write to its mask
    z = xp.where(condition, x, y)

    def vjp(g):
        return None, xp.where(condition, g, 0), xp.where(condition, 0, g)

    return z, vjp


def relu(x: Array):
    """y = max(x, 0).   dx = g where x > 0, else 0."""
    xp = xp_of(x)
    y = xp.maximum(x, 0)

    def vjp(g):
        return (xp.where(x > 0, g, 0),)

    return y, vjp


def sigmoid(x: Array):
    """y = 1 / (1 + e^-x), computed as (1 + tanh(x/2)) / 2, which cannot overflow.   dx = g y (1 - y)."""
    y = 0.5 * (1 + xp_of(x).tanh(0.5 * x))

    def vjp(g):
        return (g * y * (1 - y),)

    return y, vjp


def silu(x: Array):
    """y = x s, s = sigmoid(x) (also called swish).   dx = g (s + y (1 - s)).   At minus infinity y and dx are 0."""
    xp = xp_of(x)
    s = 0.5 * (1 + xp.tanh(0.5 * x))
    y = xp.maximum(x, -_FAR) * s

    def vjp(g):
        return (g * (s + xp.minimum(y, _FAR) * (1 - s)),)

    return y, vjp


def swiglu(gate: Array, value: Array):
    """y = silu(gate) value: what one projection lets through of another (Shazeer 2020).   All of one shape.

    With s = sigmoid(gate):  dgate = g value (s + gate s (1 - s)),  dvalue = g gate s.   A gate of -inf gives 0.
    """
    if gate.shape != value.shape:
        raise ValueError(f"swiglu: gate {gate.shape} and value {value.shape} differ")
    value = widened(value)
    open_gate, gate_vjp = silu(widened(gate))
    y = open_gate * value

    def vjp(g):
        return *gate_vjp(g * value), g * open_gate

    return y, vjp
