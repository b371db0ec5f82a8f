"""The visible checks: small cases. Some mistakes pass them; the hidden checks draw others."""

import numpy as np


def q1_v_half(t):
    """Half of eight patches."""
    mask = np.asarray(t.call("random_mask", 5, 8, 0.5, 0))
    t.require(mask.shape == (5, 8), f"the mask has shape {mask.shape}, it should be (5, 8)")
    t.require((mask.sum(axis=1) == 4).all(), f"the rows hide {mask.sum(axis=1).tolist()} patches, they should hide 4")


def q1_v_seed(t):
    """The same seed gives the same mask, another seed another."""
    masks = [np.asarray(t.call("random_mask", 4, 16, 0.75, seed)) for seed in (7, 7, 8)]
    t.require(np.array_equal(masks[0], masks[1]), "the same seed gives two different masks")
    t.require(not np.array_equal(masks[0], masks[2]), "two seeds give the same mask")


def model(rng, image=(4, 4), patch=(2, 2), channels=1, width=4, depth=1, heads=2, mlp_width=6, gelu="tanh", eps=1e-6):
    """Parameters and config of a small encoder."""
    patches = (image[0] // patch[0]) * (image[1] // patch[1])
    shapes = {
        "class_token": (1, 1, width),
        "position_embedding": (1, 1 + patches, width),
        "patch_embed.projection.weight": (patch[0] * patch[1] * channels, width),
        "patch_embed.projection.bias": (width,),
        "norm.scale": (width,),
        "norm.bias": (width,),
    }
    layers = {"attention.qkv": (width, 3 * width), "attention.out": (width, width)}
    layers |= {"mlp.hidden": (width, mlp_width), "mlp.out": (mlp_width, width)}
    for i in range(depth):
        for name, shape in layers.items():
            shapes |= {f"blocks.{i}.{name}.weight": shape, f"blocks.{i}.{name}.bias": shape[1:]}
        shapes |= {f"blocks.{i}.norm{k}.{name}": (width,) for k in (1, 2) for name in ("scale", "bias")}
    names = list(shapes)
    params = {names[k]: 0.6 * rng.normal(size=shapes[names[k]]) for k in rng.permutation(len(names))}
    config = {"image_size": image, "patch_size": patch, "channels": channels, "width": width, "depth": depth}
    config |= {"heads": heads, "mlp_width": mlp_width, "gelu": gelu, "norm_eps": eps, "classifier": "token"}
    return params, config | {"num_classes": 0}


def q2_v_all(t):
    """Nothing is hidden."""
    params, config = model(t.rng)
    t.agree("encode_visible", params, config, t.rng.normal(size=(2, 4, 4, 1)), np.zeros((2, 4), bool), rtol=1e-8)


def q3_v_all(t):
    """Nothing is hidden: the latent tokens with positions."""
    latent, positions = t.rng.normal(size=(2, 5, 3)), t.rng.normal(size=(1, 5, 3))
    got = t.call("decoder_input", latent, np.zeros((2, 4), bool), t.rng.normal(size=(1, 1, 3)), positions)
    t.close(got, latent + positions, what="the decoder's input")


def q4_v_exact(t):
    """An exact prediction costs nothing and has no gradient."""
    images = t.rng.normal(size=(1, 2, 2, 1))
    mask = np.array([[True, False, True, False]])
    loss, gradient = t.call("mae_loss", images.reshape(1, 4, 1), images, (1, 1), mask, False)
    t.close([loss, gradient], [0.0, np.zeros((1, 4, 1))], atol=1e-14, what="(loss, gradient)")


def q4_v_all(t):
    """All patches are hidden, pixels as they are."""
    images, prediction = t.rng.normal(size=(2, 4, 4, 1)), t.rng.normal(size=(2, 4, 4))
    t.agree("mae_loss", prediction, images, (2, 2), np.ones((2, 4), bool), False, what="(loss, gradient)")
