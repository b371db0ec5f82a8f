"""Initial values, as the published code draws them."""

import math

import numpy as np

CUT_STD = 0.87962566103423978  # standard deviation of a standard normal cut at two sigma


def draw(config, seed):
    """All parameters by name."""
    # BEGIN SOLUTION q6
    rng = np.random.default_rng(seed)
    (h, w), (ph, pw) = config["image_size"], config["patch_size"]
    width, classes = config["width"], config["num_classes"]
    tokens = (h // ph) * (w // pw) + (config["classifier"] == "token")
    params = {"position_embedding": rng.normal(0, 0.02, (1, tokens, width))}
    if config["classifier"] == "token":
        params["class_token"] = np.zeros((1, 1, width))
    params["patch_embed.projection.weight"] = cut_normal(rng, ph * pw * config["channels"], width)
    params["patch_embed.projection.bias"] = np.zeros(width)
    for i in range(config["depth"]):
        params.update(_block(rng, f"blocks.{i}.", width, config["mlp_width"]))
    params.update({"norm.scale": np.ones(width), "norm.bias": np.zeros(width)})
    params.update({"head.weight": np.zeros((width, classes)), "head.bias": np.zeros(classes)})
    return params
    # END SOLUTION


def cut_normal(rng, fan_in, fan_out):
    """(fan_in, fan_out), normal, cut at two sigma, with standard deviation sqrt(1 / fan_in) after the cut."""
    # BEGIN SOLUTION q6
    values = rng.standard_normal((fan_in, fan_out))
    while (far := np.abs(values) > 2).any():
        values[far] = rng.standard_normal(far.sum())
    return values * math.sqrt(1 / fan_in) / CUT_STD
    # END SOLUTION


def glorot(rng, fan_in, fan_out):
    """(fan_in, fan_out), uniform (Glorot & Bengio 2010)."""
    # BEGIN SOLUTION q6
    limit = math.sqrt(6 / (fan_in + fan_out))
    return rng.uniform(-limit, limit, (fan_in, fan_out))
    # END SOLUTION


def _block(rng, prefix, width, mlp_width):
    """The 12 parameters of a block."""
    # BEGIN SOLUTION q6
    values = {
        "attention.qkv.weight": np.hstack([glorot(rng, width, width) for _ in range(3)]),
        "attention.qkv.bias": np.zeros(3 * width),
        "attention.out.weight": glorot(rng, width, width),
        "attention.out.bias": np.zeros(width),
        "mlp.hidden.weight": glorot(rng, width, mlp_width),
        "mlp.hidden.bias": rng.normal(0, 1e-6, mlp_width),
        "mlp.out.weight": glorot(rng, mlp_width, width),
        "mlp.out.bias": rng.normal(0, 1e-6, width),
    }
    for name in ("norm1", "norm2"):
        values.update({f"{name}.scale": np.ones(width), f"{name}.bias": np.zeros(width)})
    return {prefix + name: value for name, value in values.items()}
    # END SOLUTION
