"""A2 by loops over single numbers, and results as nested lists: no broadcasting anywhere."""

import math

import numpy as np


def patchify(images, patch):
    ph, pw = patch
    result = []
    for image in images.tolist():
        cut = []
        for top in range(0, len(image), ph):
            for left in range(0, len(image[0]), pw):
                pixels = [image[top + i][left + j] for i in range(ph) for j in range(pw)]
                cut.append([value for pixel in pixels for value in pixel])
        result.append(cut)
    return result


def unpatchify(patches, patch, image_size):
    (ph, pw), (h, w) = patch, image_size
    channels = patches.shape[2] // (ph * pw)
    images = np.zeros((len(patches), h, w, channels))
    for b in range(len(patches)):
        for y in range(h):
            for x in range(w):
                number = (y // ph) * (w // pw) + x // pw
                pixel = (y % ph) * pw + x % pw
                for c in range(channels):
                    images[b, y, x, c] = patches[b, number, pixel * channels + c]
    return images


def embed(patches, weight, bias, class_token, positions):
    result = []
    for image in patches:
        rows = [class_token[0, 0] + positions[0, 0]]
        for n, patch in enumerate(image):
            row = bias + positions[0, n + 1]
            for p, value in enumerate(patch):
                row = row + value * weight[p]
            rows.append(row)
        result.append([list(row) for row in rows])
    return result


def embed_backward(patches, weight, bias, class_token, positions, g):
    grads = {
        "positions": np.zeros(positions.shape),
        "class_token": np.zeros(class_token.shape),
        "bias": np.zeros(bias.shape),
        "weight": np.zeros(weight.shape),
    }
    for image, cotangents in zip(patches, g):
        grads["class_token"][0, 0] += cotangents[0]
        grads["positions"][0] += cotangents
        for patch, row in zip(image, cotangents[1:]):
            grads["bias"] += row
            for p, value in enumerate(patch):
                grads["weight"][p] += value * row
    return grads


def sincos_positions(grid, width):
    quarter = width // 4
    omega = [1.0 if quarter == 1 else 10000.0 ** (-i / (quarter - 1)) for i in range(quarter)]
    table = []
    for y in range(grid[0]):
        for x in range(grid[1]):
            parts = [(math.sin, x), (math.cos, x), (math.sin, y), (math.cos, y)]
            table.append([wave(place * w) for wave, place in parts for w in omega])
    return table


def _moments(row):
    mean = math.fsum(row) / len(row)
    return mean, math.fsum((value - mean) ** 2 for value in row) / len(row)


def layer_norm(x, scale, bias, eps):
    rows = []
    for row in x.reshape(-1, x.shape[-1]).tolist():
        mean, variance = _moments(row)
        std = math.sqrt(variance + eps)
        rows.append([(row[d] - mean) / std * scale[d] + bias[d] for d in range(len(row))])
    return np.reshape(rows, x.shape)


def layer_norm_backward(x, scale, bias, eps, g):
    """Through each step of the forward pass: product, root, variance, mean."""
    width = x.shape[-1]
    dx, dscale, dbias = [], [0.0] * width, [0.0] * width
    for row, up in zip(x.reshape(-1, width).tolist(), g.reshape(-1, width).tolist()):
        mean, variance = _moments(row)
        inverse = (variance + eps) ** -0.5
        d_hat = [up[d] * scale[d] for d in range(width)]
        d_variance = math.fsum(d_hat[d] * (row[d] - mean) for d in range(width)) * -0.5 * inverse**3
        d_mean = -inverse * math.fsum(d_hat)
        dx.append(
            [d_hat[d] * inverse + d_variance * 2 * (row[d] - mean) / width + d_mean / width for d in range(width)]
        )
        for d in range(width):
            dscale[d] += up[d] * (row[d] - mean) * inverse
            dbias[d] += up[d]
    return [np.reshape(dx, x.shape), dscale, dbias]


def _rows(function, *arrays):
    shape = arrays[0].shape
    flat = [array.reshape(-1, shape[-1]) for array in arrays]
    return np.reshape([function(*rows) for rows in zip(*flat)], shape)


def _log_probabilities(row):
    top = max(row)
    total = math.log(math.fsum(math.exp(value - top) for value in row))
    return [value - top - total for value in row]


def _probabilities(row):
    top = max(row)
    powers = [math.exp(value - top) for value in row]
    return [power / math.fsum(powers) for power in powers]


def softmax(x):
    return _rows(_probabilities, x)


def log_softmax(x):
    return _rows(_log_probabilities, x)


def softmax_backward(x, g):
    """By the whole Jacobian, y_i (1[i = j] - y_j)."""

    def one(row, up):
        y = _probabilities(row)
        n = len(y)
        return [math.fsum(up[i] * y[i] * ((i == j) - y[j]) for i in range(n)) for j in range(n)]

    return _rows(one, x, g)


def log_softmax_backward(x, g):
    def one(row, up):
        y = _probabilities(row)
        n = len(y)
        return [math.fsum(up[i] * ((i == j) - y[j]) for i in range(n)) for j in range(n)]

    return _rows(one, x, g)


def _targets(labels, shape):
    if labels.ndim == 2:
        return labels.tolist()
    return [[float(k == label) for k in range(shape[1])] for label in labels]


def cross_entropy(logits, labels, label_smoothing):
    rows, classes = logits.shape
    loss, gradient = 0.0, []
    for row, target in zip(logits.tolist(), _targets(labels, logits.shape)):
        t = [(1 - label_smoothing) * value + label_smoothing / classes for value in target]
        log_p = _log_probabilities(row)
        loss -= math.fsum(t[k] * log_p[k] for k in range(classes)) / rows
        gradient.append([(math.exp(log_p[k]) - t[k]) / rows for k in range(classes)])
    return [loss, gradient]


def sigmoid_cross_entropy(logits, labels):
    rows = len(logits)
    loss, gradient = 0.0, []
    for row, t in zip(logits.tolist(), _targets(labels, logits.shape)):
        line = []
        for k, z in enumerate(row):
            tail = math.log1p(math.exp(-abs(z)))
            yes, no = tail + max(-z, 0.0), tail + max(z, 0.0)  # -log s(z), -log s(-z)
            loss += (t[k] * yes + (1 - t[k]) * no) / rows
            line.append((math.exp(-yes) - t[k]) / rows)
        gradient.append(line)
    return loss, gradient
