"""The places of the windows of a convolution or pooling on an image, and the border that they need."""

from collections.abc import Callable
from typing import Any

from minivit.backend.arrays import Array, xp_of

Padding = str | int | tuple[int, int]  # "same", "valid", pixels on every side, or above and below and at the sides


def is_padding(padding: object) -> bool:
    """Whether this is a valid padding."""
    if isinstance(padding, tuple):
        return len(padding) == 2 and all(type(pixels) is int and pixels >= 0 for pixels in padding)
    return padding in ("same", "valid") if isinstance(padding, str) else type(padding) is int and padding >= 0


def window_span(size: int, window: int, stride: int, padding: str | int) -> tuple[int, int, int]:
    """Along one axis of `size` pixels: the number of windows, and the pixels to add before and after.

    padding "same", as in TensorFlow: ceil(size / stride) windows, half of the border before; where its length is odd
    the extra pixel comes after. So 7 x 7 windows at stride 2 on an even number of pixels get 2 before and 3 after,
    where code that pads symmetrically (PyTorch) has 3 and 3: another phase, which the weights are trained for.
    padding "valid": only windows that lie inside the image. A number: so many pixels before and as many after.
    """
    if padding != "same":
        pixels = 0 if padding == "valid" else int(padding)
        return max(0, (size + 2 * pixels - window) // stride + 1), pixels, pixels
    count = -(-size // stride)
    border = max((count - 1) * stride + window - size, 0)
    return count, border // 2, border - border // 2


def add_border(
    x: Array, window: tuple[int, int], stride: int, padding: Padding, fill: float = 0.0
) -> tuple[Array, tuple[slice, ...], tuple[int, int]]:
    """x (B, height, width, C) with the border that the windows need, filled with `fill`; the index of x within it; the
    number of rows and columns of windows."""
    above, beside = padding if isinstance(padding, tuple) else (padding, padding)
    rows, top, bottom = window_span(x.shape[1], window[0], stride, above)
    columns, left, right = window_span(x.shape[2], window[1], stride, beside)
    inside = (slice(None), slice(top, top + x.shape[1]), slice(left, left + x.shape[2]))
    if top + bottom + left + right == 0:
        return x, inside, (rows, columns)
    shape = (x.shape[0], x.shape[1] + top + bottom, x.shape[2] + left + right, x.shape[3])
    bordered = xp_of(x).full(shape, fill, dtype=x.dtype)
    bordered[inside] = x
    return bordered, inside, (rows, columns)


def window_offsets(
    window: tuple[int, int], stride: int, count: tuple[int, int]
) -> dict[tuple[int, int], tuple[slice, ...]]:
    """For every place (u, v) in a window, row by row: the index of the pixels there, one for each window."""
    rows, columns = count
    return {
        (u, v): (
            slice(None),
            slice(u, u + stride * (rows - 1) + 1, stride),
            slice(v, v + stride * (columns - 1) + 1, stride),
        )
        for u in range(window[0])
        for v in range(window[1])
    }


def in_groups(conv2d: Callable, x: Array, weight: Array, groups: int, stride: int, padding: Padding) -> Any:
    """Apply the convolution, op or kernel, to each of `groups` runs of channels with its filters, and join the
    results."""
    xp = xp_of(x)
    done = [
        conv2d(part, filters, stride, padding)
        for part, filters in zip(xp.split(x, groups, axis=3), xp.split(weight, groups, axis=3), strict=True)
    ]
    if any(result is NotImplemented for result in done):
        return NotImplemented
    y = xp.concatenate([part for part, _ in done], axis=3)

    def vjp(g):
        pulled = [back(part) for (_, back), part in zip(done, xp.split(g, groups, axis=3), strict=True)]
        return tuple(xp.concatenate(parts, axis=3) for parts in zip(*pulled, strict=True))

    return y, vjp
