"""The visible checks of A4. They are small on purpose: most of them let a mistake or two through. Write your own."""

import math

import numpy as np

TINY = {
    "image_size": (4, 6),
    "patch_size": (2, 3),
    "channels": 2,
    "width": 4,
    "depth": 2,
    "heads": 2,
    "mlp_width": 6,
    "num_classes": 3,
    "classifier": "token",
    "gelu": "tanh",
    "norm_eps": 1e-6,
}
ONE_PATCH = {**TINY, "image_size": (2, 3), "depth": 1}


def mlp_shapes(width, hidden):
    return {
        "hidden.weight": (width, hidden),
        "hidden.bias": (hidden,),
        "out.weight": (hidden, width),
        "out.bias": (width,),
    }


def block_shapes(width, hidden):
    shapes = {f"{norm}.{part}": (width,) for norm in ("norm1", "norm2") for part in ("scale", "bias")}
    shapes.update({"attention.qkv.weight": (width, 3 * width), "attention.qkv.bias": (3 * width,)})
    shapes.update({"attention.out.weight": (width, width), "attention.out.bias": (width,)})
    return {**shapes, **{"mlp." + name: shape for name, shape in mlp_shapes(width, hidden).items()}}


def vit_shapes(config):
    (h, w), (ph, pw), width = config["image_size"], config["patch_size"], config["width"]
    token = config["classifier"] == "token"
    shapes = {"class_token": (1, 1, width)} if token else {}
    shapes["position_embedding"] = (1, h // ph * (w // pw) + token, width)
    shapes["patch_embed.projection.weight"] = (ph * pw * config["channels"], width)
    shapes["patch_embed.projection.bias"] = (width,)
    for i in range(config["depth"]):
        inner = block_shapes(width, config["mlp_width"])
        shapes.update({f"blocks.{i}.{name}": shape for name, shape in inner.items()})
    shapes.update({"norm.scale": (width,), "norm.bias": (width,)})
    return {**shapes, "head.weight": (width, config["num_classes"]), "head.bias": (config["num_classes"],)}


def draw(rng, shapes):
    """Kernels that keep the size of what they multiply, scales around 1, all else around 0."""
    params = {}
    for name, shape in shapes.items():
        scale = 1 / math.sqrt(shape[0]) if name.endswith("weight") else 0.5
        params[name] = rng.normal(1.0 if name.endswith("scale") else 0.0, scale, shape)
    return params


def images_of(rng, config, batch):
    return rng.standard_normal((batch, *config["image_size"], config["channels"]))


def array(value):
    """The numbers of a result; of what holds none, an empty array."""
    try:
        return np.asarray(value, float)
    except (TypeError, ValueError):
        return np.empty(0)


def shape_of(value):
    return array(value).shape


def shapes_fit(grads, params):
    """Has a dict the names and shapes of the parameters?"""
    if not isinstance(grads, dict) or set(grads) != set(params):
        return False
    return all(shape_of(grads[name]) == params[name].shape for name in params)


def pair(result):
    """The two parts of a result that should have two."""
    return result if isinstance(result, (tuple, list)) and len(result) == 2 else (None, None)


def q1_v_values(t):
    x = t.rng.normal(0, 2, (3, 4))
    for form in ("tanh", "erf"):
        t.agree("gelu", x, form, rtol=1e-3, what=f'gelu(x, "{form}")')


def q1_v_ends(t):
    x = np.array([-30.0, 0.0, 30.0]) + t.rng.uniform(0, 1) * np.array([-1, 0, 1])
    for form in ("tanh", "erf"):
        y = t.call("gelu", x, form)
        t.close(y, np.maximum(x, 0), 1e-9, what="gelu far below 0, at 0 and far above")


def q1_v_derivative(t):
    x = t.rng.normal(0, 2, (3, 4))
    for form in ("tanh", "erf"):
        t.agree("gelu_backward", x, form, np.ones((3, 4)), rtol=1e-2, what=f'gelu_backward(x, "{form}", ones)')


def q2_v_zero_kernel(t):
    params = draw(t.rng, mlp_shapes(4, 5))
    params["out.weight"] = np.zeros((5, 4))
    y = t.call("mlp", t.rng.standard_normal((2, 3, 4)), params, "tanh")
    want = np.broadcast_to(params["out.bias"], (2, 3, 4))
    t.close(y, want, 1e-9, what="with out.weight all 0, the MLP's result")


def q2_v_forward(t):
    params = draw(t.rng, mlp_shapes(4, 5))
    x = t.rng.standard_normal((2, 3, 4))
    t.agree("mlp", x, params, "tanh", rtol=1e-3)


def q2_v_backward(t):
    params = draw(t.rng, mlp_shapes(4, 5))
    x, g = t.rng.standard_normal((2, 1, 1, 4))
    t.agree("mlp_backward", x, params, "tanh", g, rtol=1e-3)


def still(rng):
    """Parameters of a block whose branches give 0."""
    params = draw(rng, block_shapes(4, 6))
    for name in ("attention.out.weight", "attention.out.bias", "mlp.out.weight", "mlp.out.bias"):
        params[name] = np.zeros_like(params[name])
    return params


def q3_v_identity(t):
    params, x = still(t.rng), t.rng.standard_normal((2, 3, 4))
    t.close(t.call("block", x, params, TINY), x, 1e-9, what="with branches that give 0, the block's result")


def q3_v_identity_backward(t):
    params = still(t.rng)
    x, g = t.rng.standard_normal((2, 2, 3, 4))
    dx, _ = pair(t.call("block_backward", x, params, TINY, g))
    t.close(dx, g, 1e-9, what="with branches that give 0, the gradient dx")


def q3_v_one_token(t):
    params = draw(t.rng, block_shapes(4, 6))
    t.agree("block", t.rng.standard_normal((1, 1, 4)), params, TINY, rtol=1e-3, what="the block of a single token")


def q3_v_shapes(t):
    params = draw(t.rng, block_shapes(4, 6))
    x, g = t.rng.standard_normal((2, 2, 3, 4))
    dx, grads = pair(t.call("block_backward", x, params, TINY, g))
    t.require(shape_of(dx) == x.shape, "dx should have the shape of x")
    t.require(
        shapes_fit(grads, params), "the gradients should be a dict with the 12 names and shapes of the parameters"
    )


def q4_v_shape(t):
    config = {**TINY, "classifier": "gap"}
    y = t.call("vit", draw(t.rng, vit_shapes(config)), config, images_of(t.rng, config, 2))
    t.require(shape_of(y) == (2, 3), "the logits of 2 images and 3 classes should have the shape (2, 3)")


def q4_v_zero_head(t):
    params = draw(t.rng, vit_shapes(TINY))
    params["head.weight"] = np.zeros((4, 3))
    y = t.call("vit", params, TINY, images_of(t.rng, TINY, 2))
    t.close(y, np.stack([params["head.bias"]] * 2), 1e-9, what="with head.weight all 0, the logits")


def q4_v_images_apart(t):
    params, images = draw(t.rng, vit_shapes(TINY)), images_of(t.rng, TINY, 3)
    together, alone = t.call("vit", params, TINY, images), t.call("vit", params, TINY, images[2:])
    together = array(together)[2:] if shape_of(together) == (3, 3) else together
    t.close(alone, together, 1e-9, what="an image's row of logits without the others in its batch")


def q4_v_one_patch(t):
    params = draw(t.rng, vit_shapes(ONE_PATCH))
    images = images_of(t.rng, ONE_PATCH, 2)
    t.agree("vit", params, ONE_PATCH, images, rtol=1e-3, what="the logits of images of one patch, with one block")


def q5_v_zero_head(t):
    params = draw(t.rng, vit_shapes(TINY))
    params.update({"head.weight": np.zeros((4, 3)), "head.bias": np.zeros(3)})
    images, labels = images_of(t.rng, TINY, 2), t.rng.integers(0, 3, 2)
    loss, grads = pair(t.call("vit_loss_and_gradients", params, TINY, images, labels))
    t.close(loss, math.log(3), 1e-9, what="with a head of zeros, the loss")
    t.require(shapes_fit(grads, params), "the gradients should be a dict with the names and shapes of all parameters")
    below = {name: value for name, value in grads.items() if "head" not in name} if shapes_fit(grads, params) else {}
    zeros = {name: np.zeros_like(value) for name, value in params.items() if "head" not in name}
    t.close(below, zeros, 1e-9, what="with a head of zeros, gradients")


def q5_v_loss(t):
    params = draw(t.rng, vit_shapes(TINY))
    images, labels = images_of(t.rng, TINY, 1), t.rng.integers(0, 3, 1)
    args = (params, TINY, images, labels)
    t.close(
        pair(t.call("vit_loss_and_gradients", *args))[0], t.ref("vit_loss_and_gradients", *args)[0], 1e-6, what="loss"
    )


def q5_v_slope(t):
    params = draw(t.rng, vit_shapes(ONE_PATCH))
    images, labels = images_of(t.rng, ONE_PATCH, 1), t.rng.integers(0, 3, 1)
    way = {name: t.rng.uniform(-1, 1, value.shape) for name, value in params.items()}
    ends = []
    for step in (1e-5, -1e-5):
        moved = {name: value + step * way[name] for name, value in params.items()}
        ends.append(pair(t.call("vit_loss_and_gradients", moved, ONE_PATCH, images, labels))[0])
    _, grads = pair(t.call("vit_loss_and_gradients", params, ONE_PATCH, images, labels))
    fits = shapes_fit(grads, params) and all(shape_of(end) == () for end in ends)
    told = sum(float((array(grads[name]) * way[name]).sum()) for name in params) if fits else 0.0
    measured = float(array(ends[0]) - array(ends[1])) / 2e-5 if fits else 1.0
    gap = abs(told - measured) / max(abs(measured), 1e-3)
    t.require(
        gap < 1e-4, f"along a random direction your loss changes by {measured:.6g}, your gradients say {told:.6g}"
    )


def q6_v_names(t):
    seed = int(t.rng.integers(1000))
    for config in (TINY, {**TINY, "classifier": "gap"}):
        shapes = vit_shapes(config)
        got = t.call("init_params", config, seed)
        names = set(got) if isinstance(got, dict) else set()
        odd = sorted(names ^ set(shapes))
        words = f"with {config['classifier']}, names that lack or that nobody asked for: {', '.join(odd)[:90]}"
        t.require(not odd, words, odd)
        bad = [name for name in shapes if names >= set(shapes) and shape_of(got[name]) != shapes[name]]
        t.require(not bad, f"with {config['classifier']}, arrays of the wrong shape: {', '.join(bad)[:90]}", bad)


def q6_v_constants(t):
    got = t.call("init_params", TINY, int(t.rng.integers(1000)))
    got = got if isinstance(got, dict) else {}
    for name, shape in vit_shapes(TINY).items():
        if name.endswith("scale"):
            t.close(got.get(name), np.ones(shape), 0.0, what=name)
        if name.startswith("head") or name in ("class_token", "norm.bias", "patch_embed.projection.bias"):
            t.close(got.get(name), np.zeros(shape), 0.0, what=name)


def q7_v_parameters(t):
    tiny = {**TINY, "image_size": (224, 224), "patch_size": (16, 16), "channels": 3, "width": 192, "depth": 12}
    tiny.update(heads=3, mlp_width=768, num_classes=1000)
    t.close(t.call("count_parameters", tiny), 5717416, 0.0, what="the number of parameters of ViT-Ti/16")
    side = int(t.rng.choice([8, 14, 28, 32]))
    t.agree("count_parameters", {**tiny, "patch_size": (side, side)}, rtol=0.0)


def q7_v_multiply_adds(t):
    side, width = int(t.rng.integers(2, 9)), 8 * int(t.rng.integers(2, 6))
    config = {**TINY, "image_size": (4 * side, 4 * side), "patch_size": (4, 4), "channels": 3, "width": width}
    config.update(heads=8, mlp_width=4 * width, num_classes=10, classifier="gap")
    t.agree("count_multiply_adds", config, rtol=0.0)


def q8_v_evaluation(t):
    x = t.rng.standard_normal((4, 3, 2))
    for name in ("dropout", "drop_path"):
        t.close(t.call(name, x, 0.4, 1, False), x, 0.0, what=f"{name} when not training")
        t.close(t.call(name, x, 0.0, 1, True), x, 0.0, what=f"{name} with rate 0")


def ratios(x, y):
    """y / x, or an array of nan if y has another shape."""
    return array(y) / x if shape_of(y) == x.shape else np.full(x.shape, np.nan)


def q8_v_half(t):
    x, seed = t.rng.uniform(0.5, 2, (60, 5, 3)), int(t.rng.integers(1000))
    for name in ("dropout", "drop_path"):
        factor = ratios(x, t.call(name, x, 0.5, seed, True))
        fits = np.isclose(factor, 0) | np.isclose(factor, 2)
        t.require(
            fits.all(), f"at rate 0.5, {name} should give zeros and doubled elements", np.unique(np.round(factor, 6))
        )


def q8_v_same_seed(t):
    x, seed = t.rng.uniform(0.5, 2, (60, 5)), int(t.rng.integers(1000))
    for name in ("dropout", "drop_path"):
        first, again = (t.call(name, x, 0.5, seed, True) for _ in range(2))
        t.close(again, first, 0.0, what=f"{name} called once more with the same seed")
