"""Exercises of notebook 10b, depth and normalisation."""

from functools import partial

import numpy as np

from minivit import ops
from minivit.lessons.exercise import Exercise
from minivit.lessons.judges import function_like, number

_NORM = ("layer_norm", "layer_norm.<locals>.vjp")  # what the library may do in 10b.3 and 10b.4; it is derived in 05


def _norm(s: np.ndarray, eps: float = 1e-6):
    """LayerNorm with scale 1 and bias 0, and its pullback.   s: (N, D)."""
    y, vjp = ops.layer_norm(s, np.ones(s.shape[-1]), np.zeros(s.shape[-1]), eps)
    return y, lambda dy: vjp(dy)[0]


def _layer_scale_cases(rng: np.random.Generator) -> list[tuple]:
    shapes = ((2, 3, 5), (4, 1, 3))
    return [(rng.standard_normal(s), rng.standard_normal(s[-1]), rng.standard_normal(s)) for s in shapes]


def _res_post_norm(z, W, dz_out, eps=1e-6):
    _, norm_vjp = _norm(z @ W, eps)
    db = norm_vjp(dz_out)
    return dz_out + db @ W.T, z.T @ db


def _branch_alone(z, W, dz_out):
    dz, dW = _res_post_norm(z, W, dz_out)
    return dz - dz_out, dW


def _stream_alone(z, W, dz_out):
    return dz_out, _res_post_norm(z, W, dz_out)[1]


def _without_norm(z, W, dz_out):
    return dz_out + dz_out @ W.T, z.T @ dz_out


def _as_post_ln(z, W, dz_out):
    _, norm_vjp = _norm(z + z @ W)
    ds = norm_vjp(dz_out)
    return ds + ds @ W.T, z.T @ ds


def _stream_through_the_norm(z, W, dz_out):
    db = _norm(z @ W)[1](dz_out)
    return db + db @ W.T, z.T @ db


def _as_pre_ln(z, W, dz_out):
    u, norm_vjp = _norm(z)
    return dz_out + norm_vjp(dz_out @ W.T), u.T @ dz_out


def _matrix_cases(rng: np.random.Generator) -> list[tuple]:
    return [
        (rng.standard_normal((n, d)), rng.standard_normal((d, d)), rng.standard_normal((n, d)))
        for n, d in ((3, 5), (6, 4))
    ]


def _deep_norm(z0, W, alpha, dz_out, *, alpha_back=None, forward_order=False, alpha_on="stream", eps=1e-6):
    stream, norms = [z0], []
    for matrix in W:
        z, branch = stream[-1], stream[-1] @ matrix
        out, vjp = _norm(alpha * z + branch if alpha_on == "stream" else z + alpha * branch, eps)
        stream.append(out)
        norms.append(vjp)
    back = alpha if alpha_back is None else alpha_back
    dz, dW = dz_out, np.zeros_like(W)
    for i in range(len(W)) if forward_order else reversed(range(len(W))):
        ds = norms[i](dz)
        if alpha_on == "stream":
            dz, dW[i] = back * ds + ds @ W[i].T, stream[i].T @ ds
        else:
            dz, dW[i] = ds + back * (ds @ W[i].T), back * (stream[i].T @ ds)
    return dz, dW


def _deep_norm_cases(rng: np.random.Generator) -> list[tuple]:
    return [
        (rng.standard_normal((n, d)), rng.standard_normal((depth, d, d)), alpha, rng.standard_normal((n, d)))
        for n, d, depth, alpha in ((3, 5, 2, 1.4), (6, 4, 3, 2.0))
    ]


