"""Axial-DeepLab once more, from its formulas: channels first, one query at a time, under the published names."""

import numpy as np


def arrays(rng, channels, filters, groups, span):
    """Random weights of a layer."""
    own, norms = filters // groups, {"bn_qkv": 2 * filters, "bn_similarity": 3 * groups, "bn_output": 2 * filters}
    found = {
        "qkv_transform.weight": rng.normal(0, 0.5, (2 * filters, channels)),
        "relative": rng.normal(0, 0.5, (2 * own, 2 * span - 1)),
    }
    return found | {f"{name}.{leaf}": x for name, size in norms.items() for leaf, x in norm(rng, size).items()}


def norm(rng, size):
    return {
        "weight": rng.uniform(0.5, 1.5, size), "bias": rng.normal(0, 0.3, size),
        "running_mean": rng.normal(0, 0.3, size), "running_var": rng.uniform(0.5, 1.5, size),
    }  # fmt: skip


def batch_norm(x, w, name, mode, after=None):
    """x: (R, C, ...).   after: collects what the running statistics become."""
    if mode == "paper":
        return x
    axes, shape = (0, *range(2, x.ndim)), (1, -1, *[1] * (x.ndim - 2))
    mean, variance = w[f"{name}.running_mean"], w[f"{name}.running_var"]
    if mode == "train":
        n = x.size / x.shape[1]
        if after is not None:
            after[f"{name}.running_mean"] = 0.9 * mean + 0.1 * x.mean(axis=axes)
            after[f"{name}.running_var"] = 0.9 * variance + 0.1 * x.var(axis=axes) * n / (n - 1)
        mean, variance = x.mean(axis=axes), x.var(axis=axes)
    y = (x - mean.reshape(shape)) / np.sqrt(variance.reshape(shape) + 1e-5)
    return y * w[f"{name}.weight"].reshape(shape) + w[f"{name}.bias"].reshape(shape)


