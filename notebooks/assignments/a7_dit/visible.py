"""The visible checks: small cases. Some mistakes pass them; the hidden checks draw others."""

import numpy as np


def block(rng, width=4, hidden=6, heads=2):
    """Parameters and config of a small block."""
    shapes = {
        "ada.weight": (width, 6 * width),
        "ada.bias": (6 * width,),
        "attention.qkv.weight": (width, 3 * width),
        "attention.qkv.bias": (3 * width,),
        "attention.out.weight": (width, width),
        "attention.out.bias": (width,),
        "mlp.hidden.weight": (width, hidden),
        "mlp.hidden.bias": (hidden,),
        "mlp.out.weight": (hidden, width),
        "mlp.out.bias": (width,),
    }
    params = {name: 0.5 * rng.normal(size=shape) for name, shape in shapes.items()}
    return params, {"width": width, "heads": heads, "gelu": "tanh", "norm_eps": 1e-6}


def q1_v_time_zero(t):
    """Time 0: all cosines are 1, all sines 0."""
    t.close(
        t.call("timestep_embedding", np.zeros(2), 6), np.tile([1.0, 1, 1, 0, 0, 0], (2, 1)), what="the embedding of 0"
    )


def q1_v_lengths(t):
    """Every vector has the same length, whatever the time."""
    result = np.asarray(t.call("timestep_embedding", np.array([0.0, 3.0, 999.0]), 8))
    t.require(result.shape == (3, 8), f"the shape is {result.shape}, it should be (3, 8)")
    t.close((result**2).sum(axis=1), np.full(3, 4.0), what="the squared length")


def q2_v_ends(t):
    """All of the image, or all of the noise."""
    x0, noise = t.rng.normal(size=(2, 3)), t.rng.normal(size=(2, 3))
    t.close(
        t.call("add_noise", x0, np.array([0, 1]), noise, np.array([1.0, 0.0])), np.stack([x0[0], noise[1]]), what="x_t"
    )


def q3_v_identity(t):
    """With ada.weight and ada.bias 0 the block returns what it got: adaLN-zero."""
    params, config = block(t.rng)
    params["ada.weight"], params["ada.bias"] = np.zeros((4, 24)), np.zeros(24)
    x = t.rng.normal(size=(2, 3, 4))
    t.close(t.call("dit_block", x, t.rng.normal(size=(2, 4)), params, config), x, what="the block's result")


def q3_v_names(t):
    """One gradient for every parameter, with its shape."""
    params, config = block(t.rng)
    x, c = t.rng.normal(size=(2, 3, 4)), t.rng.normal(size=(2, 4))
    dx, dc, grads = t.call("dit_block_backward", x, c, params, config, np.ones((2, 3, 4)))
    shapes = {name: np.shape(value) for name, value in grads.items()}
    t.require(
        shapes == {name: value.shape for name, value in params.items()}, f"the gradients have the shapes {shapes}"
    )
    t.require(
        (np.shape(dx), np.shape(dc)) == (x.shape, c.shape), f"dx and dc have the shapes {np.shape(dx)}, {np.shape(dc)}"
    )


def q4_v_one_step(t):
    """A schedule of one step: no noise is added at the end."""
    x, predicted = t.rng.normal(size=(2, 3)), t.rng.normal(size=(2, 3))
    t.agree("denoise_step", x, predicted, 0, np.array([0.2]), t.rng.normal(size=(2, 3)), what="the last step")