EXERCISES = [
    Exercise(
        "10b.1",
        number(
            25,
            {
                13: "A block has two branches, attention and MLP.",
                24: "The stream begins with z_0, whose variance of 1 counts too.",
                5: "That is the standard deviation. Asked for is the variance.",
                12: "A block has two branches, and z_0 counts too.",
                2**12: "The branches are added to the stream, they do not double it: each reads the normalised stream.",
                2**24: "The branches are added to the stream, they do not double it: each reads the normalised stream.",
                1: "So it is in post-LN. In pre-LN the stream itself is never normalised.",
            },
        ),
        "1 + 2L: the deviation grows like the square root of the depth, and each new branch weighs less in the sum.",
    ),
    Exercise(
        "10b.2",
        function_like(
            lambda f, gamma, dz_out: (dz_out, (dz_out * f).sum(axis=(0, 1)), dz_out * gamma),
            _layer_scale_cases,
            {
                "gamma is shared by all images and tokens, so its gradient is summed over both: shape (D,).": (
                    lambda f, gamma, dz_out: (dz_out, dz_out * f, dz_out * gamma)
                ),
                "dgamma is a sum over images and tokens, not a mean.": (
                    lambda f, gamma, dz_out: (dz_out, (dz_out * f).mean(axis=(0, 1)), dz_out * gamma)
                ),
                "df is multiplied by gamma: a change of f reaches the stream gamma times.": (
                    lambda f, gamma, dz_out: (dz_out, (dz_out * f).sum(axis=(0, 1)), dz_out)
                ),
                "gamma stands on the branch only. Along the stream the gradient is not multiplied.": (
                    lambda f, gamma, dz_out: (dz_out * gamma, (dz_out * f).sum(axis=(0, 1)), dz_out * gamma)
                ),
                "Along the stream only: dz = dz_out. What comes through the branch is df.": (
                    lambda f, gamma, dz_out: (dz_out * (1 + gamma), (dz_out * f).sum(axis=(0, 1)), dz_out * gamma)
                ),
                "dgamma does not contain gamma: the derivative of gamma f with respect to gamma is f.": (
                    lambda f, gamma, dz_out: (dz_out, (dz_out * f * gamma).sum(axis=(0, 1)), dz_out * gamma)
                ),
            },
            allowed=(),
            results="dz dgamma df",
        ),
        "With a small gamma the block is nearly the identity, forwards and backwards, whatever the branch does.",
    ),
    Exercise(
        "10b.3",
        function_like(
            _res_post_norm,
            _matrix_cases,
            {
                "The way through the branch is missing: z is used twice, in the sum and in z W.": _stream_alone,
                "The way along the stream is missing: z goes into the sum directly as well.": _branch_alone,
                "The LayerNorm is missing: it lies on the branch, between the sum and z W.": _without_norm,
                "The LayerNorm lies on the branch alone. The gradient along the stream does not pass it.": (
                    _stream_through_the_norm
                ),
                "This is the gradient of a post-LN layer, LN(z + z W).": _as_post_ln,
                "This is the gradient of a pre-LN layer, z + LN(z) W.": _as_pre_ln,
                "The epsilon 1e-6 in LN is missing.": partial(_res_post_norm, eps=0.0),
                "The epsilon is 1e-6 here, not 1e-5.": partial(_res_post_norm, eps=1e-5),
                "The epsilon is 1e-6 here, not 1e-8.": partial(_res_post_norm, eps=1e-8),
                "The epsilon is 1e-6 here, not 1e-12.": partial(_res_post_norm, eps=1e-12),
            },
            allowed=_NORM,
            results="dz dW",
        ),
        "Nothing lies on the stream, as in pre-LN, and each branch adds the same variance, whatever the size of W.",
    ),
    Exercise(
        "10b.4",
        function_like(
            _deep_norm,
            _deep_norm_cases,
            {
                "alpha is missing in the backward pass: the stream was multiplied by it, and so is its gradient.": (
                    lambda *args: _deep_norm(*args, alpha_back=1.0)
                ),
                "The layers are pulled back in the order of the forward pass; begin with the last.": (
                    lambda *args: _deep_norm(*args, forward_order=True)
                ),
                "alpha multiplies the stream, not the branch.": lambda *args: _deep_norm(*args, alpha_on="branch"),
                "alpha is an argument: use the given value, not one computed from the number of layers.": (
                    lambda z0, W, alpha, dz_out: _deep_norm(z0, W, (2 * len(W)) ** 0.25, dz_out)
                ),
                "The epsilon 1e-6 in LN is missing.": partial(_deep_norm, eps=0.0),
                "The epsilon is 1e-6 here, not 1e-5.": partial(_deep_norm, eps=1e-5),
                "The epsilon is 1e-6 here, not 1e-8.": partial(_deep_norm, eps=1e-8),
                "The epsilon is 1e-6 here, not 1e-12.": partial(_deep_norm, eps=1e-12),
                "alpha is missing altogether: this is plain post-LN.": (
                    lambda z0, W, alpha, dz_out: _deep_norm(z0, W, 1.0, dz_out)
                ),
            },
            allowed=_NORM,
            results="dz_0 dW",
        ),
        "alpha grows with the depth, so each branch changes the normalised stream less. LayerNorm takes the size of "
        "alpha out again, forwards and backwards.",
    ),
]
