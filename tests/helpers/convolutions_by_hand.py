"""Convolutional networks once more, from the papers' text: channels first, one place at a time, under timm's names."""

import math

import numpy as np

erf = np.vectorize(math.erf, otypes=[float])


def gelu(x):
    return x * (1 + erf(x / math.sqrt(2))) / 2


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def silu(x):
    return x * sigmoid(x)


def relu(x):
    return np.where(x > 0, x, 0)


ACTS = {"gelu": gelu, "silu": silu, "relu": relu}


def borders(size, window, stride, padding):
    """Rows before and after: as in PyTorch, or as in TensorFlow."""
    if padding != "same":
        return padding, padding
    wanted = (math.ceil(size / stride) - 1) * stride + window - size
    return max(wanted, 0) // 2, max(wanted, 0) - max(wanted, 0) // 2


def conv(x, weight, bias=None, stride=1, padding=0, groups=1):
    """x: (B, C, h, w), weight: (E, C / groups, rows, columns)."""
    (_, _, height, width), (filters, _, rows, columns) = x.shape, weight.shape
    above, beside = borders(height, rows, stride, padding), borders(width, columns, stride, padding)
    x = np.pad(x, ((0, 0), (0, 0), above, beside))
    down, across = (x.shape[2] - rows) // stride + 1, (x.shape[3] - columns) // stride + 1
    y = np.zeros((len(x), filters, down, across))
    each = filters // groups
    for i in range(down):
        for j in range(across):
            seen = x[:, :, i * stride : i * stride + rows, j * stride : j * stride + columns]
            seen = seen.reshape(len(x), groups, -1)
            for g in range(groups):
                of_group = weight[g * each : (g + 1) * each].reshape(each, -1)
                y[:, g * each : (g + 1) * each, i, j] = seen[:, g] @ of_group.T
    return y if bias is None else y + bias[:, None, None]


