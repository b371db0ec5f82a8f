"""Answers to the exercises of notebook 05."""

import numpy as np


def rms_jacobian(x, gamma, eps):
    """Entry by entry, by the quotient rule."""
    D = len(x)
    square = x @ x / D + eps
    J = np.zeros((D, D))
    for i in range(D):
        for j in range(D):
            J[i, j] = gamma[i] * ((i == j) * square - x[i] * x[j] / D) / square**1.5
    return J


def rms_by_steps(x, gamma, eps):
    """Column j is the derivative along x[j], pushed forward through the steps."""
    rho = ((x**2).mean() + eps) ** -0.5
    columns = []
    for direction in np.eye(len(x)):
        drho = -(rho**3) * (x * direction).mean()
        columns.append(gamma * (direction * rho + x * drho))
    return np.stack(columns, axis=1)


def rms_exact_x_hat(x, gamma, eps):
    """eps in rho alone, as if x_hat had the mean square 1."""
    x_hat = x / np.sqrt((x**2).mean())
    return np.diag(gamma) @ (np.eye(len(x)) - np.outer(x_hat, x_hat) / len(x)) / np.sqrt((x**2).mean() + eps)


def divided(results, place, n):
    return tuple(part / n if i == place else part for i, part in enumerate(results))


def group_by_reshape_alone(x, gamma, dy, groups, eps):
    """The line of the notebook on rows that mix the groups."""
    rows = x.reshape(len(x) * groups, -1)
    x_hat = (rows - rows.mean(1, keepdims=True)) / np.sqrt(rows.var(1, keepdims=True) + eps)
    g = (dy * gamma).reshape(rows.shape)
    dx = g - g.mean(1, keepdims=True) - x_hat * (g * x_hat).mean(1, keepdims=True)
    dx = (dx / np.sqrt(rows.var(1, keepdims=True) + eps)).reshape(x.shape)
    return dx, np.einsum("bhwc,bhwc->c", dy, x_hat.reshape(x.shape)), np.einsum("bhwc->c", dy)


def group_by_transpose(x, gamma, dy, groups, eps):
    """The line of the notebook, after the groups were brought in front of the pixels."""
    B, height, width, _ = x.shape

    def rows(a):
        return a.reshape(B, height * width, groups, -1).swapaxes(1, 2).reshape(B * groups, -1)

    def back(a):
        return a.reshape(B, groups, height * width, -1).swapaxes(1, 2).reshape(x.shape)

    std = np.sqrt(rows(x).var(1, keepdims=True) + eps)
    x_hat = (rows(x) - rows(x).mean(1, keepdims=True)) / std
    g = rows(dy * gamma)
    dx = (g - g.mean(1, keepdims=True) - x_hat * (g * x_hat).mean(1, keepdims=True)) / std
    return back(dx), (dy * back(x_hat)).sum((0, 1, 2)), dy.sum((0, 1, 2))


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
    "5.3": [rms_jacobian, rms_by_steps],
    "5.4": [group_backward, group_by_transpose],
}

# number -> (answer that must be rejected, a part of what it must be told)
WRONG = {
    "5.1": [
        (lambda a, gamma, beta: gamma * 0, "bias"),
        (lambda a, gamma, beta: gamma * a + beta, "x - mean first"),
        (lambda a, gamma, beta: a + 0 * beta, "mean of the row is a"),
        (lambda a, gamma, beta: gamma, "It is gamma itself"),
        (lambda a, gamma, beta: beta * np.nan, "NaN"),
    ],
    "5.2": [
        ((768 / 769) ** 0.5, "It is not"),
        (np.sqrt(768 / 767), "other way round"),
        (767 / 768, "ratio of variances"),
        (0.5, "not 0.5"),
        (0.99935, "more digits"),
        (0.99934, "more digits"),
        (1.00065, "other way round"),
    ],
    "5.3": [
        (lambda x, gamma, eps: rms_jacobian(x, np.ones_like(x), eps), "gamma is missing"),
        (lambda x, gamma, eps: np.diag(gamma / np.sqrt((x**2).mean() + eps)), "depends on every x[j]"),
        (lambda x, gamma, eps: rms_jacobian(x, gamma, eps).T, "transpose"),
        (lambda x, gamma, eps: rms_jacobian(x, gamma, 0), "eps is missing"),
        (rms_exact_x_hat, "use the same rho everywhere"),
        (lambda x, gamma, eps: rms_jacobian(x, gamma, eps) @ gamma, "shape"),
        (lambda x, gamma, eps: 2 * rms_jacobian(x, gamma, eps), "2 times"),
    ],
    "5.4": [
        (lambda x, gamma, dy, groups, eps: group_backward(x, gamma, dy, 1, eps), "all channels"),
        (lambda x, gamma, dy, groups, eps: group_backward(x, gamma, dy, x.shape[3], eps), "each channel"),
        (group_by_reshape_alone, "reshape alone mixes"),
        (lambda *args: group_backward(*args, through_variance=False), "differs"),
        (
            lambda x, *rest: divided(group_backward(x, *rest), 1, x.size / x.shape[3]),
            "dgamma is right but",
        ),
    ],
}

# number -> changed line of a right answer (… for anything) -> why the answer stays right
EQUIVALENT = {
    "5.1": {
        "lambda a, gamma, beta: beta": "the mutant is another right answer, the shortest",
        "lambda a, gamma, beta: gamma * (a - a)…": "a - a is 0, whatever it is multiplied by",
        "lambda a, gamma, beta: (a - a) / np.sqrt(1e-06) + beta": "a - a is 0, whatever it is multiplied by",
        "lambda a, gamma, beta: beta * (a - a) / np.sqrt(1e-06) + beta": "a - a is 0, whatever it is multiplied by",
    },
    "5.3": {
        "J = np.ones((D, D))": "every entry is overwritten",
        "square = x @ x / D + eps": "the two stand on equal terms",
    },
    "5.4": {
        "dgamma[start:start + size] += np.einsum('hwc,hwc->c', c, dy[here]) / std": "the two stand on equal terms",
        "return a.reshape(B, …).swapaxes(2, 1).reshape(…)": "the two stand on equal terms",
        "dx, dgamma = (np.ones_like(x), np.zeros_like(gamma))": "every entry is overwritten",
        "return a.reshape(B, …-2)…": "`reshape` takes any negative number for the length that is left",
    },
}
