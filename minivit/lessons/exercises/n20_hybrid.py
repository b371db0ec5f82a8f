"""Exercises of notebook 20, the hybrid."""

import numpy as np

from minivit.lessons.exercise import Exercise
from minivit.lessons.judges import function_like


def _receptive_field(layers: list[tuple[int, int]]) -> int:
    field, jump = 1, 1
    for k, s in layers:
        field += (k - 1) * jump
        jump *= s
    return field


def _stride_counts_too_early(layers: list[tuple[int, int]]) -> int:
    field, jump = 1, 1
    for k, s in layers:
        jump *= s
        field += (k - 1) * jump
    return field


def _from_the_wrong_end(layers: list[tuple[int, int]]) -> int:
    field = 1
    for k, s in layers:
        field = (field - 1) * s + k
    return field


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


def _images(rng: np.random.Generator) -> list[tuple[np.ndarray, ...]]:
    sizes = ((5, 7, 2, 3), (4, 6, 3, 2), (6, 5, 1, 4))
    return [(rng.standard_normal((h, w, c)), rng.standard_normal((k, k, c))) for h, w, c, k in sizes]


def _images_and_gradients(rng: np.random.Generator) -> list[tuple[np.ndarray, ...]]:
    return [(x, W, rng.standard_normal(_depthwise(x, W).shape)) for x, W in _images(rng)]


EXERCISES = [
    Exercise(
        "20.1",
        function_like(
            lambda n, k, s: (n - k) // s + 1,
            lambda rng: [(32, 7, 2), (9, 3, 1), (10, 4, 3), (8, 8, 8)],
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
            },
        ),
        "With k = s = P this is the number of patches along one side.",
    ),
    Exercise(
        "20.2",
        function_like(
            _receptive_field,
            lambda rng: [([(3, 1), (3, 1)],), ([(7, 2), (3, 2)],), ([(3, 2), (3, 2), (3, 1)],), ([(5, 1)],)],
            {
                "Windows of neighbouring outputs overlap: the second layer adds k - 1 steps, not k.": (
                    lambda layers: sum(k for k, _ in layers)
                ),
                "This ignores the strides. A step in a later layer is as many pixels as all strides before it "
                "multiplied.": lambda layers: 1 + sum(k - 1 for k, _ in layers),
                "The stride of a layer widens the steps of the layers after it, not its own.": _stride_counts_too_early,
                "The recursion is run from the wrong end: go from the last layer to the first, or carry the product of "
                "the strides along.": _from_the_wrong_end,
                "The fields do not multiply: neighbouring windows overlap.": (
                    lambda layers: int(np.prod([k for k, _ in layers]))
                ),
            },
        ),
        "The root of the ResNet, (7, 2) and (3, 2), sees 11 pixels; attention sees them all from the first layer on.",
    ),
    Exercise(
        "20.3",
        function_like(
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
            },
        ),
        "k * k * C weights instead of k * k * C * C.",
    ),
    Exercise(
        "20.4",
        function_like(
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
            },
        ),
        "Forward, x is shifted; backward, dy is shifted the other way.",
    ),
]
