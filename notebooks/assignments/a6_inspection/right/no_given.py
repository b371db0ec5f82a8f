"""A6 without `given`: matrices and einsum, one matrix to resize each axis, PCA by the eigenvectors of a covariance."""

import math

import numpy as np


def _axis(old, new, method):
    """(new, old): the weights of the old places in the new ones, by a triangle around each place."""
    if method == "align_corners":
        where = np.linspace(0.0, old - 1.0, new) if new > 1 else np.zeros(1)
    else:
        where = np.array([min(max((i + 0.5) * (old / new) - 0.5, 0.0), old - 1.0) for i in range(new)])
    return np.maximum(0.0, 1.0 - np.abs(where[:, None] - np.arange(old)))


def resize_positions(table, old_grid, new_grid, prefix, method):
    down, across = (_axis(o, n, method) for o, n in zip(old_grid, new_grid))
    both = np.kron(down, across)
    count = prefix + len(both)
    result = np.empty((1, count, table.shape[2]), order="F")
    result[0, :prefix] = table[0, :prefix]
    result[0, prefix:] = both @ table[0, prefix:]
    return result


def _grid(config):
    return [side // patch for side, patch in zip(config["image_size"], config["patch_size"])]


def adapt(params, config, new_config):
    result = {}
    classes = new_config["num_classes"]
    prefix = int(config["classifier"] == "token")
    for name in sorted(params):
        if name == "head.weight":
            result[name] = np.zeros((config["width"], classes))
        elif name == "head.bias":
            result[name] = [0.0] * classes
        elif name == "position_embedding":
            result[name] = resize_positions(params[name], _grid(config), _grid(new_config), prefix, "align_corners")
        else:
            result[name] = 1 * params[name]
    return result


def _norm(x, scale, bias, eps):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps) * scale + bias


def _gelu(x, form):
    if form == "tanh":
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def attention_maps(params, config, images):
    (ph, pw), (rows, columns) = config["patch_size"], _grid(config)
    batch, width, heads = len(images), config["width"], config["heads"]
    cut = [
        images[:, r * ph : (r + 1) * ph, c * pw : (c + 1) * pw].reshape(batch, 1, -1)
        for r in range(rows)
        for c in range(columns)
    ]
    x = np.concatenate(cut, axis=1) @ params["patch_embed.projection.weight"] + params["patch_embed.projection.bias"]
    if config["classifier"] == "token":
        x = np.concatenate([np.repeat(params["class_token"], batch, axis=0), x], axis=1)
    x = x + params["position_embedding"]
    kept = []
    for i in range(config["depth"]):

        def p(name, i=i):
            return params[f"blocks.{i}.{name}"]

        y = _norm(x, p("norm1.scale"), p("norm1.bias"), config["norm_eps"])
        qkv = (y @ p("attention.qkv.weight") + p("attention.qkv.bias")).reshape(batch, -1, 3, heads, width // heads)
        q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
        scores = np.einsum("bihk,bjhk->bhij", q, k) * (width // heads) ** -0.5
        maps = np.exp(scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True))
        kept.append(maps)
        mixed = np.einsum("bhij,bjhk->bihk", maps, v).reshape(batch, -1, width)
        x = x + mixed @ p("attention.out.weight") + p("attention.out.bias")
        y = _norm(x, p("norm2.scale"), p("norm2.bias"), config["norm_eps"])
        y = _gelu(y @ p("mlp.hidden.weight") + p("mlp.hidden.bias"), config["gelu"])
        x = x + y @ p("mlp.out.weight") + p("mlp.out.bias")
    return kept


def rollout(attention):
    """One image at a time, from the last layer to the first."""
    result = []
    for image in range(attention.shape[1]):
        product = np.identity(attention.shape[-1])
        for layer in reversed(range(len(attention))):
            mean = attention[layer, image].mean(0)
            product = product @ (0.5 * mean + 0.5 * np.identity(len(mean)))
        result.append(product)
    return result


def read_by_head(matrix, config):
    rows, columns = _grid(config)
    count = rows * columns
    prefix = matrix.shape[1] - count
    weights = np.zeros(matrix.shape[1])
    if config["classifier"] == "token":
        weights[0] = 1
    else:
        weights[:] = 1 / count
    return np.einsum("i,bij->bj", weights, matrix)[:, prefix:].reshape(-1, rows, columns)


def attention_distance(attention, grid, pitch):
    count = math.prod(grid)
    centres = np.array([[r * pitch[0], c * pitch[1]] for r in range(grid[0]) for c in range(grid[1])], float)
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=2)
    skipped = attention.shape[-1] - count
    part = attention[..., skipped:, skipped:]
    top = np.einsum("...ij,ij->...i", part, apart)
    return np.average(top / np.einsum("...ij->...i", part), axis=-1)


def position_similarity(table, grid):
    rows, columns = grid
    lengths = np.linalg.norm(table, axis=1)
    return np.einsum(
        "rcd,ijd->rcij",
        (table / lengths[:, None]).reshape(rows, columns, -1),
        (table / lengths[:, None]).reshape(rows, columns, -1),
    )


def principal_components(samples, count):
    flat = samples.reshape(len(samples), -1)
    moved = flat - np.mean(flat, axis=0)
    values, vectors = np.linalg.eigh(moved.T @ moved)
    order = np.argsort(values)[::-1][:count]
    return [vectors[:, n].reshape(samples.shape[1:]) for n in order], values[order] / np.trace(moved.T @ moved)
