"""The masked autoencoder: what is hidden, what is seen, where it goes, what is missing."""

import numpy as np

# Your answers to A2 and A4, or those of the staff.
from given import block, layer_norm, patchify


def random_mask(batch, n, ratio, seed):
    """Which patches are hidden, see adapters.py."""
    # BEGIN SOLUTION q1
    visible = int(n * (1 - ratio))
    order = np.random.default_rng(seed).random((batch, n)).argsort(axis=1)
    mask = np.ones((batch, n), bool)
    np.put_along_axis(mask, order[:, :visible], False, axis=1)
    return mask
    # END SOLUTION


def encode_visible(params, config, images, mask):
    """The tokens of the visible patches behind the encoder, see adapters.py."""
    # BEGIN SOLUTION q2
    patches = patchify(images, config["patch_size"])
    x = patches @ params["patch_embed.projection.weight"] + params["patch_embed.projection.bias"]
    positions = params["position_embedding"]
    x = x + positions[:, 1:]
    batch, _, width = x.shape
    x = x[~mask].reshape(batch, -1, width)
    token = np.broadcast_to(params["class_token"] + positions[:, :1], (batch, 1, width))
    x = np.concatenate([token, x], axis=1)
    for i in range(config["depth"]):
        prefix = f"blocks.{i}."
        x = block(x, {k[len(prefix) :]: v for k, v in params.items() if k.startswith(prefix)}, config)
    return layer_norm(x, params["norm.scale"], params["norm.bias"], config["norm_eps"])
    # END SOLUTION


def decoder_input(latent, mask, mask_token, positions):
    """Every token in its place, see adapters.py."""
    # BEGIN SOLUTION q3
    batch, patches = mask.shape
    tokens = np.repeat(np.repeat(mask_token, batch, axis=0), patches, axis=1)
    tokens[~mask] = latent[:, 1:].reshape(-1, latent.shape[-1])
    return np.concatenate([latent[:, :1], tokens], axis=1) + positions
    # END SOLUTION


def mae_loss(prediction, images, patch, mask, norm_pix):
    """(loss, gradient of the prediction), see adapters.py."""
    # BEGIN SOLUTION q4
    target = patchify(images, patch)
    if norm_pix:
        mean = target.mean(axis=-1, keepdims=True)
        variance = target.var(axis=-1, keepdims=True, ddof=1)
        target = (target - mean) / np.sqrt(variance + 1e-6)
    weights = mask / (mask.sum() * target.shape[-1])
    error = prediction - target
    return (weights[:, :, None] * error**2).sum(), 2 * weights[:, :, None] * error
    # END SOLUTION
