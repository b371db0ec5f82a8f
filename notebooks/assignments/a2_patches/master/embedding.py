"""q2: patches as tokens, with a class token before them and positions added (Eq. 1), and the gradients."""

import numpy as np


def embed_all(patches, weight, bias, class_token, positions):
    """(B, N, P) -> (B, 1+N, D)."""
    # BEGIN SOLUTION q2
    tokens = patches @ weight + bias
    first = np.broadcast_to(class_token, (len(patches), 1, len(bias)))
    return np.concatenate([first, tokens], axis=1) + positions
    # END SOLUTION


def embed_all_backward(patches, weight, bias, class_token, positions, g):
    """The gradients of the four parameters under the cotangent g (B, 1+N, D)."""
    # BEGIN SOLUTION q2
    of_tokens = g[:, 1:]
    return {
        "weight": np.einsum("bnp,bnd->pd", patches, of_tokens),
        "bias": of_tokens.sum(axis=(0, 1)),
        "class_token": g[:, :1].sum(axis=0, keepdims=True),
        "positions": g.sum(axis=0, keepdims=True),
    }
    # END SOLUTION
