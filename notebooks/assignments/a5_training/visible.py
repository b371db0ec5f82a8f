"""The checks that students have: small and fixed shapes. They see only some mistakes; write checks of your own."""

import numpy as np

HYPER = {"betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.1}
CONFIG = {
    "image_size": (4, 4),
    "patch_size": (2, 2),
    "channels": 1,
    "width": 4,
    "depth": 1,
    "heads": 2,
    "mlp_width": 6,
    "num_classes": 3,
    "classifier": "token",
    "gelu": "tanh",
    "norm_eps": 1e-6,
}
RECIPE = {
    "betas": (0.9, 0.999),
    "eps": 1e-8,
    "weight_decay": 0.0,
    "batch_size": 4,
    "total_steps": 100,
    "warmup_steps": 0,
    "base_lr": 0.01,
    "final_lr": 0.0,
    "kind": "cosine",
    "clip_norm": None,
    "seed": 0,
}


def _two(t, result, adapter, parts):
    """Both parts of a result that has two."""
    good = isinstance(result, (tuple, list)) and len(result) == 2
    t.require(good, f"{adapter} should return two things, ({parts})")
    return result if good else (None, None)


def _arrays(rng):
    return {"a.weight": rng.normal(size=(2, 3)), "a.bias": rng.normal(size=3)}


def _vit_params(rng):
    """Parameters of a ViT as CONFIG says, none of them zero."""
    d, f, k = 4, 6, 3
    shapes = {"class_token": (1, 1, d), "position_embedding": (1, 5, d)}
    shapes.update({"patch_embed.projection.weight": (4, d), "patch_embed.projection.bias": (d,)})
    layers = {"attention.qkv": (d, 3 * d), "attention.out": (d, d), "mlp.hidden": (d, f), "mlp.out": (f, d)}
    for name, shape in layers.items():
        shapes[f"blocks.0.{name}.weight"], shapes[f"blocks.0.{name}.bias"] = shape, shape[1:]
    for name in ("blocks.0.norm1", "blocks.0.norm2", "norm"):
        shapes[f"{name}.scale"] = shapes[f"{name}.bias"] = (d,)
    shapes.update({"head.weight": (d, k), "head.bias": (k,)})
    params = {name: 0.3 * rng.normal(size=shape) for name, shape in shapes.items()}
    return {name: p + name.endswith("scale") for name, p in params.items()}


def q1_v_one_update(t):
    """The parameters after one update."""
    params, grads = _arrays(t.rng), _arrays(t.rng)
    args = (params, [grads], [0.1], HYPER, [])
    got, _ = _two(t, t.call("adamw", *args), "adamw", "parameters, state")
    t.close(got, t.ref("adamw", *args)[0], 1e-6, what="the parameters after one update")


def q1_v_three_updates(t):
    """The parameters after three updates, some of which decay."""
    params, grads = _arrays(t.rng), [_arrays(t.rng) for _ in range(3)]
    args = (params, grads, [0.1, 0.1, 0.1], HYPER, ["a.weight", "a.bias"])
    got, _ = _two(t, t.call("adamw", *args), "adamw", "parameters, state")
    t.close(got, t.ref("adamw", *args)[0], 1e-6, what="the parameters after three updates that decay")


def q2_v_block(t):
    """Which names of a block decay."""
    shapes = {"norm1.scale": (4,), "norm1.bias": (4,), "qkv.weight": (4, 12), "qkv.bias": (12,), "out.weight": (4, 4)}
    got, want = t.call("decay_names", shapes), t.ref("decay_names", shapes)
    t.require(isinstance(got, (list, tuple)), "decay_names should return a list of names")
    t.close(sorted(map(str, got)), sorted(want), what="decay_names, sorted,")


def q3_v_resume(t):
    """Four updates are two, and two more from the state."""
    params, grads = _arrays(t.rng), [_arrays(t.rng) for _ in range(4)]
    whole, _ = _updates(t, params, grads)
    half, state = _updates(t, params, grads[:2])
    t.require(isinstance(state, dict), "the state should be a dict")
    got, _ = _updates(t, half, grads[2:], state)
    t.require(_changed(params, whole), "four updates change nothing")
    shaped = isinstance(got, dict) and all(np.shape(got.get(name)) == np.shape(p) for name, p in whole.items())
    apart = {name: np.asarray(got[name]) - p for name, p in whole.items()} if shaped else "other names or shapes"
    same = shaped and all(np.asarray(got[name]).tobytes() == np.asarray(p).tobytes() for name, p in whole.items())
    t.require(same, "the parameters after 2 updates and 2 more are not those after 4, bit for bit", seen=apart)


def _updates(t, params, grads, *state):
    """A call of adamw that may change params and grads: what is asked here is resuming alone."""
    params, grads = t.scratch(params), [t.scratch(g) for g in grads]
    result = t.call("adamw", params, grads, [0.1] * len(grads), HYPER, [], *state)
    return _two(t, result, "adamw", "parameters, state")


def _changed(before, after):
    """Has some parameter moved?"""
    return isinstance(after, dict) and any(not np.array_equal(before[name], after.get(name)) for name in before)


def q4_v_above_and_below(t):
    """A limit above the norm, and one below."""
    grads = _arrays(t.rng)
    norm = float(np.sqrt(sum((g**2).sum() for g in grads.values())))
    for limit in (2 * norm, norm / 2):
        got, before = _two(t, t.call("clip_by_global_norm", grads, limit), "clip_by_global_norm", "gradients, norm")
        want, _ = t.ref("clip_by_global_norm", grads, limit)
        t.close(got, want, 1e-5, what=f"the gradients with a limit {'above' if limit > norm else 'below'} their norm")
        t.close(before, norm, what="the norm")


def q5_v_cosine(t):
    """The cosine at its beginning, within, and at its end."""
    base = float(t.rng.uniform(0.1, 1))
    for step in (20, 35, 60, 100):
        want = t.ref("learning_rate", step, "cosine", base, 100, 20, 0.0)
        t.close(
            t.call("learning_rate", step, "cosine", base, 100, 20, 0.0), want, 1e-9, 1e-12, f"the rate of step {step}"
        )


def q5_v_warmup(t):
    """Two steps of the warm-up."""
    base = float(t.rng.uniform(0.1, 1))
    for step in (0, 5):
        want = t.ref("learning_rate", step, "linear", base, 20, 10, 0.0)
        t.close(t.call("learning_rate", step, "linear", base, 20, 10, 0.0), want, what=f"the rate of step {step}")


def q6_v_one_epoch(t):
    """The batches of one epoch hold each index once."""
    seed = int(t.rng.integers(1000))
    batches = [t.call("batch_indices", 12, 4, seed, step) for step in range(3)]
    for step, batch in enumerate(batches):
        t.require(
            np.shape(batch) == (4,), f"the batch of step {step} should hold 4 numbers", seen=list(np.shape(batch))
        )
    t.close(np.sort(np.ravel(batches)), np.arange(12), 0.0, what="what the 3 batches of 4 hold together, sorted,")


def q7_v_statistics(t):
    """Mean and standard deviation of each channel."""
    images = t.rng.integers(0, 256, (3, 4, 4, 3)).astype(np.uint8)
    got = _two(t, t.call("channel_statistics", images), "channel_statistics", "mean, std")
    t.close(got[0], t.ref("channel_statistics", images)[0], what="the mean")
    t.close(got[1], t.ref("channel_statistics", images)[1], 0.02, what="the standard deviation")


def q7_v_normalize(t):
    """Images normalised by their own statistics."""
    images = t.rng.integers(0, 256, (3, 4, 4, 3)).astype(np.uint8)
    pixels = images.reshape(-1, 3) / 255
    t.agree("normalize", images, pixels.mean(axis=0), pixels.std(axis=0), what="the normalised images")


def q7_v_mirror(t):
    """Without padding an image stays, or is mirrored."""
    images = t.rng.integers(0, 256, (8, 4, 4, 1)).astype(np.uint8)
    got = np.asarray(t.call("augment", images, 0, int(t.rng.integers(1000))))
    t.require(got.shape == images.shape, "augment should return images of the same shape", seen=list(got.shape))
    if got.shape == images.shape:
        stays = [np.array_equal(a, b) or np.array_equal(a, b[:, ::-1]) for a, b in zip(got, images)]
        t.require(all(stays), "with padding 0, augment should return each image as it is or mirrored left to right")


def q8_v_two_batches(t):
    """Four images in two batches of two."""
    params, images = _vit_params(t.rng), t.rng.normal(size=(4, 4, 4, 1))
    labels = t.rng.integers(0, 3, 4)
    got, want = (
        t.call("evaluate", params, CONFIG, images, labels, 2),
        t.ref("evaluate", params, CONFIG, images, labels, 2),
    )
    good = isinstance(got, dict) and {"loss", "accuracy"} <= set(got)
    t.require(good, 'evaluate should return a dict with "loss" and "accuracy"')
    t.close({name: got[name] for name in want} if good else got, want, 1e-8, what="the result")


def q9_v_two_updates(t):
    """Two updates with all images in each batch: no decay, no clipping, no warm-up."""
    params, images = _vit_params(t.rng), t.rng.normal(size=(4, 4, 4, 1))
    args = (params, CONFIG, RECIPE, images, t.rng.integers(0, 3, 4), 2)
    got, want = t.call("train", *args), t.ref("train", *args)
    good = isinstance(got, dict) and {"step", "params", "losses"} <= set(got)
    t.require(good, 'train should return a dict with at least "step", "params" and "losses"')
    for name, rtol in (("step", 0.0), ("losses", 1e-6), ("params", 1e-2)):
        t.close(got.get(name) if good else None, want[name], rtol, what=f'state["{name}"]')


def q9_v_nothing_to_do(t):
    """Until 0: a state with the parameters as they are."""
    params, images = _vit_params(t.rng), t.rng.normal(size=(4, 4, 4, 1))
    got = t.call("train", params, CONFIG, RECIPE, images, t.rng.integers(0, 3, 4), 0)
    t.require(isinstance(got, dict), "train should return a dict")
    for name, want in (("step", 0), ("losses", []), ("params", params)):
        t.close(got.get(name) if isinstance(got, dict) else None, want, 0.0, what=f'state["{name}"] after no update')
