"""A2 by matrices, einsum and index tables; results are views, Fortran arrays, subclasses and 0-d arrays."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


class Named(np.ndarray):
    """An array by another name."""


def patchify(images, patch):
    windows = sliding_window_view(images, patch, axis=(1, 2))[:, :: patch[0], :: patch[1]]  # B, gr, gc, C, ph, pw
    rows = np.einsum("brkcij->brkijc", windows)
    return rows.reshape(len(images), -1, patch[0] * patch[1] * images.shape[3]).view(Named)


def unpatchify(patches, patch, image_size):
    (ph, pw), (h, w) = patch, image_size
    columns = w // pw
    strips = []
    for r in range(h // ph):
        strip = [patches[:, r * columns + k].reshape(len(patches), ph, pw, -1) for k in range(columns)]
        strips.append(np.concatenate(strip, axis=2))
    return np.asfortranarray(np.concatenate(strips, axis=1))


def embed(patches, weight, bias, class_token, positions):
    batch = len(patches)
    result = np.repeat(positions, batch, axis=0)
    result[:, 1:] += np.tensordot(patches, weight, 1) + bias
    result[:, 0] += class_token[0]
    return result


def embed_backward(patches, weight, bias, class_token, positions, g):
    width = len(bias)
    # as one product: each row of the sequence is [patch, 1, is it the class token?] times the stacked parameters
    batch, count, features = patches.shape
    inputs = np.zeros((batch, 1 + count, features + 2))
    inputs[:, 1:, :features] = patches
    inputs[:, 1:, features] = 1
    inputs[:, 0, features + 1] = 1
    stacked = inputs.reshape(-1, features + 2).T @ g.reshape(-1, width)
    return {
        "class_token": stacked[None, -1:],
        "positions": np.einsum("bnd->nd", g)[None],
        "weight": stacked[:-2],
        "bias": stacked[-2],
    }


def sincos_positions(grid, width):
    omega = np.logspace(0, -4, width // 4)
    y, x = np.indices(grid)
    angles = np.stack([x, y], axis=-1).reshape(-1, 2, 1) * omega
    waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=2)
    return waves.reshape(-1, width)


def layer_norm(x, scale, bias, eps):
    width = x.shape[-1]
    centred = x - np.einsum("...d->...", x)[..., None] / width
    centred = centred - np.einsum("...d->...", centred)[..., None] / width  # once more: rounding of a large mean
    r = (np.einsum("...d,...d->...", centred, centred) / width + eps) ** -0.5
    return np.einsum("...d,...,d->...d", centred, r, scale) + bias


def layer_norm_backward(x, scale, bias, eps, g):
    """By the Jacobian of a row, r (I - 1 1^T / D - x_hat x_hat^T / D)."""
    width = x.shape[-1]
    rows, up = x.reshape(-1, width), g.reshape(-1, width)
    hat = layer_norm(rows, np.ones(width), np.zeros(width), eps)
    r = (rows.var(axis=1) + eps) ** -0.5
    outer = np.einsum("ri,rj->rij", hat, hat)
    jacobian = r[:, None, None] * (np.eye(width) - 1 / width - outer / width)
    dx = np.einsum("rj,rji->ri", up * scale, jacobian)
    return dx.reshape(x.shape), np.diag(up.T @ hat), np.ones(len(up)) @ up


def _log_total(x):
    return np.logaddexp.reduce(x, axis=-1, keepdims=True)


def softmax(x):
    return np.exp(x - _log_total(x))


def log_softmax(x):
    return x - _log_total(x)


def softmax_backward(x, g):
    y = softmax(x)
    return np.einsum("...i,...i->...i", y, g) - y * np.einsum("...i,...i->...", y, g)[..., None]


def log_softmax_backward(x, g):
    weights = softmax(x)[..., None, :] * np.ones(x.shape[-1])[:, None]
    return g - np.einsum("...i,...ij->...j", g, weights)


def _dense(labels, shape):
    if labels.shape == shape:
        return labels
    rows = np.zeros(shape)
    rows[np.arange(shape[0]), labels] = 1
    return rows


def cross_entropy(logits, labels, label_smoothing):
    t = _dense(labels, logits.shape)
    log_p = log_softmax(logits)
    hard = np.einsum("bk,bk->b", t, log_p)
    loss = -((1 - label_smoothing) * hard + label_smoothing * log_p.mean(axis=1)).mean()
    pull = softmax(logits) - (1 - label_smoothing) * t - label_smoothing / logits.shape[1]
    return loss, np.asfortranarray(pull / len(logits))


def sigmoid_cross_entropy(logits, labels):
    t = _dense(labels, logits.shape)
    no, yes = np.logaddexp(0, logits), np.logaddexp(0, -logits)
    loss = np.array(((1 - t) * no + t * yes).sum(axis=1).mean())
    with np.errstate(over="ignore"):
        return loss, (1 / (1 + np.exp(-logits)) - t) / len(logits)
