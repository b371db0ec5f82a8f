"""Answers to the exercises of notebook 20."""

import numpy as np


def field(layers):
    pixels = 1  # of one value of the last layer, carried back through the layers
    for k, s in reversed(layers):
        pixels = (pixels - 1) * s + k
    return pixels


def depthwise(x, W):
    k = len(W)
    y = np.zeros((x.shape[0] - k + 1, x.shape[1] - k + 1, x.shape[2]))
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            y[i, j] = (x[i : i + k, j : j + k] * W).sum(axis=(0, 1))
    return y


def backward(x, W, dy, add=True):
    k = len(W)
    dx, dW = np.zeros(x.shape), np.zeros(W.shape)
    for i in range(dy.shape[0]):
        for j in range(dy.shape[1]):
            if add:
                dx[i : i + k, j : j + k] += W * dy[i, j]
            else:
                dx[i : i + k, j : j + k] = W * dy[i, j]
            dW += x[i : i + k, j : j + k] * dy[i, j]
    return dx, dW


def field_by_jumps(layers):
    jumps = np.cumprod([1, *(s for _, s in layers)])
    return 1 + sum((k - 1) * int(jump) for (k, _), jump in zip(layers, jumps, strict=False))


def field_by_looking(layers):
    """Follows one value of the output back to the pixels it sees."""
    seen = {0}
    for k, s in layers[::-1]:
        seen = {i * s + u for i in seen for u in range(k)}
    return max(seen) - min(seen) + 1


def strides_added(layers):
    field, jump = 1, 0
    for k, s in layers:
        field += (k - 1) * max(jump, 1)
        jump += s if s > 1 or jump else 0
    return field


def depthwise_by_windows(x, W):
    windows = np.lib.stride_tricks.sliding_window_view(x, W.shape[:2], axis=(0, 1))
    return np.einsum("ijcuv,uvc->ijc", windows, W)


def backward_by_padding(x, W, dy):
    """dx as a convolution of the padded dy with the mirrored window."""
    k = len(W)
    padded = np.pad(dy, ((k - 1, k - 1), (k - 1, k - 1), (0, 0)))
    rows, columns, _ = dy.shape
    dW = [[(x[u : u + rows, v : v + columns] * dy).sum(axis=(0, 1)) for v in range(k)] for u in range(k)]
    return depthwise(padded, W[::-1, ::-1]), dW


# number -> answers that must pass
RIGHT = {
    "20.1": [
        lambda n, k, s: len(range(0, n - k + 1, s)),
        lambda n, k, s: int((n - k + s) / s),
        lambda n, k, s: sum(1 for start in range(0, n, s) if start + k <= n),
    ],
    "20.2": [field, field_by_jumps, field_by_looking],
    "20.3": [depthwise, depthwise_by_windows],
    "20.4": [backward, backward_by_padding],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "20.1": [
        (lambda n, k, s: max(0, (n - k) // s) + 1, "No window fits"),
        (lambda n, k, s: (n - k) // s, "counts as well"),
        (lambda n, k, s: (n - k) / s + 1, "whole number"),
        (lambda n, k, s: n // s, "end inside"),
        (lambda n, k, s: -(-(n - k) // s) + 1, "round down, not up"),
        (lambda n, k, s: round((n - k) / s) + 1, "not reach the end exactly"),
        (lambda n, k, s: n - k + 1, "stride 1"),
        (lambda n, k, s: (n - k + 1) // s, "adds it before"),
        (lambda n, k, s: len(range(0, n - k, s)), "one too early"),
        (lambda n, k, s: (n - k) // s + 2, "too large by 1"),
    ],
    "20.2": [
        (lambda layers: 1 + sum(k - 1 for k, _ in layers), "ignores the strides"),
        (lambda layers: sum(k for k, _ in layers), "k - 1 steps"),
        (lambda layers: field(layers[::-1]), "wrong end"),
        (strides_added, "added up"),
        (lambda layers: 1 + sum((k - 1) * layers[0][1] ** i for i, (k, _) in enumerate(layers)), "first one for all"),
        (lambda layers: 1 + sum((k - 1) * layers[i - 1][1] ** i for i, (k, _) in enumerate(layers)), "to a power"),
        (lambda layers: 1 + sum((k - 1) * s for k, s in layers), "stride of the layer itself"),
        (lambda layers: field(layers) - 1, "begin with 1"),
        (lambda layers: int(np.prod([s for _, s in layers])), "how far apart"),
        (lambda layers: field(layers) + 1, "too large by 1"),
    ],
    "20.3": [
        (lambda x, W: depthwise(x, W[::-1, ::-1]), "mirrors"),
        (lambda x, W: depthwise(x, W).sum(axis=-1), "adds the channels"),
        (lambda x, W: depthwise(x, W.swapaxes(0, 1)), "exchanged"),
        (lambda x, W: depthwise(x, W) / len(W) ** 2, "not take the mean"),
        (lambda x, W: depthwise(x, W[..., :1] + 0 * W), "the first for all"),
        (lambda x, W: depthwise(x, W[:, ::-1]), "mirrors the columns"),
        (lambda x, W: depthwise(np.pad(x, ((1, 1), (1, 1), (0, 0))), W), "shape"),
        (lambda x, W: depthwise(x, W[:1]), "has shape"),
    ],
    "20.4": [
        (lambda x, W, dy: (backward(x, W[::-1, ::-1], dy)[0], backward(x, W, dy)[1]), "where the pixel came from"),
        (lambda x, W, dy: backward(x, W, dy, add=False), "overwrites the one before"),
        (lambda x, W, dy: backward(x, W, dy)[::-1], "another order"),
        (lambda x, W, dy: (backward(x, W, dy)[0], backward(x, W, dy)[1][::-1, ::-1]), "dW is mirrored"),
        (lambda x, W, dy: (backward(x, W, dy)[0], backward(x, W, dy)[1] / dy[..., 0].size), "not take the"),
        (lambda x, W, dy: (backward(x, W, dy)[0], backward(x, W, dy)[1].sum(axis=2)), "dW has shape"),
        (lambda x, W, dy: backward(x, W.swapaxes(0, 1), dy), "exchanged in dx"),
        (lambda x, W, dy: backward(x, W, dy)[0], "tuple of 2"),
    ],
}

# number -> a change of a right answer that leaves it right -> why
EQUIVALENT = {
    "20.2": {
        "seen = {…}": "the field is as wide, wherever the value of the output lies",
        "return max(seen) + …": "the first pixel that is seen is pixel 0",
        "seen = {i * s - u for i in seen for u in range(k)}": "a mirrored field is as wide",
        "return 1 + sum(((k - 1) * int(jump) … zip(layers, jumps)))": "zip stops with the layers by itself",
    },
    "20.3": {
        "y = np.ones((x.shape[0] - k + 1, x.shape[1] - k + 1, x.shape[2]))": "every entry is overwritten",
    },
    "20.4": {
        "y = np.ones((x.shape[0] - k + 1, x.shape[1] - k + 1, x.shape[2]))": "every entry is overwritten",
    },
}
