"""Answers to the exercises of notebook 00."""

import math
from fractions import Fraction

import numpy as np

from minivit.gradcheck import check_vjp


def checker(cotangent=None, step=1e-5, rtol=1e-6, atol=0.0):
    """Entry by entry, unlike the library: the whole numerical gradient beside the pullback's."""

    def is_right(op, X):
        y, vjp = op(X)
        G = (cotangent or np.random.default_rng(1).standard_normal)(y.shape)
        (d,) = vjp(G)
        numerical = np.zeros(X.shape)
        for i in np.ndindex(X.shape):
            e = np.zeros(X.shape)
            e[i] = step
            numerical[i] = (G * (op(X + e)[0] - op(X - e)[0])).sum() / (2 * step)
        return bool(np.abs(d - numerical).max() <= atol + rtol * np.abs(numerical).max())

    return is_right


def along_directions(op, X):
    """Several directions, as the library does."""
    rng = np.random.default_rng(5)
    y, vjp = op(X)
    G = rng.uniform(0.25, 1, y.shape) * rng.choice([-1, 1], y.shape)
    (d,) = vjp(G)
    for _ in range(5):
        V = rng.uniform(0.25, 1, X.shape) * rng.choice([-1, 1], X.shape)
        up, down = ((G * op(X + h * V)[0]).sum() for h in (1e-5, -1e-5))
        noise = 1e-10 * (abs(up) + abs(down)) + 1e-9 * np.abs(d * V).sum()
        if abs((up - down) / 2e-5 - (d * V).sum()) > max(1e-6 * abs((d * V).sum()), noise):
            return False
    return True


def along_one_direction(op, X, rtol=1e-4, direction=None):
    """As many write it first: one normal direction, a tolerance that seems small."""
    rng = np.random.default_rng(0)
    y, vjp = op(X)
    G = rng.standard_normal(y.shape)
    V = rng.standard_normal(X.shape) if direction is None else direction(X.shape)
    (d,) = vjp(G)
    measured = (G * (op(X + 1e-5 * V)[0] - op(X - 1e-5 * V)[0])).sum() / 2e-5
    return abs(measured - (d * V).sum()) <= rtol * max(abs(measured), abs((d * V).sum()))


def as_the_library_says(op, X):
    try:
        return check_vjp(op, X) is not None
    except Exception:
        return False


# number -> answers that must pass
RIGHT = {
    "0.1": [lambda x: math.nextafter(x, math.inf) - x, np.spacing],
    "0.2": [lambda f, f2, eps: (4 * eps * f / f2) ** 0.5],
    "0.3": [
        0.05,
        (3 * 2.0**-24 / 1e-3) ** (1 / 3),
        (3 * np.finfo(np.float32).eps * 1000) ** (1 / 3),
        2.0**-4,
        np.array([0.05]),
        (0.1,),
        Fraction(1, 16),
    ],
    "0.4": [checker(), along_directions, lambda op, X: int(along_directions(op, X))],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "0.1": [
        (lambda x: np.finfo(float).eps, "distance at 1"),
        (lambda x: np.finfo(float).eps * x, "grow evenly"),
        (lambda x: float(np.spacing(np.float32(x))), "float32"),
        (lambda x: 1.0, "differs"),
        (lambda x: 10.0 ** (math.floor(math.log10(x)) - 15), "differs"),
    ],
    "0.2": [
        (lambda f, f2, eps: np.cbrt(3 * eps * f / f2), "as for the central difference"),
        (lambda f, f2, eps: (eps * f / f2) ** 0.5, "factor is lost"),
        (lambda f, f2, eps: eps**0.5, "depends on both"),
        (lambda f, f2, eps: (2 * eps * f / f2) ** 0.5, "0.707107 times"),
    ],
    "0.3": [
        (1e-5, "not 2^-52"),
        (3e-4, "another root"),
        (1e-3, "another root"),
        (2.0**-23, "eps itself"),
        (5e-5, "bottom of the V"),
        (0.005, "as in the table"),
        (3.9e-3, "as in the table"),
        (7.8e-3, "as in the table"),
        (np.finfo(np.float32).eps ** (1 / 3), "as in the table"),
        (0.013, "times the smallest"),
        ("0.05", "should be one number, this is a str"),
        (0.6, "too large"),
        (1e-9, "1 + step is 1"),
        (-0.005, "between 0 and 1"),
    ],
    "0.4": [
        (checker(cotangent=np.ones), "Your cotangent is all ones"),
        (checker(cotangent=np.ones, atol=1e-10), "forgets its cotangent"),
        (checker(rtol=1e-1), "one part in a thousand"),
        (checker(atol=1e-6), "tolerance absolute"),
        (checker(step=1e-11), "rejects a right op"),
        (lambda op, X: True, "accepts a wrong op"),
        (lambda op, X: False, "rejects a right op"),
        (lambda op, X: 1.0, "True or False"),
        (along_one_direction, "a wrong entry in the gradient"),
        (lambda op, X: along_one_direction(op, X, 1e-6, np.ones), "All entries of your direction are alike"),
        (as_the_library_says, "The library did this (`check_vjp` was called)"),
    ],
}

# number -> changed line of a right answer (… for anything) -> why the answer stays right
EQUIVALENT = {
    "0.4": {
        "numerical = np.ones(X.shape)": "every entry is overwritten",
        "G = …": "another random cotangent tells as much",
        "V = …": "another direction tells as much",
        "rng = np.random.default_rng(…)": "another seed tells as much",
        "for _ in range(…):": "one direction is enough for entries that differ by a hundredth and a tolerance of 1e-6",
        "noise = …": "another allowance for rounding, still far below the smallest fault",
        "if abs((up - down) / 2e-05 - (d * V).sum()) >…": "another tolerance, still between the faults and rounding",
        "return bool(np.abs(d - numerical).max() <…": "another tolerance, still between the faults and rounding",
    },
}