def layer(x, w, groups, mode, axis="height", stride=1, after=None):
    """x: (B, C, height, width) -> y (B, E, ...), weights (B * others, groups, L, L)."""
    x = np.moveaxis(x, 3, 1) if axis == "height" else np.moveaxis(x, 2, 1)  # (B, others, C, L)
    batch, others, channels, length = x.shape
    rows = x.reshape(-1, channels, length)
    qkv = batch_norm(np.einsum("oc,rcl->rol", w["qkv_transform.weight"], rows), w, "bn_qkv", mode, after)
    own, span = len(w["relative"]) // 2, (w["relative"].shape[1] + 1) // 2
    half, scores = own // 2, np.zeros((len(rows), 3 * groups, length, length))
    parts = [qkv[:, 2 * own * g : 2 * own * (g + 1)] for g in range(groups)]
    for g, o, p in np.ndindex(groups, length, length):
        q, k = parts[g][:, :half, o], parts[g][:, half:own, p]
        scores[:, g, o, p] = (q * k).sum(axis=1)
        scores[:, groups + g, o, p] = q @ w["relative"][:half, o - p + span - 1]
        scores[:, 2 * groups + g, o, p] = k @ w["relative"][half:own, p - o + span - 1]
    scores = batch_norm(scores, w, "bn_similarity", mode, after)
    scores = scores[:, :groups] + scores[:, groups : 2 * groups] + scores[:, 2 * groups :]
    e = np.exp(scores - scores.max(axis=3, keepdims=True))
    weights = e / e.sum(axis=3, keepdims=True)
    out = np.zeros((len(rows), 2 * groups * own, length))
    for g, o, c in np.ndindex(groups, length, own):
        place = w["relative"][own + c, [o - p + span - 1 for p in range(length)]]
        out[:, 2 * (g * own + c), o] = (weights[:, g, o] * parts[g][:, own + c]).sum(axis=1)
        out[:, 2 * (g * own + c) + 1, o] = weights[:, g, o] @ place
    out = batch_norm(out, w, "bn_output", mode, after)
    y = (out[:, ::2] + out[:, 1::2]).reshape(batch, others, -1, length)
    y = np.moveaxis(y, 1, 3) if axis == "height" else np.moveaxis(y, 1, 2)
    if stride > 1:
        y = y.reshape(*y.shape[:2], y.shape[2] // stride, stride, y.shape[3] // stride, stride).mean(axis=(3, 5))
    return y, weights


def network_arrays(rng, units, width, groups, size, classes, channels=3):
    """Random weights of a whole network, with the kernels of Conv1d and Conv2d as PyTorch has them."""
    found = {"conv1.weight": rng.normal(0, 0.2, (width, channels, 7, 7)), **named("bn1", norm(rng, width))}
    before, spans = width, [size[0] // 4, size[1] // 4]
    for stage, count in enumerate(units):
        planes = 2 * width * 2**stage
        for unit in range(count):
            own, strided = f"layer{stage + 1}.{unit}", stage > 0 and unit == 0
            found[f"{own}.conv_down.weight"] = rng.normal(0, 0.3, (planes, before, 1, 1))
            found |= named(f"{own}.bn1", norm(rng, planes)) | named(f"{own}.bn2", norm(rng, 2 * planes))
            for name, span in zip(("hight_block", "width_block"), spans, strict=True):
                inside = arrays(rng, planes, planes, groups, span)
                inside["qkv_transform.weight"] = inside["qkv_transform.weight"][:, :, None]
                found |= named(f"{own}.{name}", inside)
                found[f"{own}.{name}.flatten_index"] = np.arange(span * span)
                found[f"{own}.{name}.bn_qkv.num_batches_tracked"] = np.array([7])
            found[f"{own}.conv_up.weight"] = rng.normal(0, 0.3, (2 * planes, planes, 1, 1))
            if unit == 0:
                found[f"{own}.downsample.0.weight"] = rng.normal(0, 0.3, (2 * planes, before, 1, 1))
                found |= named(f"{own}.downsample.1", norm(rng, 2 * planes))
            spans, before = ([span // 2 for span in spans] if strided else spans), 2 * planes
    return found | {"fc.weight": rng.normal(size=(classes, before)), "fc.bias": rng.normal(size=classes)}


def named(before, found):
    return {f"{before}.{name}": x for name, x in found.items()}


def network(images, w, units, groups):
    """images: (B, C, height, width) -> logits, in evaluation."""

    def bn(x, name):
        return batch_norm(x, w, name, "eval")

    def pointwise(x, name, stride=1):
        return np.einsum("oc,bcij->boij", w[name][:, :, 0, 0], x[:, :, ::stride, ::stride])

    around = np.pad(images, ((0, 0), (0, 0), (3, 3), (3, 3)))
    rows, columns = images.shape[2] // 2, images.shape[3] // 2
    x = sum(
        np.einsum(
            "oc,bcij->boij", w["conv1.weight"][:, :, u, v], around[:, :, u : u + 2 * rows : 2, v : v + 2 * columns : 2]
        )
        for u, v in np.ndindex(7, 7)
    )
    x = np.pad(np.maximum(bn(x, "bn1"), 0), ((0, 0), (0, 0), (1, 1), (1, 1)))
    x = np.max([x[:, :, u : u + rows : 2, v : v + columns : 2] for u, v in np.ndindex(3, 3)], axis=0)
    for stage, count in enumerate(units):
        for unit in range(count):
            own, stride = f"layer{stage + 1}.{unit}", 2 if stage > 0 and unit == 0 else 1
            y = np.maximum(bn(pointwise(x, f"{own}.conv_down.weight"), f"{own}.bn1"), 0)
            for name, axis, by in (("hight_block", "height", 1), ("width_block", "width", stride)):
                inside = {k.removeprefix(f"{own}.{name}."): a for k, a in w.items() if k.startswith(f"{own}.{name}.")}
                inside["qkv_transform.weight"] = inside["qkv_transform.weight"][:, :, 0]
                y = layer(y, inside, groups, "eval", axis, by)[0]
            y = bn(pointwise(np.maximum(y, 0), f"{own}.conv_up.weight"), f"{own}.bn2")
            if f"{own}.downsample.0.weight" in w:
                x = bn(pointwise(x, f"{own}.downsample.0.weight", stride), f"{own}.downsample.1")
            x = np.maximum(x + y, 0)
    return x.mean(axis=(2, 3)) @ w["fc.weight"].T + w["fc.bias"]
