"""The whole Vision Transformer: from images to logits, and from the loss back to every parameter."""

import encoder_block
import numpy as np
from encoder_block import named, normed, normed_backward, part
from given import cross_entropy, patchify


def logits(params, config, images):
    """(B, K)."""
    # BEGIN SOLUTION q4
    _, states = _encode(params, config, images)
    return _features(normed(states[-1], params, "norm", config), config) @ params["head.weight"] + params["head.bias"]
    # END SOLUTION


def loss_and_gradients(params, config, images, labels):
    """(loss, dict of gradients)."""
    # BEGIN SOLUTION q5
    patches, states = _encode(params, config, images)
    encoded = normed(states[-1], params, "norm", config)
    features = _features(encoded, config)
    loss, g = cross_entropy(features @ params["head.weight"] + params["head.bias"], labels, 0.0)
    grads = {"head.weight": features.T @ g, "head.bias": g.sum(axis=0)}
    g = _features_backward(g @ params["head.weight"].T, encoded.shape, config)
    g, inner = normed_backward(states[-1], params, "norm", config, g)
    grads.update(named(inner, "norm."))
    for i in reversed(range(config["depth"])):
        g, inner = encoder_block.backward(states[i], part(params, f"blocks.{i}."), config, g)
        grads.update(named(inner, f"blocks.{i}."))
    grads.update(_embed_backward(patches, g, config))
    return loss, grads
    # END SOLUTION


def _encode(params, config, images):
    """The patches, and the tokens before every block and after the last: L + 1 arrays (B, T, D)."""
    # BEGIN SOLUTION q4
    patches = patchify(images, tuple(config["patch_size"]))
    states = [_embed(params, config, patches)]
    for i in range(config["depth"]):
        states.append(encoder_block.forward(states[-1], part(params, f"blocks.{i}."), config))
    return patches, states
    # END SOLUTION


def _embed(params, config, patches):
    """Eq. 1: (B, N, ph pw C) -> (B, T, D)."""
    # BEGIN SOLUTION q4
    tokens = patches @ params["patch_embed.projection.weight"] + params["patch_embed.projection.bias"]
    if config["classifier"] == "token":
        first = np.broadcast_to(params["class_token"], (len(tokens), 1, config["width"]))
        tokens = np.concatenate([first, tokens], axis=1)
    return tokens + params["position_embedding"]
    # END SOLUTION


def _embed_backward(patches, g, config):
    """Gradients of what `_embed` adds to the patches.   g: (B, T, D)."""
    # BEGIN SOLUTION q5
    grads = {"position_embedding": g.sum(axis=0, keepdims=True)}
    if config["classifier"] == "token":
        grads["class_token"] = g[:, :1].sum(axis=0, keepdims=True)
        g = g[:, 1:]
    grads["patch_embed.projection.weight"] = np.einsum("bnp,bnd->pd", patches, g)
    grads["patch_embed.projection.bias"] = g.sum(axis=(0, 1))
    return grads
    # END SOLUTION


def _features(encoded, config):
    """What the head reads: (B, T, D) -> (B, D)."""
    # BEGIN SOLUTION q4
    return encoded[:, 0] if config["classifier"] == "token" else encoded.mean(axis=1)
    # END SOLUTION


def _features_backward(g, shape, config):
    """The gradient of all tokens.   g: (B, D), of what the head reads; shape: (B, T, D)."""
    # BEGIN SOLUTION q5
    whole = np.zeros(shape)
    if config["classifier"] == "token":
        whole[:, 0] = g
    else:
        whole += g[:, None] / shape[1]
    return whole
    # END SOLUTION
