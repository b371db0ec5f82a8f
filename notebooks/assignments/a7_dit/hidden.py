"""The hidden checks of the variant DiT."""

import numpy as np


def q1_h_values(t):
    """Times of every size, fractions too; widths 2 to 12."""
    for width in (2, 8, 2 * int(t.rng.integers(2, 7))):
        times = np.concatenate([t.rng.uniform(0, 999, 3), t.rng.integers(1, 1000, 2).astype(float)])
        t.agree("timestep_embedding", times, width, what="the embedding")


def q1_h_square(t):
    """As many times as features."""
    t.agree("timestep_embedding", t.rng.uniform(1, 900, 6), 6, what="the embedding")


def _schedule(rng, steps):
    betas = rng.uniform(0.02, 0.3, steps)
    return betas, np.cumprod(1 - betas)


def q2_h_values(t):
    """Images of one to three axes, each at its own time, the first and the last step among them."""
    for shape in ((3, 4, 5, 2), (4, 4), (2, 3, 3), (5,)):
        steps = int(t.rng.integers(4, 9))
        times = t.rng.integers(0, steps, shape[0])
        times[:2] = steps - 1, 0
        x0, noise = t.rng.normal(size=shape), t.rng.normal(size=shape)
        t.agree("add_noise", x0, times, noise, _schedule(t.rng, steps)[1], what="x_t")


def q2_h_square(t):
    """As many rows and columns as images: a time on the wrong axis raises no error."""
    x0, noise = t.rng.normal(size=(3, 3, 3)), t.rng.normal(size=(3, 3, 3))
    t.agree("add_noise", x0, np.array([0, 4, 2]), noise, _schedule(t.rng, 5)[1], what="x_t")


def _block(rng, width, hidden, heads, gelu, eps):
    shapes = {
        "mlp.out.weight": (hidden, width),
        "ada.bias": (6 * width,),
        "attention.qkv.weight": (width, 3 * width),
        "attention.out.bias": (width,),
        "mlp.hidden.weight": (width, hidden),
        "attention.qkv.bias": (3 * width,),
        "ada.weight": (width, 6 * width),
        "mlp.hidden.bias": (hidden,),
        "attention.out.weight": (width, width),
        "mlp.out.bias": (width,),
    }
    params = {name: 0.6 * rng.normal(size=shape) for name, shape in shapes.items()}
    return params, {"width": width, "heads": heads, "gelu": gelu, "norm_eps": eps}


def _cases(rng):
    """x, c, params, config: several heads, both forms of GELU, a large epsilon, one token, all lengths alike."""
    for batch, tokens, width, hidden, heads, gelu, eps in (
        (2, 5, 6, 7, 3, "tanh", 1e-6),
        (3, 1, 4, 9, 2, "erf", 1e-2),
        (4, 4, 4, 4, 1, "tanh", 1e-6),
        (1, 3, 8, 5, 2, "erf", 1e-6),
    ):
        x, c = rng.normal(size=(batch, tokens, width)), rng.normal(size=(batch, width))
        yield x, c, *_block(rng, width, hidden, heads, gelu, eps)


def q3_h_block(t):
    """The block's result."""
    for case in _cases(t.rng):
        t.agree("dit_block", *case, what="the block's result")


def _gradient(t, pick, what):
    for case in _cases(t.rng):
        g = t.rng.normal(size=case[0].shape)
        got, want = t.call("dit_block_backward", *case, g), t.ref("dit_block_backward", *case, g)
        t.close(pick(got), pick(want), atol=1e-12, what=what)


def q3_h_dx(t):
    """The gradient of the tokens."""
    _gradient(t, lambda result: result[0], "dx")


def q3_h_dc(t):
    """The gradient of the condition."""
    _gradient(t, lambda result: result[1], "dc")


def q3_h_dada(t):
    """The gradients of the layer that steers."""
    _gradient(t, lambda result: {k: v for k, v in result[2].items() if k.startswith("ada")}, "the gradients")


def q3_h_dparams(t):
    """The gradients of attention and MLP."""
    _gradient(t, lambda result: {k: v for k, v in result[2].items() if not k.startswith("ada")}, "the gradients")


def q3_h_zero_gates(t):
    """adaLN-zero: the block is the identity, yet the gates learn and nothing behind them does."""
    x, c, params, config = next(_cases(t.rng))
    params |= {"ada.weight": np.zeros_like(params["ada.weight"]), "ada.bias": np.zeros_like(params["ada.bias"])}
    g = t.rng.normal(size=x.shape)
    t.close(t.call("dit_block", x, c, params, config), x, what="the block's result")
    got, want = (
        t.call("dit_block_backward", x, c, params, config, g),
        t.ref("dit_block_backward", x, c, params, config, g),
    )
    t.close(got, want, atol=1e-12, what="(dx, dc, gradients)")


def q4_h_values(t):
    """The first, the last and a middle step of a schedule."""
    betas, _ = _schedule(t.rng, 7)
    for step in (1, 3, 6, 0):
        x, predicted, noise = t.rng.normal(size=(3, 2, 4, 3))
        t.agree("denoise_step", x, predicted, step, betas, noise, what=f"the step from t = {step}")


def q4_h_exact_noise(t):
    """The noise that was added, and one step in all: the image comes back."""
    beta = np.array([float(t.rng.uniform(0.1, 0.6))])
    x0, noise = t.rng.normal(size=(2, 3, 2))
    noisy = np.sqrt(1 - beta) * x0 + np.sqrt(beta) * noise
    t.close(t.call("denoise_step", noisy, noise, 0, beta, t.rng.normal(size=(3, 2))), x0, what="the image")
