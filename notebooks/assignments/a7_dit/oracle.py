"""The reference: the block in minivit's Tensors, its gradients by the backward pass; times and noise in plain sums."""

import math

import numpy as np

from minivit import Tensor, grad
from minivit import functional as F


def timestep_embedding(t, width):
    half = width // 2
    rates = [math.exp(-math.log(10000) * i / half) for i in range(half)]
    return np.array([[math.cos(x * r) for r in rates] + [math.sin(x * r) for r in rates] for x in t])


def add_noise(x0, t, noise, alpha_bar):
    rows = [math.sqrt(alpha_bar[k]) * x + math.sqrt(1 - alpha_bar[k]) * n for x, k, n in zip(x0, t, noise)]
    return np.array(rows)


def _block(x, c, p, config):
    width, heads = x.shape[-1], config["heads"]
    six = F.silu(c) @ p["ada.weight"] + p["ada.bias"]
    shift1, scale1, gate1, shift2, scale2, gate2 = (six[:, None, k * width : (k + 1) * width] for k in range(6))

    def modulated(y, scale, shift):
        return F.layer_norm(y, np.ones(width), np.zeros(width), eps=config["norm_eps"]) * (scale + 1) + shift

    qkv = modulated(x, scale1, shift1) @ p["attention.qkv.weight"] + p["attention.qkv.bias"]
    x = x + gate1 * (F.attention(qkv, heads=heads) @ p["attention.out.weight"] + p["attention.out.bias"])
    hidden = F.gelu(modulated(x, scale2, shift2) @ p["mlp.hidden.weight"] + p["mlp.hidden.bias"], config["gelu"])
    return x + gate2 * (hidden @ p["mlp.out.weight"] + p["mlp.out.bias"])


def _leaves(x, c, params):
    leaf = lambda value: Tensor(value.copy(), requires_grad=True)
    return leaf(x), leaf(c), {name: leaf(value) for name, value in params.items()}


def dit_block(x, c, params, config):
    return _block(*_leaves(x, c, params), config).data


def dit_block_backward(x, c, params, config, g):
    x, c, leaves = _leaves(x, c, params)
    y = _block(x, c, leaves, config)
    dx, dc, *rest = (np.array(d) for d in grad(y, [x, c, *leaves.values()], g))
    return dx, dc, dict(zip(leaves, rest))


def denoise_step(x_t, predicted_noise, t, betas, noise):
    alphas = [1 - float(b) for b in betas]
    beta, alpha, alpha_bar = float(betas[t]), alphas[t], math.prod(alphas[: t + 1])
    mean = (x_t - beta * predicted_noise / math.sqrt(1 - alpha_bar)) / math.sqrt(alpha)
    return mean if t == 0 else mean + math.sqrt(beta) * noise
