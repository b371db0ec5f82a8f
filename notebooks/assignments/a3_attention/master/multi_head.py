"""Multi-head attention of a sequence to itself, and its backward pass (q4, q5)."""

import numpy as np
from attention_core import attend, attend_backward
from heads import merge, split


def forward(x, params, heads):
    """y (B, N, D)."""
    # BEGIN SOLUTION q4
    qkv = x @ params["qkv.weight"] + params["qkv.bias"]
    q, k, v = split(qkv, heads)
    return merge(attend(q, k, v, None)) @ params["out.weight"] + params["out.bias"]
    # END SOLUTION


def backward(x, params, heads, g):
    """dx (B, N, D) and the gradients of the parameters, by name."""
    # BEGIN SOLUTION q5
    qkv = x @ params["qkv.weight"] + params["qkv.bias"]
    q, k, v = split(qkv, heads)
    merged = merge(attend(q, k, v, None))
    dmerged = g @ params["out.weight"].T
    batch, tokens, width = x.shape
    dy = dmerged.reshape(batch, tokens, heads, width // heads).transpose(0, 2, 1, 3)
    dqkv = np.concatenate([merge(part) for part in attend_backward(q, k, v, None, dy)], axis=-1)
    gradients = {
        "qkv.weight": np.einsum("bni,bnj->ij", x, dqkv),
        "qkv.bias": dqkv.sum(axis=(0, 1)),
        "out.weight": np.einsum("bni,bnj->ij", merged, g),
        "out.bias": g.sum(axis=(0, 1)),
    }
    dx = dqkv @ params["qkv.weight"].T
    return dx, gradients
    # END SOLUTION
