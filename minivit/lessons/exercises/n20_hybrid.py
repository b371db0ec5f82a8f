"""Exercises of notebook 20, the hybrid."""

import numpy as np

from minivit.lessons.diagnosis import diagnosed
from minivit.lessons.exercise import Exercise
from minivit.lessons.slips.receptive_field import SLIPS, STACKS, distinct_strides, receptive_field


def _shifted(x: np.ndarray, u: int, v: int, k: int) -> np.ndarray:
    return x[u : u + x.shape[0] - k + 1, v : v + x.shape[1] - k + 1]


def _depthwise(x: np.ndarray, W: np.ndarray) -> np.ndarray:
    k = len(W)
    return np.asarray(sum(_shifted(x, u, v, k) * W[u, v] for u in range(k) for v in range(k)))


def _backward(x: np.ndarray, W: np.ndarray, dy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    k = len(W)
    dx, dW = np.zeros_like(x), np.zeros_like(W)
    for u in range(k):
        for v in range(k):
            dx[u : u + len(dy), v : v + dy.shape[1]] += dy * W[u, v]
            dW[u, v] = (_shifted(x, u, v, k) * dy).sum(axis=(0, 1))
    return dx, dW


def _assigned(x: np.ndarray, W: np.ndarray, dy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    k = len(W)
    dx = np.zeros_like(x)
    for u in range(k):
        for v in range(k):
            dx[u : u + len(dy), v : v + dy.shape[1]] = dy * W[u, v]
    return dx, _backward(x, W, dy)[1]


def _windows_assigned(x: np.ndarray, W: np.ndarray, dy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same, window by window."""
    k = len(W)
    dx = np.zeros_like(x)
    for i in range(len(dy)):
        for j in range(dy.shape[1]):
            dx[i : i + k, j : j + k] = dy[i, j] * W
    return dx, _backward(x, W, dy)[1]


def _last_place(x: np.ndarray, W: np.ndarray, dy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """dW of the last window alone."""
    k = len(W)
    return _backward(x, W, dy)[0], x[-k:, -k:] * dy[-1, -1]


def _not_moved(x: np.ndarray, W: np.ndarray, dy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """dx without the shifts."""
    dx = np.zeros_like(x)
    dx[: len(dy), : dy.shape[1]] = dy * W.sum(axis=(0, 1))
    return dx, _backward(x, W, dy)[1]


def _images(rng: np.random.Generator) -> list[tuple[np.ndarray, ...]]:
    sizes = ((5, 7, 2, 3), (4, 6, 3, 2), (6, 5, 1, 4), (3, 4, 2, 1), (4, 4, 4, 4), (8, 3, 2, 3))
    return [(rng.standard_normal((h, w, c)), rng.standard_normal((k, k, c))) for h, w, c, k in sizes]


def _images_and_gradients(rng: np.random.Generator) -> list[tuple[np.ndarray, ...]]:
    return [(x, W, rng.standard_normal(_depthwise(x, W).shape)) for x, W in _images(rng)]


EXERCISES = [
    Exercise(
        "20.1",
        diagnosed(
            lambda n, k, s: (n - k) // s + 1,
            lambda rng: [
                (32, 7, 2),
                (9, 3, 1),
                (10, 4, 3),
                (8, 8, 8),
                (11, 3, 4),
                (20, 2, 5),
                (7, 1, 2),
                (35, 4, 5),
                (4, 5, 2),
            ],
            {
                "This counts windows that stand s apart as if they had the side s: the last one must end inside.": (
                    lambda n, k, s: n // s
                ),
                "The first window starts at 0 and counts as well.": lambda n, k, s: (n - k) // s,
                "This is ceil(n / s), the number with padding: here a window must not begin later than n - k.": (
                    lambda n, k, s: -(-n // s)
                ),
                "The number of windows is a whole number: what is left over at the end is not seen.": (
                    lambda n, k, s: (n - k) / s + 1
                ),
                "A window that is not whole does not count: round down, not up.": lambda n, k, s: -(-(n - k) // s) + 1,
                "No window fits if it is longer than the axis. (`int` and `max` turn what is below 0 into 0, and the "
                "first window is then counted.)": lambda n, k, s: int((n - k) / s) + 1,
                "A window that is not whole does not count: round down, not to the nearest.": (
                    lambda n, k, s: int((n - k) / s + 0.5) + 1
                ),
                "The windows stand s apart; this is the number for stride 1.": lambda n, k, s: n - k + 1,
                "The windows stand s apart, not k: they may overlap.": lambda n, k, s: n // k,
                "The last window may begin at n - k, with n - k counted: this stops one too early.": (
                    lambda n, k, s: len(range(0, n - k, s))
                ),
                "The 1 is added after the division, for the first window; this adds it before, rounding down.": (
                    lambda n, k, s: (n - k + 1) // s
                ),
                "This is where the last window begins; how many are there?": lambda n, k, s: (n - k) // s * s,
                "Windows begin at 0, s, 2 s ... up to n - k; this goes up to n.": lambda n, k, s: n // s + 1,
                "There is no padding here: windows lie inside.": lambda n, k, s: (n + 2 * (k // 2) - k) // s + 1,
            },
            where={
                "windows do not reach the end exactly": lambda n, k, s: (n - k) % s > 0,
                "windows reach the end exactly": lambda n, k, s: (n - k) % s == 0,
                "the stride is larger than the window": lambda n, k, s: s > k,
            },
        ),
        "With k = s = P this is the number of patches along one side.",
    ),
    Exercise(
        "20.2",
        diagnosed(
            receptive_field,
            lambda rng: STACKS,
            SLIPS,
            where={
                "different strides come together": distinct_strides,
                "there are more than two layers": lambda layers: len(layers) > 2,
                "a stride is larger than 1": lambda layers: any(s > 1 for _, s in layers),
            },
        ),
        "The root of the ResNet, (7, 2) and (3, 2), sees 11 pixels; attention sees them all from the first layer on.",
    ),
    Exercise(
        "20.3",
        diagnosed(
            _depthwise,
            _images,
            {
                "This mirrors the window, as convolution in mathematics does. The formula here does not.": (
                    lambda x, W: _depthwise(x, W[::-1, ::-1])
                ),
                "This adds the channels up. In a depthwise convolution each stays by itself.": (
                    lambda x, W: _depthwise(x, W).sum(axis=-1)
                ),
                "Rows and columns of the window are exchanged.": lambda x, W: _depthwise(x, W.swapaxes(0, 1)),
                "This mirrors the rows of the window. The formula does not.": lambda x, W: _depthwise(x, W[::-1]),
                "This mirrors the columns of the window. The formula does not.": lambda x, W: _depthwise(x, W[:, ::-1]),
                "Each channel has weights of its own; this uses those of the first for all.": (
                    lambda x, W: _depthwise(x, 0 * W + W[..., :1])
                ),
                "Each channel has weights of its own; this uses their mean for all.": (
                    lambda x, W: _depthwise(x, 0 * W + W.mean(axis=-1, keepdims=True))
                ),
                "The channels are exchanged: channel c has the weights W[..., c].": (
                    lambda x, W: _depthwise(x, W[..., ::-1])
                ),
                "Sum over the window, do not take the mean.": lambda x, W: _depthwise(x, W) / len(W) ** 2,
                "This adds the channels up and gives every channel the sum. In a depthwise convolution each stays by "
                "itself.": lambda x, W: _depthwise(x, W).sum(axis=-1, keepdims=True) + 0 * _depthwise(x, W),
                "Only one place of the window is left: add up all of them, +=.": (
                    lambda x, W: _shifted(x, len(W) - 1, len(W) - 1, len(W)) * W[-1, -1]
                ),
                "The window is not moved: y[i, j] reads x[i + u, j + v].": (
                    lambda x, W: _shifted(x, 0, 0, len(W)) * W.sum(axis=(0, 1))
                ),
            },
            where={
                "the window is larger than one pixel": lambda x, W: len(W) > 1,
                "the side of the window is even": lambda x, W: len(W) % 2 == 0,
                "the side of the window is odd": lambda x, W: len(W) % 2 == 1,
                "there is more than one channel": lambda x, W: x.shape[2] > 1,
            },
            allowed=(),
        ),
        "k * k * C weights instead of k * k * C * C.",
    ),
    Exercise(
        "20.4",
        diagnosed(
            _backward,
            _images_and_gradients,
            {
                "dW is right. Windows overlap: their gradients must be added (+=), here the last one wins.": _assigned,
                "dW is right. The gradient goes back to where the pixel came from: shift by (u, v), with W[u, v] for "
                "the same u and v.": lambda x, W, dy: (_backward(x, W[::-1, ::-1], dy)[0], _backward(x, W, dy)[1]),
                "dx is right. The weight at (u, v) is used at every place: sum over the places, do not take the "
                "mean.": lambda x, W, dy: (
                    _backward(x, W, dy)[0],
                    _backward(x, W, dy)[1] / (dy.shape[0] * dy.shape[1]),
                ),
                "dW is right. Windows overlap: their gradients must be added (+=), here each window overwrites the one "
                "before.": _windows_assigned,
                "dW is right. Every place of the window shifts dy: dx[i + u, j + v] gets dy[i, j] W[u, v].": _not_moved,
                "dW is right. Rows and columns of the window are exchanged in dx.": (
                    lambda x, W, dy: (_backward(x, W.swapaxes(0, 1), dy)[0], _backward(x, W, dy)[1])
                ),
                "dx is right. Rows and columns are exchanged in dW.": (
                    lambda x, W, dy: (_backward(x, W, dy)[0], _backward(x, W, dy)[1].swapaxes(0, 1))
                ),
                "dx is right. dW is mirrored: W[u, v] met the pixels that are shifted by the same (u, v).": (
                    lambda x, W, dy: (_backward(x, W, dy)[0], _backward(x, W, dy)[1][::-1, ::-1])
                ),
                "dx is right. The weight at (u, v) is used at every place; this counts the last one.": _last_place,
                "dx is right. Each channel has weights of its own: dW is not summed over the channels.": (
                    lambda x, W, dy: (_backward(x, W, dy)[0], 0 * W + _backward(x, W, dy)[1].sum(-1, keepdims=True))
                ),
                "dW is right. Each channel has a gradient of its own: dx is not summed over the channels.": (
                    lambda x, W, dy: (0 * x + _backward(x, W, dy)[0].sum(-1, keepdims=True), _backward(x, W, dy)[1])
                ),
            },
            where={
                "the window is larger than one pixel": lambda x, W, dy: len(W) > 1,
                "the window is smaller than the image": lambda x, W, dy: dy.shape[:2] != (1, 1),
                "there is more than one channel": lambda x, W, dy: x.shape[2] > 1,
            },
            allowed=(),
            results="dx dW",
        ),
        "Forward, x is shifted; backward, dy is shifted the other way.",
    ),
]
