"""The visible checks: small cases. Some mistakes pass them; the hidden checks draw others."""

import numpy as np


def q1_v_first_place(t):
    """The token in the first row and column is not turned."""
    x = t.rng.normal(size=(1, 1, 4, 4))
    t.close(np.asarray(t.call("rope", x, (2, 2), 100.0))[:, :, 0], x[:, :, 0], what="the first token")


def q1_v_lengths(t):
    """A rotation keeps lengths."""
    x = t.rng.normal(size=(2, 1, 4, 8))
    result = np.asarray(t.call("rope", x, (2, 2), 10.0))
    t.close((result**2).sum(axis=-1), (x**2).sum(axis=-1), what="the squared lengths of the tokens")


def q1_v_columns(t):
    """One row of three tokens: only the first half of the features turns."""
    t.agree("rope", t.rng.normal(size=(1, 1, 3, 4)), (1, 3), 100.0)


def q2_v_unit_scale(t):
    """With scale 1 and hardly any epsilon the mean square of every row is 1."""
    result = np.asarray(t.call("rms_norm", t.rng.normal(size=(3, 5)), np.ones(5), 1e-15))
    t.close((result**2).mean(axis=-1), np.ones(3), what="the mean square")


def q2_v_shapes(t):
    """dx is like x, dscale like scale."""
    x, g = t.rng.normal(size=(2, 3, 4)), t.rng.normal(size=(2, 3, 4))
    dx, dscale = t.call("rms_norm_backward", x, np.ones(4), 1e-6, g)
    t.require(
        (np.shape(dx), np.shape(dscale)) == ((2, 3, 4), (4,)), f"the shapes are {np.shape(dx)}, {np.shape(dscale)}"
    )


def _mlp(rng, width, hidden):
    shapes = {"gate.weight": (width, hidden), "up.weight": (width, hidden), "out.weight": (hidden, width)}
    return {name: 0.7 * rng.normal(size=shape) for name, shape in shapes.items()}


def q3_v_closed(t):
    """A gate of zeros lets nothing through."""
    params = _mlp(t.rng, 3, 4)
    params["gate.weight"] = np.zeros((3, 4))
    t.close(t.call("swiglu", t.rng.normal(size=(2, 3)), params), np.zeros((2, 3)), what="the result")


def q3_v_small(t):
    """Two rows."""
    t.agree("swiglu", t.rng.normal(size=(2, 3)), _mlp(t.rng, 3, 4))


def q3_v_names(t):
    """One gradient for every parameter."""
    params = _mlp(t.rng, 3, 4)
    _, grads = t.call("swiglu_backward", t.rng.normal(size=(2, 3)), params, np.ones((2, 3)))
    t.require(sorted(grads) == sorted(params), f"the gradients are named {', '.join(sorted(grads))}")


def q4_v_branches_of_zero(t):
    """With both branches 0 the block returns what it got."""
    shapes = {"norm1.scale": (4,), "norm2.scale": (4,), "attention.qkv.weight": (4, 12), "attention.qkv.bias": (12,)}
    params = {name: t.rng.normal(size=shape) for name, shape in shapes.items()}
    params |= {"attention.out.weight": np.zeros((4, 4)), "attention.out.bias": np.zeros(4)}
    params |= {f"mlp.{name}": value for name, value in _mlp(t.rng, 4, 6).items()} | {"mlp.out.weight": np.zeros((6, 4))}
    x = t.rng.normal(size=(1, 4, 4))
    config = {"width": 4, "heads": 1, "norm_eps": 1e-6, "rope_base": 100.0}
    t.close(t.call("block_modern", x, params, config, (2, 2)), x, what="the block's result")
