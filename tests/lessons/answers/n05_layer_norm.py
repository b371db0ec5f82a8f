"""Answers to the exercises of notebook 05."""

import numpy as np


def rms_backward(x, gamma, dy, eps, scaled=True):
    """By the Jacobian of every row."""
    dx = np.zeros_like(x)
    for i in range(len(x)):
        square = x[i] @ x[i] / x.shape[1] + eps
        jacobian = np.eye(x.shape[1]) / square**0.5 - np.outer(x[i], x[i]) / (x.shape[1] * square**1.5)
        dx[i] = jacobian @ (dy[i] * gamma if scaled else dy[i])
    return dx, np.einsum("nd,nd,n->d", dy, x, ((x**2).mean(axis=1) + eps) ** -0.5)


def rms_constant_rho(x, gamma, dy, eps):
    return dy * gamma / np.sqrt((x**2).mean(1) + eps)[:, None], rms_backward(x, gamma, dy, eps)[1]


def group_backward(x, gamma, dy, groups, eps, through_variance=True):
    """By loops over images and groups."""
    dx, dgamma = np.zeros_like(x), np.zeros_like(gamma)
    size = x.shape[3] // groups
    for image in range(len(x)):
        for start in range(0, x.shape[3], size):
            here = (image, slice(None), slice(None), slice(start, start + size))
            c = x[here] - x[here].mean()
            std = np.sqrt(np.mean(c**2) + eps)
            g = dy[here] * gamma[start : start + size]
            dc = g / std - through_variance * c * (g * c).mean() / std**3
            dx[here] = dc - dc.mean()
            dgamma[start : start + size] += np.einsum("hwc,hwc->c", dy[here], c) / std
    return dx, dgamma, np.einsum("bhwc->c", dy)


# number -> answers that must pass
RIGHT = {
    "5.1": [lambda a, gamma, beta: gamma * (a - a) / np.sqrt(1e-6) + beta],
    "5.2": [np.sqrt(1 - 1 / 768), 0.999349],
    "5.3": [rms_backward],
    "5.4": [group_backward],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "5.1": [
        (lambda a, gamma, beta: gamma * 0, "bias"),
        (lambda a, gamma, beta: gamma * a + beta, "x - mean first"),
        (lambda a, gamma, beta: gamma, "differs"),
        (lambda a, gamma, beta: beta * np.nan, "NaN"),
    ],
    "5.2": [
        (np.sqrt(768 / 767), "other way round"),
        (767 / 768, "ratio of variances"),
        (0.5, "not 0.5"),
        (0.9993, "not 0.9993"),
    ],
    "5.3": [
        (lambda x, gamma, dy, eps: rms_backward(x, gamma, dy, eps, scaled=False), "gamma is missing"),
        (rms_constant_rho, "depends on x"),
        (lambda x, gamma, dy, eps: rms_backward(x, gamma, dy, eps)[0], "tuple of 2"),
        (lambda x, gamma, dy, eps: rms_backward(x, gamma, dy, 0), "differs"),
    ],
    "5.4": [
        (lambda x, gamma, dy, groups, eps: group_backward(x, gamma, dy, 1, eps), "all channels"),
        (lambda x, gamma, dy, groups, eps: group_backward(x, gamma, dy, x.shape[3], eps), "each channel"),
        (lambda *args: group_backward(*args, through_variance=False), "differs"),
    ],
}
