"""The visible checks of A6. Each asks for little, on purpose: your own tests have to ask for the rest."""

import numpy as np


def array(result):
    """A result as an array; an empty one if it is none."""
    try:
        return np.asarray(result)
    except ValueError:
        return np.zeros(0)


def shaped(t, what, result, shape):
    """Ask for a shape."""
    found = array(result).shape
    t.require(found == shape, f"{what} has shape {found}, it should be {shape}", seen=list(found))


def rows_of(rng, *shape):
    """Attention matrices: positive, rows that sum to 1."""
    powers = np.exp(rng.normal(size=shape))
    return powers / powers.sum(axis=-1, keepdims=True)


def configuration(**changes):
    """A small model."""
    start = {"image_size": (4, 4), "patch_size": (2, 2), "channels": 1, "width": 4, "depth": 1, "heads": 1}
    start.update(mlp_width=6, num_classes=3, classifier="token", gelu="tanh", norm_eps=1e-6)
    return {**start, **changes}


def parameters(rng, config):
    """Random parameters for a model of `config`, in a random order."""
    (h, w), (ph, pw), d, f = config["image_size"], config["patch_size"], config["width"], config["mlp_width"]
    tokens = (h // ph) * (w // pw) + (config["classifier"] == "token")
    patch, classes = ph * pw * config["channels"], config["num_classes"]
    shapes = {"position_embedding": (1, tokens, d), "patch_embed.projection.weight": (patch, d)}
    shapes.update({"patch_embed.projection.bias": (d,), "head.weight": (d, classes), "head.bias": (classes,)})
    shapes.update({"norm.scale": (d,), "norm.bias": (d,)})
    if config["classifier"] == "token":
        shapes["class_token"] = (1, 1, d)
    for i in range(config["depth"]):
        for name, shape in {"attention.qkv": (d, 3 * d), "attention.out": (d, d), "mlp.hidden": (d, f)}.items():
            shapes.update({f"blocks.{i}.{name}.weight": shape, f"blocks.{i}.{name}.bias": shape[1:]})
        shapes.update({f"blocks.{i}.mlp.out.weight": (f, d), f"blocks.{i}.mlp.out.bias": (d,)})
        for norm in ("norm1", "norm2"):
            shapes.update({f"blocks.{i}.{norm}.scale": (d,), f"blocks.{i}.{norm}.bias": (d,)})
    names = sorted(shapes)
    made = {}
    for name in (names[i] for i in rng.permutation(len(names))):
        made[name] = 0.5 * rng.normal(size=shapes[name]) + (1.0 if name.endswith("scale") else 0.0)
    return made


def q1_v_same_grid(t):
    """To the grid it has: nothing changes."""
    for prefix, method in ((1, "align_corners"), (0, "half_pixel")):
        table = t.rng.normal(size=(1, prefix + 6, 4))
        t.close(t.call("resize_positions", table, (2, 3), (2, 3), prefix, method), table, what="resize_positions")


def q1_v_finer(t):
    """From 2 x 2 to 3 x 3, with one row for a class token."""
    t.agree("resize_positions", t.rng.normal(size=(1, 5, 4)), (2, 2), (3, 3), 1, "align_corners")


def q2_v_names_and_shapes(t):
    """Images of twice the size, five classes in place of three: every array has its shape."""
    config, new = configuration(), configuration(image_size=(8, 8), num_classes=5)
    params = parameters(t.rng, config)
    got, want = t.call("adapt", params, config, new), t.ref("adapt", params, config, new)
    names = dict.fromkeys(got, 0) if isinstance(got, dict) else got
    t.close(names, dict.fromkeys(want, 0), 0, what="adapt's result")
    for name, value in want.items():
        shaped(t, f"adapt's {name}", got.get(name) if isinstance(got, dict) else got, np.shape(value))


def q2_v_head(t):
    """The new head is zeros."""
    config, new = configuration(), configuration(num_classes=5)
    got = t.call("adapt", parameters(t.rng, config), config, new)
    names = ("head.weight", "head.bias")
    head = {name: got[name] for name in names if name in got} if isinstance(got, dict) else got
    t.close(head, {"head.weight": np.zeros((4, 5)), "head.bias": np.zeros(5)}, what="adapt")


def q3_v_rows(t):
    """The shape, and rows that sum to 1."""
    config = configuration(depth=2, heads=2)
    maps = array(t.call("attention_maps", parameters(t.rng, config), config, t.rng.normal(size=(3, 4, 4, 1))))
    shaped(t, "attention_maps", maps, (2, 3, 2, 5, 5))
    t.close(maps.sum(axis=-1), np.ones((2, 3, 2, 5)), what="the sum of each row")


def q3_v_one_layer(t):
    """One layer of one head, for two images."""
    config = configuration()
    t.agree("attention_maps", parameters(t.rng, config), config, t.rng.normal(size=(2, 4, 4, 1)), rtol=1e-8)


def q4_v_identity(t):
    """Tokens that look at themselves alone are not mixed."""
    attention = np.broadcast_to(np.eye(4), (3, 2, 2, 4, 4)).copy()
    t.close(t.call("rollout", attention), np.broadcast_to(np.eye(4), (2, 4, 4)), what="rollout of identities")


def q4_v_one_layer(t):
    """One layer; and what the head reads in a square grid."""
    t.agree("rollout", rows_of(t.rng, 1, 2, 3, 4, 4))
    t.agree("read_by_head", rows_of(t.rng, 2, 5, 5), configuration())


def q5_v_itself(t):
    """Patches that look at themselves alone look 0 pixels far."""
    attention = np.broadcast_to(np.eye(6), (2, 6, 6)).copy()
    t.close(t.call("attention_distance", attention, (2, 3), (8, 8)), np.zeros(2), atol=1e-12, what="the distance")


def q5_v_square(t):
    """A square grid, without a class token."""
    t.agree("attention_distance", rows_of(t.rng, 4, 4), (2, 2), (16.0, 16.0))


def q6_v_itself(t):
    """Each embedding has cosine 1 with itself."""
    similar = array(t.call("position_similarity", t.rng.normal(size=(6, 5)), (2, 3)))
    shaped(t, "position_similarity", similar, (2, 3, 2, 3))
    flat = similar.reshape(6, 6) if similar.shape == (2, 3, 2, 3) else np.zeros((6, 6))
    t.close(np.diag(flat), np.ones(6), what="the cosines of embeddings with themselves")


def q6_v_unit(t):
    """Embeddings of length 1, in a square grid."""
    a, b = t.rng.uniform(0, 6, (2, 4))
    table = np.stack([np.sin(a), np.cos(a) * np.sin(b), np.cos(a) * np.cos(b)], axis=1)
    t.agree("position_similarity", table, (2, 2))


def q7_v_line(t):
    """Samples on a line through 0: one component."""
    direction = t.rng.normal(size=3)
    direction /= np.sqrt((direction**2).sum())
    steps = np.array([-2.0, -1, 0, 1, 2])
    got = t.call("principal_components", steps[:, None] * direction, 1)
    pair = isinstance(got, (list, tuple)) and len(got) == 2
    t.require(pair, "principal_components returns a pair, (components, share)")
    components, share = (array(got[0]), got[1]) if pair else (np.zeros(0), np.zeros(0))
    turned = components * np.sign((components * direction).sum()) if components.shape == (1, 3) else components
    t.close(turned, direction[None], 1e-5, what="the component")
    t.close(share, np.ones(1), 1e-7, what="its share")


def q7_v_share(t):
    """The shares of samples whose mean is 0."""
    half = t.rng.normal(size=(4, 3)) * np.array([4.0, 2.0, 1.0])
    samples = np.concatenate([half, -half])
    got, want = t.call("principal_components", samples, 2), t.ref("principal_components", samples, 2)
    pair = isinstance(got, (list, tuple)) and len(got) == 2
    t.require(pair, "principal_components returns a pair, (components, share)")
    t.close(got[1] if pair else got, want[1], 1e-7, what="the shares")
