"""What changed in the Transformer's block since 2020: positions, normalisation, MLP."""

import numpy as np

# Your answers to A3, or those of the staff.
from given import attention, merge_heads, split_heads


def angles_of(grid, width, base):
    """The angle of every token and pair of features, (rows * cols, width / 2)."""
    # BEGIN SOLUTION q1
    rows, cols = grid
    quarter = width // 4
    rates = base ** (-np.arange(quarter) / quarter)
    row, col = np.divmod(np.arange(rows * cols), cols)
    return np.concatenate([col[:, None] * rates, row[:, None] * rates], axis=1)
    # END SOLUTION


def turn(x, angles):
    """Every pair of neighbouring features of x (..., N, K) turned by its angle.   angles: (N, K / 2)."""
    # BEGIN SOLUTION q1
    a, b = x[..., 0::2], x[..., 1::2]
    cos, sin = np.cos(angles), np.sin(angles)
    y = np.empty_like(x)
    y[..., 0::2] = a * cos - b * sin
    y[..., 1::2] = a * sin + b * cos
    return y
    # END SOLUTION


def rope(x, grid, base):
    """Queries or keys turned by their places, see adapters.py."""
    # BEGIN SOLUTION q1
    return turn(x, angles_of(grid, x.shape[-1], base))
    # END SOLUTION


def rope_backward(x, grid, base, g):
    """The gradient of x where g is the gradient of rope(x, grid, base)."""
    # BEGIN SOLUTION q1
    return turn(g, -angles_of(grid, x.shape[-1], base))
    # END SOLUTION


def rms_norm(x, scale, eps):
    """Every row divided by its size, see adapters.py."""
    # BEGIN SOLUTION q2
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps) * scale
    # END SOLUTION


def rms_norm_backward(x, scale, eps, g):
    """(dx, dscale) of rms_norm."""
    # BEGIN SOLUTION q2
    inverse = 1 / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps)
    x_hat = x * inverse
    h = g * scale
    dx = (h - x_hat * (h * x_hat).mean(axis=-1, keepdims=True)) * inverse
    return dx, (g * x_hat).reshape(-1, x.shape[-1]).sum(axis=0)
    # END SOLUTION


def swiglu(x, params):
    """The MLP with a gate, see adapters.py."""
    # BEGIN SOLUTION q3
    u = x @ params["gate.weight"]
    return (u / (1 + np.exp(-u)) * (x @ params["up.weight"])) @ params["out.weight"]
    # END SOLUTION


def swiglu_backward(x, params, g):
    """(dx, gradients by name) of swiglu."""
    # BEGIN SOLUTION q3
    gate, up, out = (params[f"{name}.weight"] for name in ("gate", "up", "out"))
    u, value = x @ gate, x @ up
    sigma = 1 / (1 + np.exp(-u))
    opened = u * sigma
    dh = g @ out.T
    du = dh * value * (sigma + opened * (1 - sigma))
    dvalue = dh * opened
    rows = lambda array: array.reshape(-1, array.shape[-1])
    grads = {
        "gate.weight": rows(x).T @ rows(du),
        "up.weight": rows(x).T @ rows(dvalue),
        "out.weight": rows(opened * value).T @ rows(g),
    }
    return du @ gate.T + dvalue @ up.T, grads
    # END SOLUTION


def block_modern(x, params, config, grid):
    """The block, see adapters.py."""
    # BEGIN SOLUTION q4
    eps, heads = config["norm_eps"], config["heads"]
    front = x.shape[1] - grid[0] * grid[1]

    def turned(rows):
        return np.concatenate([rows[:, :, :front], rope(rows[:, :, front:], grid, config["rope_base"])], axis=2)

    normed = rms_norm(x, params["norm1.scale"], eps)
    q, k, v = split_heads(normed @ params["attention.qkv.weight"] + params["attention.qkv.bias"], heads)
    mixed = merge_heads(attention(turned(q), turned(k), v, None))
    x = x + mixed @ params["attention.out.weight"] + params["attention.out.bias"]
    mlp = {name[4:]: value for name, value in params.items() if name.startswith("mlp.")}
    return x + swiglu(rms_norm(x, params["norm2.scale"], eps), mlp)
    # END SOLUTION
