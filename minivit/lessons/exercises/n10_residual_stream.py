"""Exercises of notebook 10, the residual stream."""

from functools import partial

import numpy as np

from minivit import ops
from minivit.lessons.exercise import Exercise
from minivit.lessons.judges import choice, function_like, number

_NORM = ("layer_norm", "layer_norm.<locals>.vjp")  # what the library may do in 10.3; it is derived in 05


def _parallel(z, V, W, dz_out, *, eps=1e-6, stream=1, linear=1, curved=1, slope=True):
    """The backward pass of z + u V + tanh(u W), u = LN(z); the factors leave out a way."""
    u, norm_vjp = ops.layer_norm(z, np.ones(z.shape[1]), np.zeros(z.shape[1]), eps)
    t = np.tanh(u @ W)
    dx = dz_out * (1 - t**2) if slope else dz_out
    du = linear * (dz_out @ V.T) + curved * (dx @ W.T)
    return stream * dz_out + norm_vjp(du)[0], u.T @ dz_out, u.T @ dx


def _parallel_without_norm(z, V, W, dz_out):
    u, _ = ops.layer_norm(z, np.ones(z.shape[1]), np.zeros(z.shape[1]))
    dx = dz_out * (1 - np.tanh(u @ W) ** 2)
    return dz_out + dz_out @ V.T + dx @ W.T, u.T @ dz_out, u.T @ dx


def _parallel_weights_of_z(z, V, W, dz_out):
    dz, _, _ = _parallel(z, V, W, dz_out)
    u, _ = ops.layer_norm(z, np.ones(z.shape[1]), np.zeros(z.shape[1]))
    dx = dz_out * (1 - np.tanh(u @ W) ** 2)
    return dz, z.T @ dz_out, z.T @ dx


def _parallel_one_after_the_other(z, V, W, dz_out):
    """The gradient of an ordinary block, whose second branch reads what the first has added to."""
    ones, zeros = np.ones(z.shape[1]), np.zeros(z.shape[1])
    u, first_vjp = ops.layer_norm(z, ones, zeros)
    middle = z + u @ V
    v, second_vjp = ops.layer_norm(middle, ones, zeros)
    dx = dz_out * (1 - np.tanh(v @ W) ** 2)
    dmiddle = dz_out + second_vjp(dx @ W.T)[0]
    return dmiddle + first_vjp(dmiddle @ V.T)[0], u.T @ dmiddle, v.T @ dx


def _parallel_cases(rng: np.random.Generator) -> list[tuple]:
    return [
        (rng.standard_normal((n, d)), *rng.standard_normal((2, d, d)), rng.standard_normal((n, d)))
        for n, d in ((3, 5), (6, 4))
    ]


def _reversible(y1, y2, V, W, dy1, dy2, *, total=True, inverse=True, slope=True):
    """Inputs and gradients of y1 = x1 + tanh(x2 V), y2 = x2 + tanh(y1 W).

    total: the second branch's gradient joins that of y1 before the first is pulled back.   inverse: x2 is subtracted
    before the first branch is computed.   slope: that of tanh is there.
    """
    g = np.tanh(y1 @ W)
    x2 = y2 - g
    f = np.tanh((x2 if inverse else y2) @ V)
    x1 = y1 - f
    dc = dy2 * (1 - g**2) if slope else dy2
    dx1 = dy1 + dc @ W.T
    da = (dx1 if total else dy1) * (1 - f**2 if slope else 1)
    return x1, x2, dx1, dy2 + da @ V.T, x2.T @ da, y1.T @ dc


def _reversible_swapped(y1, y2, V, W, dy1, dy2):
    """V and W in each other's place."""
    x1, x2, dx1, dx2, dW, dV = _reversible(y1, y2, W, V, dy1, dy2)
    return x1, x2, dx1, dx2, dV, dW


def _reversible_stream_missing(y1, y2, V, W, dy1, dy2):
    x1, x2, dx1, dx2, dV, dW = _reversible(y1, y2, V, W, dy1, dy2)
    return x1, x2, dx1, dx2 - dy2, dV, dW