def halves(x):
    """The mean of 2 x 2 places."""
    return (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4


def layer_norm(x, w, name, eps, axis=1):
    shape = (-1,) + (1,) * (x.ndim - 1 - axis)
    x = (x - x.mean(axis=axis, keepdims=True)) / np.sqrt(x.var(axis=axis, keepdims=True) + eps)
    return x * w[f"{name}.weight"].reshape(shape) + w[f"{name}.bias"].reshape(shape)


def batch_norm(x, w, name, eps, seen=None):
    """seen: where running statistics after a step of training go; without it they are used."""
    mean, variance = w[f"{name}.running_mean"], w[f"{name}.running_var"]
    if seen is not None:
        numbers = x.shape[0] * x.shape[2] * x.shape[3]
        seen[f"{name}.running_mean"] = 0.9 * mean + 0.1 * x.mean(axis=(0, 2, 3))
        seen[f"{name}.running_var"] = 0.9 * variance + 0.1 * x.var(axis=(0, 2, 3)) * numbers / (numbers - 1)
        mean, variance = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
    x = (x - mean[:, None, None]) / np.sqrt(variance[:, None, None] + eps)
    return x * w[f"{name}.weight"][:, None, None] + w[f"{name}.bias"][:, None, None]


def squeeze(x, w, name, first, second, act):
    means = x.mean(axis=(2, 3), keepdims=True)
    hidden = act(conv(means, w[f"{name}.{first}.weight"], w[f"{name}.{first}.bias"]))
    return x * sigmoid(conv(hidden, w[f"{name}.{second}.weight"], w[f"{name}.{second}.bias"]))


def cross_entropy(logits, labels):
    z = logits - logits.max(axis=1, keepdims=True)
    return np.mean([np.log(np.exp(row).sum()) - row[label] for row, label in zip(z, labels, strict=True)])


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def dense(x, w, name):
    """A matrix at every place, stored as one or as a kernel of one pixel."""
    matrix = w[f"{name}.weight"].reshape(len(w[f"{name}.weight"]), -1)
    y = np.einsum("bchw,ec->behw", x, matrix)
    return y + w[f"{name}.bias"][:, None, None] if f"{name}.bias" in w else y


def convnext(x, w, config):
    """Logits (B, K) and maps inside.   config: eps, head_eps."""
    inside, i = {}, 0
    patch = w["stem.0.weight"].shape[2]
    x = inside["stem"] = layer_norm(
        conv(x, w["stem.0.weight"], w.get("stem.0.bias"), patch), w, "stem.1", config["eps"]
    )
    while f"stages.{i}.blocks.0.norm.weight" in w:
        if f"stages.{i}.downsample.0.weight" in w:
            kernel = w[f"stages.{i}.downsample.1.weight"]
            x = layer_norm(x, w, f"stages.{i}.downsample.0", config["eps"])
            x = conv(x, kernel, w.get(f"stages.{i}.downsample.1.bias"), kernel.shape[2])
        j = 0
        while f"stages.{i}.blocks.{j}.norm.weight" in w:
            name = f"stages.{i}.blocks.{j}"
            kernel = w[f"{name}.conv_dw.weight"]
            y = conv(x, kernel, w.get(f"{name}.conv_dw.bias"), 1, kernel.shape[2] // 2, len(kernel))
            y = gelu(dense(layer_norm(y, w, f"{name}.norm", config["eps"]), w, f"{name}.mlp.fc1"))
            if f"{name}.mlp.grn.weight" in w:
                norms = np.sqrt((y**2).sum(axis=(2, 3), keepdims=True))
                weighed = y * norms / (norms.mean(axis=1, keepdims=True) + 1e-6)
                y = y + w[f"{name}.mlp.grn.weight"].reshape(-1, 1, 1) * weighed
                y = y + w[f"{name}.mlp.grn.bias"].reshape(-1, 1, 1)
            y = dense(y, w, f"{name}.mlp.fc2")
            x = inside[name] = x + y * w.get(f"{name}.gamma", np.ones(1))[:, None, None]
            j += 1
        i += 1
    if "norm_pre.weight" in w:
        features = layer_norm(x, w, "norm_pre", config["head_eps"]).mean(axis=(2, 3))
    else:
        features = layer_norm(x.mean(axis=(2, 3)), w, "head.norm", config["head_eps"])
    return features @ w["head.fc.weight"].T + w["head.fc.bias"], inside


def mbconv(x, w, name, stride, padding, eps, seen=None):
    """A block of EfficientNet, with or without expansion."""
    expands = f"{name}conv_pwl.weight" in w
    y = x
    if expands:
        y = silu(batch_norm(dense(y, w, f"{name}conv_pw"), w, f"{name}bn1", eps, seen))
    kernel, after = w[f"{name}conv_dw.weight"], ("bn2", "bn3") if expands else ("bn1", "bn2")
    around = "same" if padding == "same" else kernel.shape[2] // 2
    y = silu(batch_norm(conv(y, kernel, None, stride, around, len(kernel)), w, f"{name}{after[0]}", eps, seen))
    y = squeeze(y, w, f"{name}se", "conv_reduce", "conv_expand", silu)
    y = batch_norm(dense(y, w, f"{name}{'conv_pwl' if expands else 'conv_pw'}"), w, f"{name}{after[1]}", eps, seen)
    return x + y if stride == 1 and x.shape == y.shape else y


def efficientnet(x, w, config):
    """Logits (B, K) and maps inside.   config: strides, padding, eps, and seen, of `batch_norm`."""
    inside, eps, seen = {}, config["eps"], config["seen"]
    x = conv(x, w["conv_stem.weight"], None, 2, "same" if config["padding"] == "same" else 1)
    x = silu(batch_norm(x, w, "bn1", eps, seen))
    for i, first in enumerate(config["strides"]):
        j = 0
        while f"blocks.{i}.{j}.conv_dw.weight" in w:
            x = mbconv(x, w, f"blocks.{i}.{j}.", 1 if j else first, config["padding"], eps, seen)
            inside[f"blocks.{i}.{j}"] = x
            j += 1
    features = silu(batch_norm(dense(x, w, "conv_head"), w, "bn2", eps, seen)).mean(axis=(2, 3))
    return features @ w["classifier.weight"].T + w["classifier.bias"], inside


def coatnet_c(x, w, name, stride, config):
    act, pools = ACTS[config["act"]], stride == 2 and config["pool"]
    y = batch_norm(x, w, f"{name}.pre_norm", 1e-5)
    y = act(y) if config["pre_act"] else y
    y = act(batch_norm(dense(halves(y) if pools else y, w, f"{name}.conv1_1x1"), w, f"{name}.norm1", 1e-5))
    kernel = w[f"{name}.conv2_kxk.weight"]
    y = conv(y, kernel, None, 1 if pools else stride, 1, len(kernel))
    for part in ("se_early", "norm2", "se"):
        if part == "norm2":
            y = act(batch_norm(y, w, f"{name}.norm2", 1e-5))
        elif f"{name}.{part}.fc1.weight" in w:
            y = squeeze(y, w, f"{name}.{part}", "fc1", "fc2", ACTS[config["squeeze_act"]])
    return coatnet_shortcut(x, w, name, stride) + dense(y, w, f"{name}.conv3_1x1")


def coatnet_shortcut(x, w, name, stride):
    x = halves(x) if stride == 2 else x
    return dense(x, w, f"{name}.shortcut.expand") if f"{name}.shortcut.expand.weight" in w else x


def coatnet_norm(x, w, name):
    if f"{name}.running_mean" in w:
        return batch_norm(x, w, name, 1e-6)
    return layer_norm(x, w, name, 1e-6)


def coatnet_t(x, w, name, stride, config):
    y = coatnet_norm(x, w, f"{name}.norm1.norm" if stride == 2 else f"{name}.norm1")
    y = halves(y) if stride == 2 else y
    qkv, Dh = dense(y, w, f"{name}.attn.qkv"), config["head_width"]
    batch, wide, height, width = qkv.shape
    table, out = w[f"{name}.attn.rel_pos.relative_position_bias_table"], np.zeros((batch, wide // 3, height, width))
    places = [(i, j) for i in range(height) for j in range(width)]
    for head in range(wide // 3 // Dh):
        q, k, v = (qkv[:, (3 * head + n) * Dh :][:, :Dh] for n in range(3))
        for i, j in places:
            scores = np.zeros((batch, len(places)))
            for n, (a, b) in enumerate(places):
                row = (i - a + height - 1) * (2 * width - 1) + j - b + width - 1
                scores[:, n] = (q[:, :, i, j] * k[:, :, a, b]).sum(axis=1) / math.sqrt(Dh) + table[row, head]
            mixed = sum(softmax(scores)[:, n, None] * v[:, :, a, b] for n, (a, b) in enumerate(places))
            out[:, head * Dh : (head + 1) * Dh, i, j] = mixed
    one = np.ones((1, 1, 1))
    scales = [w[f"{name}.ls{n}.gamma"][:, None, None] if f"{name}.ls{n}.gamma" in w else one for n in (1, 2)]
    x = coatnet_shortcut(x, w, name, stride) + scales[0] * dense(out, w, f"{name}.attn.proj")
    hidden = gelu(dense(coatnet_norm(x, w, f"{name}.norm2"), w, f"{name}.mlp.fc1"))
    return x + scales[1] * dense(hidden, w, f"{name}.mlp.fc2")


def coatnet(x, w, config):
    """Logits (B, K) and maps inside."""
    inside, i = {}, 0
    x = conv(x, w["stem.conv1.weight"], w.get("stem.conv1.bias"), 2, 1)
    x = ACTS[config["act"]](batch_norm(x, w, "stem.norm1", 1e-5))
    x = conv(x, w["stem.conv2.weight"], w.get("stem.conv2.bias"), 1, 1)
    while any(name.startswith(f"stages.{i}.") for name in w):
        j = 0
        while any(name.startswith(f"stages.{i}.blocks.{j}.") for name in w):
            name = f"stages.{i}.blocks.{j}"
            block = coatnet_t if f"{name}.attn.qkv.weight" in w else coatnet_c
            x = inside[name] = block(x, w, name, 1 if j else 2, config)
            j += 1
        i += 1
    if "head.pre_logits.fc.weight" in w:
        features = coatnet_norm(x.mean(axis=(2, 3))[:, :, None, None], w, "head.norm")[:, :, 0, 0]
        features = np.tanh(features @ w["head.pre_logits.fc.weight"].T + w["head.pre_logits.fc.bias"])
    else:
        features = coatnet_norm(x, w, "norm").mean(axis=(2, 3))
    return features @ w["head.fc.weight"].T + w["head.fc.bias"], inside


def botnet_attention(x, w, config):
    """(B, C, h, w) -> (B, E, h, w), or pooled, and nothing inside.   config: heads, scaled, stride."""
    rows, columns, heads = w["pos_embed.height_rel"], w["pos_embed.width_rel"], config["num_heads"]
    qkv, Dh = dense(x, w, "qkv"), rows.shape[1]
    batch, wide, height, width = qkv.shape
    E = (wide - 2 * heads * Dh) // heads
    out, places = np.zeros((batch, heads * E, height, width)), [(i, j) for i in range(height) for j in range(width)]
    factor = 1 / math.sqrt(Dh)
    for head in range(heads):
        q, k = (qkv[:, (n * heads + head) * Dh :][:, :Dh] for n in range(2))
        v = qkv[:, 2 * heads * Dh + head * E :][:, :E]
        for i, j in places:
            scores = np.zeros((batch, len(places)))
            for n, (a, b) in enumerate(places):
                position = q[:, :, i, j] @ (rows[a - i + height - 1] + columns[b - j + width - 1])
                content = (q[:, :, i, j] * k[:, :, a, b]).sum(axis=1)
                scores[:, n] = content * factor + position * (factor if config["scale_pos_embed"] else 1)
            mixed = sum(softmax(scores)[:, n, None] * v[:, :, a, b] for n, (a, b) in enumerate(places))
            out[:, head * E : (head + 1) * E, i, j] = mixed
    return (halves(out) if config["stride"] == 2 else out), {}


def random_weights(shapes, rng):
    """Arrays of these shapes, by name; variances are positive, and scales near 1."""
    found = {}
    for name, shape in shapes.items():
        kernel = name.endswith("weight") and len(shape) > 1
        spread = 1 / math.sqrt(max(1, math.prod(shape[1:]))) if kernel else 0.3
        centre = 1.0 if name.endswith(("running_var", "gamma")) or (name.endswith("weight") and not kernel) else 0.0
        found[name] = rng.normal(centre, spread, shape)
        if name.endswith("running_var"):
            found[name] = np.abs(found[name]) + 0.2
    return found


def as_kernels(weights, *matrices):
    """Every matrix as a kernel of one pixel, but for those whose names contain one of `matrices`."""
    return {
        name: x[..., None, None] if x.ndim == 2 and not any(part in name for part in matrices) else x
        for name, x in weights.items()
    }
