"""The pieces of a diffusion Transformer: time, noise, a block that is steered by both, and one step back."""

import numpy as np

# Your answers to A2, A3 and A4, or those of the staff.
from given import layer_norm, layer_norm_backward, mlp, mlp_backward
from given import multi_head_attention as attend
from given import multi_head_attention_backward as attend_backward


def timestep_embedding(t, width):
    """Times as vectors, see adapters.py.   t: (B,) -> (B, width)."""
    # BEGIN SOLUTION q1
    half = width // 2
    angles = np.asarray(t, float)[:, None] * 10000.0 ** (-np.arange(half) / half)
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
    # END SOLUTION


def add_noise(x0, t, noise, alpha_bar):
    """Images at their times, see adapters.py.   x0, noise: (B, ...); t: (B,); alpha_bar: (T,)."""
    # BEGIN SOLUTION q2
    kept = alpha_bar[t].reshape(-1, *[1] * (x0.ndim - 1))
    return np.sqrt(kept) * x0 + np.sqrt(1 - kept) * noise
    # END SOLUTION


def parts(params, prefix):
    """The parameters whose names begin with prefix, without it."""
    return {name[len(prefix) :]: value for name, value in params.items() if name.startswith(prefix)}


def forward(x, c, params, config):
    """The block's result, and what its backward pass needs."""
    # BEGIN SOLUTION q3
    eps, width = config["norm_eps"], x.shape[-1]
    ones, zeros = np.ones(width), np.zeros(width)
    s = c / (1 + np.exp(-c))
    six = np.split((s @ params["ada.weight"] + params["ada.bias"])[:, None], 6, axis=-1)
    shift1, scale1, gate1, shift2, scale2, gate2 = six
    n1 = layer_norm(x, ones, zeros, eps)
    h1 = n1 * (1 + scale1) + shift1
    a = attend(h1, parts(params, "attention."), config["heads"])
    x1 = x + gate1 * a
    n2 = layer_norm(x1, ones, zeros, eps)
    h2 = n2 * (1 + scale2) + shift2
    m = mlp(h2, parts(params, "mlp."), config["gelu"])
    return x1 + gate2 * m, (s, six, n1, h1, a, x1, n2, h2, m)
    # END SOLUTION


def dit_block(x, c, params, config):
    """The block, see adapters.py."""
    # BEGIN SOLUTION q3
    return forward(x, c, params, config)[0]
    # END SOLUTION


def dit_block_backward(x, c, params, config, g):
    """The gradients of the block, see adapters.py."""
    # BEGIN SOLUTION q3
    eps, width = config["norm_eps"], x.shape[-1]
    ones, zeros = np.ones(width), np.zeros(width)
    _, (s, (_, scale1, gate1, _, scale2, gate2), n1, h1, a, x1, n2, h2, m) = forward(x, c, params, config)
    dgate2 = (g * m).sum(axis=1)
    dh2, mlp_grads = mlp_backward(h2, parts(params, "mlp."), config["gelu"], g * gate2)
    dx1 = g + layer_norm_backward(x1, ones, zeros, eps, dh2 * (1 + scale2))[0]
    dgate1 = (dx1 * a).sum(axis=1)
    dh1, attention_grads = attend_backward(h1, parts(params, "attention."), config["heads"], dx1 * gate1)
    dx = dx1 + layer_norm_backward(x, ones, zeros, eps, dh1 * (1 + scale1))[0]
    dscale1, dscale2 = (dh1 * n1).sum(axis=1), (dh2 * n2).sum(axis=1)
    dsix = np.concatenate([dh1.sum(axis=1), dscale1, dgate1, dh2.sum(axis=1), dscale2, dgate2], axis=1)
    sigma = 1 / (1 + np.exp(-c))
    dc = dsix @ params["ada.weight"].T * (sigma + c * sigma * (1 - sigma))
    grads = {"ada.weight": s.T @ dsix, "ada.bias": dsix.sum(axis=0)}
    grads |= {f"attention.{name}": value for name, value in attention_grads.items()}
    grads |= {f"mlp.{name}": value for name, value in mlp_grads.items()}
    return dx, dc, grads
    # END SOLUTION


def denoise_step(x_t, predicted_noise, t, betas, noise):
    """One step back, see adapters.py.   t: a whole number; betas: (T,); the others like x_t."""
    # BEGIN SOLUTION q4
    alpha = 1 - betas[t]
    alpha_bar = np.prod(1 - betas[: t + 1])
    mean = (x_t - betas[t] / np.sqrt(1 - alpha_bar) * predicted_noise) / np.sqrt(alpha)
    return mean + np.sqrt(betas[t]) * noise if t > 0 else mean
    # END SOLUTION