def _reversible_weights_of_outputs(y1, y2, V, W, dy1, dy2):
    x1, x2, dx1, dx2, _, dW = _reversible(y1, y2, V, W, dy1, dy2)
    return x1, x2, dx1, dx2, y2.T @ (dx1 * (1 - np.tanh(x2 @ V) ** 2)), dW


def _reversible_cases(rng: np.random.Generator) -> list[tuple]:
    cases = []
    for n, d in ((3, 4), (5, 2)):
        y1, y2, dy1, dy2 = rng.standard_normal((4, n, d))
        cases.append((y1, y2, *rng.standard_normal((2, d, d)), dy1, dy2))
    return cases


EXERCISES = [
    Exercise(
        "10.1",
        choice(
            "hidden",
            {
                "out": "The gradient of the second matrix is a^T df, a the result of the GELU. Is one of them zero?",
                "both": "The gradient of the second matrix is a^T df. The matrix itself does not occur in it.",
                "neither": "What reaches the first matrix has passed the second: da = df W_out^T.",
            },
        ),
        "The stream still carries the gradient past every branch, so every second matrix learns at once, and from the "
        "second step on the first ones do too. In a chain without a stream nothing below would learn.",
    ),
    Exercise(
        "10.2",
        number(
            276,
            {
                66: "A block has two branches: there are 24, not 12.",
                552: "The order of the two branches is given; each pair counts once.",
                576: "The two branches are different ones, and each pair counts once.",
                300: "The two branches are different ones: no branch is passed twice.",
                132: "A block has two branches, and each pair counts once.",
                24: "So many paths pass through exactly one branch.",
                2**24: "So many paths there are in all.",
                2**12: "A block has two branches, and not all paths are asked for.",
                2: "Exactly two of the 24 branches, but any two.",
            },
        ),
        "24 over 2. Of the 16,777,216 paths one passes through no branch, 24 through one, and most through about 12.",
    ),
    Exercise(
        "10.3",
        function_like(
            _parallel,
            _parallel_cases,
            {
                "The way along the stream is missing: z goes into the sum directly as well.": partial(
                    _parallel, stream=0
                ),
                "Of the two branches only f = u V gives u a gradient here; g does too, and the two add up.": partial(
                    _parallel, curved=0
                ),
                "Of the two branches only g = tanh(u W) gives u a gradient here; f does too, and the two add up.": (
                    partial(_parallel, linear=0)
                ),
                "The slope of tanh is missing: 1 - tanh^2.": partial(_parallel, slope=False),
                "The LayerNorm is missing in dz: the gradient of u must be pulled back through it.": (
                    _parallel_without_norm
                ),
                "The branches read the normalised tokens: dV and dW contain u, not z.": _parallel_weights_of_z,
                "This is an ordinary block, one branch after the other. Here both read the same u.": (
                    _parallel_one_after_the_other
                ),
                "The epsilon 1e-6 in LN is missing.": partial(_parallel, eps=0.0),
                "The epsilon is 1e-6 here, not 1e-5.": partial(_parallel, eps=1e-5),
                "The epsilon is 1e-6 here, not 1e-8.": partial(_parallel, eps=1e-8),
                "The epsilon is 1e-6 here, not 1e-12.": partial(_parallel, eps=1e-12),
            },
            allowed=_NORM,
            results="dz dV dW",
        ),
        "One LayerNorm for two branches: their gradients meet at u and are pulled back through it once.",
    ),
    Exercise(
        "10.4",
        function_like(
            _reversible,
            _reversible_cases,
            {
                "y1 is read by the second branch too: that gradient must join dy1 before the first branch is pulled "
                "back.": partial(_reversible, total=False),
                "The first branch reads x2, not y2: subtract the second branch first.": partial(
                    _reversible, inverse=False
                ),
                "The slope of tanh is missing: 1 - tanh^2.": partial(_reversible, slope=False),
                "V and W are exchanged: V belongs to the branch that reads x2.": _reversible_swapped,
                "In dx2 the way along the stream is missing: y2 contains x2 directly.": _reversible_stream_missing,
                "The first branch read x2, so dV contains x2, not y2.": _reversible_weights_of_outputs,
            },
            allowed=(),
            results="x1 x2 dx1 dx2 dV dW",
        ),
        "Nothing was stored: a stack of such blocks needs the memory of one, and computes each branch once more.",
    ),
]
