"""The visible checks: small cases. Some mistakes pass them; the hidden checks draw others."""

import numpy as np


def q1_v_uniform(t):
    """Logits of zeros: both heads find three classes equally likely, and the loss is log 3."""
    zeros = np.zeros((2, 3))
    loss, *_ = t.call("hard_loss", zeros, zeros, np.array([0, 2]), t.rng.normal(size=(2, 3)))
    t.close(loss, np.log(3), what="the loss")


def q1_v_agreed(t):
    """The teacher is right, and one image is all there is."""
    class_logits, distil_logits = t.rng.normal(size=(1, 3)), t.rng.normal(size=(1, 3))
    teacher = np.array([[0.1, 2.0, -1.0]])
    t.agree("hard_loss", class_logits, distil_logits, np.array([1]), teacher, what="(loss, dclass, ddistil)")


def q2_v_labels_alone(t):
    """alpha 0: the teacher has no say."""
    logits, labels = t.rng.normal(size=(3, 2, 4)), np.array([3, 0])
    t.agree("soft_loss", logits[0], logits[1], labels, logits[2], 0.0, 2.0, what="(loss, dclass, ddistil)")


def q2_v_same(t):
    """A student that says what the teacher says, and alpha 1: nothing is left to learn."""
    logits = t.rng.normal(size=(2, 4))
    loss, _, ddistil = t.call("soft_loss", t.rng.normal(size=(2, 4)), logits, np.array([0, 1]), logits, 1.0, 3.0)
    t.close([loss, ddistil], [0.0, np.zeros((2, 4))], atol=1e-12, what="(loss, ddistil)")


def model(
    rng,
    image=(4, 4),
    patch=(2, 2),
    channels=1,
    width=4,
    depth=1,
    heads=2,
    mlp_width=6,
    classes=3,
    gelu="tanh",
    eps=1e-6,
):
    """Parameters and config of a small network."""
    patches = (image[0] // patch[0]) * (image[1] // patch[1])
    shapes = {"class_token": (1, 1, width), "distillation_token": (1, 1, width)}
    shapes |= {"position_embedding": (1, 2 + patches, width), "norm.scale": (width,), "norm.bias": (width,)}
    linear = {"patch_embed.projection": (patch[0] * patch[1] * channels, width)}
    linear |= {"head": (width, classes), "distillation_head": (width, classes)}
    for i in range(depth):
        linear |= {f"blocks.{i}.attention.qkv": (width, 3 * width), f"blocks.{i}.attention.out": (width, width)}
        linear |= {f"blocks.{i}.mlp.hidden": (width, mlp_width), f"blocks.{i}.mlp.out": (mlp_width, width)}
        shapes |= {f"blocks.{i}.norm{k}.{name}": (width,) for k in (1, 2) for name in ("scale", "bias")}
    for name, shape in linear.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[1:]}
    names = list(shapes)
    params = {names[k]: 0.6 * rng.normal(size=shapes[names[k]]) for k in rng.permutation(len(names))}
    config = {"image_size": image, "patch_size": patch, "channels": channels, "width": width, "depth": depth}
    config |= {"heads": heads, "mlp_width": mlp_width, "num_classes": classes, "classifier": "token"}
    return params, config | {"gelu": gelu, "norm_eps": eps}


def q3_v_parts(t):
    """Two arrays of logits in training, one otherwise."""
    params, config = model(t.rng)
    images = t.rng.normal(size=(2, 4, 4, 1))
    both = t.call("vit_distilled", params, config, images, True)
    t.require([np.shape(part) for part in both] == [(2, 3), (2, 3)], "in training there are two arrays (B, K)")
    one = t.call("vit_distilled", params, config, images, False)
    t.require(np.shape(one) == (2, 3), f"the mean has shape {np.shape(one)}, it should be (2, 3)")


def q3_v_no_kernels(t):
    """Heads of zeros: the logits are the heads' biases."""
    params, config = model(t.rng)
    params["head.weight"], params["distillation_head.weight"] = np.zeros((4, 3)), np.zeros((4, 3))
    want = np.tile((params["head.bias"] + params["distillation_head.bias"]) / 2, (2, 1))
    t.close(t.call("vit_distilled", params, config, t.rng.normal(size=(2, 4, 4, 1)), False), want, what="the logits")
