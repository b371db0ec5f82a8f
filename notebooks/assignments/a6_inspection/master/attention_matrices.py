"""q3: the attention matrices of a model."""

import numpy as np
from given import block, embed, layer_norm, patchify, softmax, split_heads


def of_block(params, i):
    """The parameters of block i, without the beginning of their names."""
    start = f"blocks.{i}."
    return {name[len(start) :]: value for name, value in params.items() if name.startswith(start)}


def first_tokens(params, config, images):
    """(B, h, w, C) -> (B, T, D): what the first block is given."""
    # BEGIN SOLUTION q3
    patches = patchify(images, config["patch_size"])
    weight, bias = params["patch_embed.projection.weight"], params["patch_embed.projection.bias"]
    if config["classifier"] == "token":
        return embed(patches, weight, bias, params["class_token"], params["position_embedding"])
    return patches @ weight + bias + params["position_embedding"]
    # END SOLUTION


def weights(x, params, config):
    """(B, T, D) -> (B, H, T, T): the attention matrices of the block with these parameters."""
    # BEGIN SOLUTION q3
    normed = layer_norm(x, params["norm1.scale"], params["norm1.bias"], config["norm_eps"])
    qkv = normed @ params["attention.qkv.weight"] + params["attention.qkv.bias"]
    q, k, _ = split_heads(qkv, config["heads"])
    return softmax(q @ np.swapaxes(k, 2, 3) / np.sqrt(q.shape[-1]))
    # END SOLUTION


def maps_of(params, config, images):
    """(L, B, H, T, T)."""
    # BEGIN SOLUTION q3
    x = first_tokens(params, config, images)
    maps = []
    for i in range(config["depth"]):
        layer = of_block(params, i)
        maps.append(weights(x, layer, config))
        x = block(x, layer, config)
    return np.stack(maps)
    # END SOLUTION
