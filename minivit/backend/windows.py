"""Where the windows of a convolution or a pooling lie on an image, and the border that they need."""

from minivit.backend.arrays import Array, xp_of


def window_span(size: int, window: int, stride: int, padding: str) -> tuple[int, int, int]:
    """Along one axis of `size` pixels: the number of windows, and the pixels to add before and after.

    padding "same", as in TensorFlow: ceil(size / stride) windows, half of the border before; where its length is odd
    the extra pixel comes after. So 7 x 7 windows at stride 2 on an even number of pixels get 2 before and 3 after,
    where code that pads symmetrically (PyTorch) has 3 and 3: another phase, which the weights are trained for.
    padding "valid": only windows that lie inside the image.
    """
    if padding == "valid":
        return max(0, (size - window) // stride + 1), 0, 0
    count = -(-size // stride)
    border = max((count - 1) * stride + window - size, 0)
    return count, border // 2, border - border // 2


def add_border(
    x: Array, window: tuple[int, int], stride: int, padding: str, fill: float = 0.0
) -> tuple[Array, tuple[slice, ...], tuple[int, int]]:
    """x (B, height, width, C) with the border that the windows need, filled with `fill`; the index of x within it; the
    number of rows and columns of windows."""
    rows, top, bottom = window_span(x.shape[1], window[0], stride, padding)
    columns, left, right = window_span(x.shape[2], window[1], stride, padding)
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
    """For every place (u, v) in a window, row by row: the index of the pixels that lie there, one for each window."""
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
