"""The error function, which NumPy lacks, as a Chebyshev series."""

import functools
import math
import operator

from minivit.backend import Array, xp_of


def erf_values(x: Array) -> Array:
    """erf of every element, to about 8 units in the last place; NumPy itself has no erf.

    erf(x) / x is an even entire function, so on |x| <= 6 it is a short Chebyshev series in x^2, summed here by
    Clenshaw's recurrence. Beyond 5.93 (in float32, 3.92) erf is 1 to rounding, and 1 is returned; stopping there avoids
    the end, where errors add up. It is never larger.
    """
    one = _ERF_IS_ONE if x.dtype.itemsize > 4 else _ERF_IS_ONE_IN_FLOAT32
    t = x.clip(-one, one)
    u = t * t * (2 / _ERF_END**2) - 1  # in [-1, 1]
    b1, b2 = 0.0 * u, 0.0
    u2 = 2 * u
    coefficients = _erf_coefficients(x.dtype.itemsize)
    for c in coefficients[:0:-1]:
        b1, b2 = c + u2 * b1 - b2, b1
    y = (t * (coefficients[0] + u * b1 - b2)).clip(-1, 1)
    return xp_of(x).where(abs(x) < one, y, xp_of(x).sign(x))


_ERF_END = 6.0
_ERF_IS_ONE = 5.93
_ERF_IS_ONE_IN_FLOAT32 = 3.92


@functools.cache
def _erf_coefficients(itemsize: int, nodes: int = 64) -> list[float]:
    """Chebyshev coefficients of erf(x)/x in u = x^2/18 - 1, interpolated from the C library's scalar erf.

    c_k = 2/n sum_j f(cos a_j) cos(k a_j),  a_j = (2j + 1) pi / 2n;  half of that for k = 0.
    """
    xs = [_ERF_END * math.cos(math.pi * (2 * j + 1) / (4 * nodes)) for j in range(nodes)]  # u = cos a: x = 6 cos(a/2)
    ratios = [math.erf(x) / x for x in xs]
    coefficients = []
    for k in range(nodes):
        turns = [k * (2 * j + 1) % (4 * nodes) for j in range(nodes)]  # whole numbers: k a_j itself would lose digits
        cosines = [math.cos(math.pi / (2 * nodes) * turn) for turn in turns]
        coefficients.append(math.fsum(map(operator.mul, ratios, cosines)) * (2 if k else 1) / nodes)
    smallest = 1e-16 if itemsize > 4 else 1e-9
    while abs(coefficients[-1]) < smallest:
        coefficients.pop()
    return coefficients
