"""A6 by loops over places and patches, on `given` where it helps; lists, views and 0-d arrays as results."""

import math

import numpy as np
from given import block, patchify


def _place(i, old, new, method):
    if method == "half_pixel":
        return min(max((2 * i + 1) * old / (2 * new) - 0.5, 0), old - 1)
    return 0 if new == 1 else i * (old - 1) / (new - 1)


def resize_positions(table, old_grid, new_grid, prefix, method):
    result = [list(row) for row in table[0, :prefix]]
    for r in range(new_grid[0]):
        y = _place(r, old_grid[0], new_grid[0], method)
        for c in range(new_grid[1]):
            x = _place(c, old_grid[1], new_grid[1], method)
            value = 0
            for row in range(old_grid[0]):
                for column in range(old_grid[1]):
                    share = max(0, 1 - abs(y - row)) * max(0, 1 - abs(x - column))
                    if share:
                        value = value + share * table[0, prefix + row * old_grid[1] + column]
            result.append(list(value))
    return np.array(result)[np.newaxis]


def adapt(params, config, new_config):
    old = [config["image_size"][a] // config["patch_size"][a] for a in (0, 1)]
    new = [new_config["image_size"][a] // config["patch_size"][a] for a in (0, 1)]
    result = {name: value.copy() for name, value in params.items() if not name.startswith("head.")}
    prefix = params["position_embedding"].shape[1] - old[0] * old[1]
    result["position_embedding"] = resize_positions(result["position_embedding"], old, new, prefix, "align_corners")
    result.update({"head.bias": np.zeros(new_config["num_classes"])})
    result.update({"head.weight": np.zeros((config["width"], new_config["num_classes"]))})
    return result


def _sub(params, start):
    return {name[len(start) :]: value for name, value in params.items() if name.startswith(start)}


def attention_maps(params, config, images):
    """Patches and blocks by `given`, the maps themselves by hand."""
    x = patchify(images, config["patch_size"]) @ params["patch_embed.projection.weight"]
    x = x + params["patch_embed.projection.bias"]
    if config["classifier"] == "token":
        x = np.concatenate([params["class_token"] + np.zeros((len(images), 1, 1)), x], 1)
    x = x + params["position_embedding"]
    layers = []
    for i in range(config["depth"]):
        layer = _sub(params, f"blocks.{i}.")
        mean, spread = x.mean(2, keepdims=True), np.sqrt(x.var(2, keepdims=True) + config["norm_eps"])
        y = (x - mean) / spread * layer["norm1.scale"] + layer["norm1.bias"]
        layers.append(_maps(y, layer, config))
        x = block(x, layer, config)
    return np.array(layers)


def _maps(y, layer, config):
    batch, tokens, width = y.shape
    heads, size = config["heads"], width // config["heads"]
    weight, bias = layer["attention.qkv.weight"], layer["attention.qkv.bias"]
    result = np.zeros((batch, heads, tokens, tokens))
    for h in range(heads):
        q = y @ weight[:, h * size : (h + 1) * size] + bias[h * size : (h + 1) * size]
        k = y @ weight[:, width + h * size : width + (h + 1) * size] + bias[width + h * size : width + (h + 1) * size]
        for b in range(batch):
            for n in range(tokens):
                scores = [math.fsum(q[b, n] * k[b, m]) / math.sqrt(size) for m in range(tokens)]
                powers = [math.exp(s - max(scores)) for s in scores]
                result[b, h, n] = [power / math.fsum(powers) for power in powers]
    return result


def rollout(attention):
    layers, batch, heads, tokens, _ = attention.shape
    mixed = np.zeros((batch, tokens, tokens))
    for b in range(batch):
        for start in range(tokens):
            share = np.zeros(tokens)
            share[start] = 1  # follow one token of the input upwards
            for layer in range(layers):
                share = (share + sum(attention[layer, b, h] @ share for h in range(heads)) / heads) / 2
            mixed[b, :, start] = share
    return mixed


def read_by_head(matrix, config):
    shape = (-1, *(config["image_size"][a] // config["patch_size"][a] for a in (0, 1)))
    if config["classifier"] == "gap":
        return (sum(matrix[:, n] for n in range(matrix.shape[1])) / matrix.shape[1]).reshape(shape)
    return matrix[:, 0, 1:].reshape(shape)


def attention_distance(attention, grid, pitch):
    rows, columns = grid
    first = attention.shape[-1] - rows * columns
    total = 0
    for n in range(rows * columns):
        row = attention[..., first + n, first:]
        seen = sum(
            row[..., m] * math.hypot((n // columns - m // columns) * pitch[0], (n % columns - m % columns) * pitch[1])
            for m in range(rows * columns)
        )
        total = total + seen / row.sum(-1)
    return np.asarray(total / (rows * columns))


def position_similarity(table, grid):
    places = [(r, c) for r in range(grid[0]) for c in range(grid[1])]
    result = np.zeros((*grid, *grid))
    for n, a in enumerate(places):
        for m, b in enumerate(places):
            lengths = math.sqrt(math.fsum(table[n] ** 2)) * math.sqrt(math.fsum(table[m] ** 2))
            result[a + b] = math.fsum(table[n] * table[m]) / lengths
    return result.tolist()


def principal_components(samples, count):
    """Through the small matrix of products of samples, where there are fewer of them than numbers."""
    flat = np.stack([sample.ravel() for sample in samples])
    flat = flat - flat.sum(axis=0) / len(flat)
    values, vectors = np.linalg.eigh(flat @ flat.T)
    best = np.flip(np.arange(len(flat)))[:count]
    found = flat.T @ vectors[:, best]
    found = -found / np.sqrt((found**2).sum(axis=0))
    return found.T.reshape(count, *samples.shape[1:]), list(values[best] / values.sum())
