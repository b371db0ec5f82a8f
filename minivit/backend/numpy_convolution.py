"""CPU kernels of convolutional networks: conv2d and group_norm. See `numpy_kernels` for what a kernel is.

conv2d copies the windows of a tile of the output side by side (im2col) and multiplies them with the weight as one
matrix: one product over all places of the window is far larger than one for each, and the copy stays in the cache.
Depthwise, nothing is left to multiply as a matrix: it is the sum over shifted images.
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minivit.backend.kernels import register
from minivit.backend.tiles import row_tiles
from minivit.backend.windows import Padding, add_border, in_groups, is_padding, window_offsets


@register("conv2d", np.ndarray)
def conv2d(x, weight, stride=1, padding="same", groups=1):
    if not _conv2d_fits(x, weight, stride, groups) or not is_padding(padding):
        return NotImplemented
    window, filters = weight.shape[:2], weight.shape[3]
    if groups > 1 and groups == filters == x.shape[3]:
        return _depthwise(x, weight[:, :, 0], stride, padding)
    if groups > 1:
        return in_groups(conv2d, x, weight, groups, stride, padding)
    if window == (1, 1) and padding in ("same", "valid", 0, (0, 0)):
        return _conv2d_1x1(x, weight, stride)
    x = np.ascontiguousarray(x)
    bordered, inside, count = add_border(x, window, stride, padding)
    if min(count) < 1:
        return NotImplemented
    matrix = weight.reshape(-1, filters)  # (places in the window times C, E)
    y = np.empty((len(x), *count, filters), x.dtype)
    views = windows_of(bordered, window, stride, count)
    tiles = list(_window_tiles(len(x), *count, len(matrix)))
    for tile in tiles:
        np.matmul(views[tile].reshape(-1, len(matrix)), matrix, out=y[tile].reshape(-1, filters))

    def vjp(g):
        bordered, _, _ = add_border(x, window, stride, padding)  # again: kept, it would be a copy of x in memory
        views = windows_of(bordered, window, stride, count)
        dmatrix = np.zeros_like(matrix, order="C")
        for tile in tiles:
            dmatrix += views[tile].reshape(-1, len(matrix)).T @ g[tile].reshape(-1, filters)
        beyond = _border_of_gradient(bordered.shape, x.shape, inside, window)
        if stride == 1 and padding != "valid" and beyond is not None:
            dx, _ = conv2d(g, weight[::-1, ::-1].swapaxes(2, 3), padding=beyond)
        else:
            dbordered = np.zeros_like(bordered)
            apart = -(-window[1] // stride)  # every so many windows of a row do not overlap
            _add_to_windows(windows_of(dbordered, window, stride, count), apart, g, matrix, tiles)
            dx = dbordered[inside]
        return dx, dmatrix.reshape(weight.shape)

    return y, vjp


def _add_to_windows(dviews: np.ndarray, apart: int, g: np.ndarray, matrix: np.ndarray, tiles: list) -> None:
    """Add g matrix^T, the gradients of the windows, to the windows themselves, every `apart`-th of a row at a time."""
    transposed = np.ascontiguousarray(matrix.T)
    for tile in tiles:
        dview = dviews[tile]
        columns = (g[tile].reshape(-1, g.shape[3]) @ transposed).reshape(dview.shape)
        for u in range(dview.shape[3]):
            for first in range(apart):
                dview[:, :, first::apart, u] += columns[:, :, first::apart, u]


def _border_of_gradient(bordered: tuple, image: tuple, inside: tuple, window: tuple[int, int]) -> Padding | None:
    """Where the border is as wide on both sides and the stride is 1, dx is itself a convolution, of g with the mirrored
    weight: the border of g in it."""
    before = inside[1].start, inside[2].start
    symmetric = all(bordered[i] == image[i] + 2 * before[i - 1] for i in (1, 2))
    beyond = window[0] - 1 - before[0], window[1] - 1 - before[1]
    return beyond if symmetric and min(beyond) >= 0 else None


def _conv2d_fits(x: np.ndarray, weight: np.ndarray, stride: int, groups: int) -> bool:
    if x.ndim != 4 or weight.ndim != 4 or stride < 1 or groups < 1:
        return False
    if x.shape[3] != groups * weight.shape[2] or weight.shape[3] % groups:
        return False
    return x.dtype == weight.dtype and x.dtype.char in "fd" and x.size > 0 and weight.size > 0


def _conv2d_1x1(x, weight, stride):
    """A matrix product for every pixel that the stride leaves; "same" and "valid" are alike."""
    matrix = weight[0, 0]
    seen = x[:, ::stride, ::stride]
    y = (seen.reshape(-1, seen.shape[3]) @ matrix).reshape(*seen.shape[:3], -1)

    def vjp(g):
        rows, g_rows = seen.reshape(-1, seen.shape[3]), g.reshape(-1, g.shape[3])
        dx = dseen = (g_rows @ matrix.T).reshape(seen.shape)
        if stride > 1:
            dx = np.zeros_like(x)
            dx[:, ::stride, ::stride] = dseen
        return dx, (rows.T @ g_rows).reshape(weight.shape)

    return y, vjp


def _depthwise(x, weight, stride, padding):
    """weight: (h, w, C), a window of one channel each."""
    window, channels = weight.shape[:2], x.shape[3]
    bordered, inside, count = add_border(x, window, stride, padding)
    if min(count) < 1:
        return NotImplemented
    offsets = window_offsets(window, stride, count)
    rows = np.repeat(weight[:, :, None], count[1], axis=2)  # (h, w, columns, C): whole rows of the image at a time
    y = np.zeros((len(x), *count, channels), x.dtype)
    tiles = list(row_tiles(len(x), 2 * math.prod(y.shape[1:])))
    for tile in tiles:
        seen, out = bordered[tile], y[tile]
        product = np.empty_like(out)
        for uv, pixels in offsets.items():
            out += np.multiply(seen[pixels], rows[uv], out=product)

    def vjp(g):
        bordered, _, _ = add_border(x, window, stride, padding)  # again, as above
        dbordered, dw = np.zeros_like(bordered), np.zeros_like(weight)
        for tile in tiles:
            seen, dseen, gt = bordered[tile], dbordered[tile], g[tile]
            product = np.empty(gt.shape, gt.dtype)
            ones = np.ones(math.prod(gt.shape[:3]), gt.dtype)  # a product with it is a sum over pixels
            for uv, pixels in offsets.items():
                dseen[pixels] += np.multiply(gt, rows[uv], out=product)
                dw[uv] += ones @ np.multiply(gt, seen[pixels], out=product).reshape(-1, channels)
        return dbordered[inside], dw[:, :, None]

    return y, vjp


def windows_of(bordered: np.ndarray, window: tuple[int, int], stride: int, count: tuple[int, int]) -> np.ndarray:
    """A view (B, rows, columns, window rows, window columns times C) of all windows of contiguous images.

    A row of a window is contiguous in memory. Windows overlap: writing to several at once needs care.
    """
    batch, _, _, channels = bordered.shape
    image, row, column, _ = bordered.strides  # that of a single channel may be anything
    shape = (batch, *count, window[0], window[1] * channels)
    return as_strided(bordered, shape, (image, stride * row, stride * column, row, bordered.itemsize))


def _window_tiles(batch: int, rows: int, columns: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Slices of several images, or of rows of windows of one; `width` numbers a window.

    Two tiles' worth of numbers, but 512 windows at least: the matrix library rearranges the weight for each product,
    which must have enough rows to pay for it.
    """
    row = columns * min(width // 2, 256)  # never 0: windows of one pixel do not come here
    for images in row_tiles(batch, rows * row):
        for some in row_tiles(rows, row):  # all of them, if there are several images
            yield images, some


@register("group_norm", np.ndarray)
def group_norm(x, scale, bias, groups=32, eps=1e-6):
    if not _group_norm_fits(x, scale, bias, groups):
        return NotImplemented
    images = x.reshape(len(x), -1, x.shape[-1])  # (B, pixels, C)
    y = np.empty_like(images, order="C")
    mean, inverse_std = np.empty((2, len(images), x.shape[-1]), x.dtype)  # of each channel's group
    tiles = list(row_tiles(len(images), images[0].size))
    average = np.full(images.shape[1], 1 / images.shape[1], x.dtype)  # a product with it is the mean over pixels
    for tile in tiles:
        out = y[tile]
        mean[tile] = _group_means(average @ images[tile], groups)
        np.subtract(images[tile], mean[tile, None], out=out)
        variance = _group_means(average @ np.square(out), groups)
        inverse_std[tile] = 1 / np.sqrt(variance + eps)
        out *= (scale * inverse_std[tile])[:, None]
        out += bias

    def vjp(g):
        g_images = g.reshape(images.shape)
        dx = np.empty_like(y)
        dscale, dbias = np.zeros_like(scale), np.zeros_like(bias)
        for tile in tiles:
            gt, x_hat, r = g_images[tile], dx[tile], inverse_std[tile]
            np.subtract(images[tile], mean[tile, None], out=x_hat)  # made again rather than kept
            x_hat *= r[:, None]
            mean_g, mean_gx = average @ gt, average @ (gt * x_hat)  # over pixels
            dbias += mean_g.sum(axis=0) * images.shape[1]
            dscale += mean_gx.sum(axis=0) * images.shape[1]
            mean_h, mean_hx = _group_means(mean_g * scale, groups), _group_means(mean_gx * scale, groups)
            x_hat *= (-mean_hx * r)[:, None]
            x_hat += gt * (scale * r)[:, None]
            x_hat -= (mean_h * r)[:, None]
        return dx.reshape(x.shape), dscale, dbias

    return y.reshape(x.shape), vjp


def _group_norm_fits(x: np.ndarray, scale: np.ndarray, bias: np.ndarray, groups: int) -> bool:
    if not (x.dtype == scale.dtype == bias.dtype) or x.dtype.char not in "fd" or x.size == 0 or x.ndim < 2:
        return False
    return scale.shape == bias.shape == x.shape[-1:] and x.shape[-1] % groups == 0


def _group_means(means: np.ndarray, groups: int) -> np.ndarray:
    """(B, C) -> (B, C): the mean over its group in place of each channel's."""
    batch, channels = means.shape
    return means.reshape(batch, groups, -1).mean(axis=2).repeat(channels // groups, axis=1)
