"""Ops that work along rows: layer_norm, softmax, cross_entropy."""

import math

import numpy as np

from minivit.backend.arrays import Array, xp_of
from minivit.backend.cupy_kernels.launch import Launcher, contiguous, fits, kernel, type_name
from minivit.backend.cupy_kernels.sums import finish
from minivit.backend.cupy_kernels.table import register
from minivit.backend.precision import bfloat16, products

ROWS_PER_BLOCK = 4  # one warp each
WIDEST = 1536  # of a row that layer_norm keeps in registers; the backward pass of wider ones spills 400 bytes and more


@register("layer_norm")
def layer_norm(x, scale, bias, eps=1e-6):
    if not _layer_norm_fits(x, scale, bias):
        return NotImplemented
    x, scale = contiguous(x), contiguous(scale)
    y, mean, inverse_std = _layer_norm_forward(x, scale, bias, eps, keep=True)

    def vjp(g, residual=None):
        rows, width = x.size // x.shape[-1], x.shape[-1]
        xp = xp_of(x)
        backward = _layer_norm_kernel("layer_norm_backward", x, y)
        dx, grid = xp.empty_like(x), backward.blocks(rows // ROWS_PER_BLOCK, 128)
        partial = xp.empty((2, grid, width), "float32")
        residual = residual if residual is None else contiguous(residual.astype(x.dtype, copy=False))
        g = contiguous(g.astype(y.dtype, copy=False))
        backward(grid, 128, g, x, scale, mean, inverse_std, residual, dx, partial, np.int32(rows))
        dscale, dbias = finish(partial)
        return dx, dscale, dbias

    vjp.adds_residual = True  # type: ignore[attr-defined]  # the engine may pass what has reached x around the branch
    return y, vjp


@register("layer_norm", vjp=False)
def layer_norm_value(x, scale, bias, eps=1e-6):
    if not _layer_norm_fits(x, scale, bias):
        return NotImplemented
    return _layer_norm_forward(contiguous(x), scale, bias, eps, keep=False)[0], None


def _layer_norm_fits(x: Array, scale: Array, bias: Array) -> bool:
    if x.ndim == 0 or not fits(x) or x.shape[-1] > WIDEST:
        return False
    return scale.dtype == bias.dtype == "float32" and scale.shape == bias.shape == x.shape[-1:]


def _layer_norm_forward(x: Array, scale: Array, bias: Array, eps: float, keep: bool) -> tuple:
    """y, mean and 1 / sqrt(var + eps) of each row; the last two None if they are not to be kept."""
    xp, rows = xp_of(x), x.size // x.shape[-1]
    y = xp.empty(x.shape, bfloat16() if products() == "bf16" else x.dtype)
    mean, inverse_std = (xp.empty(rows, "float32"), xp.empty(rows, "float32")) if keep else (None, None)
    forward = _layer_norm_kernel("layer_norm_forward", x, y)
    grid = -(-rows // ROWS_PER_BLOCK)
    forward(grid, 128, x, contiguous(scale), contiguous(bias), y, mean, inverse_std, np.int32(rows), np.float32(eps))
    return y, mean, inverse_std


def _layer_norm_kernel(name: str, x: Array, y: Array) -> Launcher:
    return kernel("layer_norm.cu", name, X=type_name(x), Y=type_name(y), WIDTH=x.shape[-1])


@register("softmax")
def softmax(x, axis=-1):
    if x.ndim == 0 or axis not in (-1, x.ndim - 1) or not fits(x):
        return NotImplemented
    y = scaled_softmax(x, 1.0)

    def vjp(g):
        return (scaled_softmax_vjp(y, g.astype(y.dtype, copy=False), 1.0),)

    return y, vjp


def scaled_softmax(
    x: Array, scale: float, width: int | None = None, out: Array | None = None, empty: float = math.nan
) -> Array:
    """softmax(scale x) over the first `width` columns of the last axis (default: all); the others are undefined.

    out: receives it, of the shape of x, float32 or bfloat16; may be x. empty: for a row of minus infinity alone, NaN
    or 0.
    """
    x = contiguous(x)
    y, pitch = xp_of(x).empty_like(x) if out is None else out, x.shape[-1]
    rows = x.size // pitch
    sizes = np.int64(rows), np.int32(width or pitch), np.int32(pitch), np.float32(scale)
    forward = kernel("softmax.cu", "softmax_forward", X=type_name(x), Y=type_name(y))
    forward(-(-rows // ROWS_PER_BLOCK), 128, x, y, *sizes, np.float32(empty))
    return y


def scaled_softmax_vjp(y: Array, g: Array, scale: float, width: int | None = None, out: Array | None = None) -> Array:
    """dx of y = softmax(scale x), over as many columns.   g: float32 or bfloat16. out: of y's dtype; may be g."""
    g = contiguous(g)
    dx, pitch = xp_of(y).empty_like(y) if out is None else out, y.shape[-1]
    rows = y.size // pitch
    sizes = np.int64(rows), np.int32(width or pitch), np.int32(pitch), np.float32(scale)
    backward = kernel("softmax.cu", "softmax_backward", X=type_name(g), Y=type_name(y))
    backward(-(-rows // ROWS_PER_BLOCK), 128, y, g, dx, *sizes)
    return dx


@register("cross_entropy")
def cross_entropy(logits, labels, label_smoothing=0.0):
    """A class number out of range gives a loss of NaN: to raise, the host would have to wait for the GPU."""
    xp = xp_of(logits)
    if logits.ndim == 0 or not fits(logits):
        return NotImplemented
    labels = xp.asarray(labels)
    dense = labels.shape == logits.shape
    if not dense and (labels.shape != logits.shape[:-1] or labels.dtype.kind not in "iu"):
        return NotImplemented
    # the backward pass reads the labels: a copy, which the caller cannot change
    logits, labels = contiguous(logits), labels.astype("float32" if dense else "int64", order="C")
    classes = logits.shape[-1]
    rows = logits.size // classes
    losses, log_sum = xp.empty(rows, "float32"), xp.empty(rows, "float32")
    types = {"T": type_name(logits), "LABEL": "float" if dense else "long long"}
    sizes = np.int32(rows), np.int32(classes), np.float32(label_smoothing)
    grid = -(-rows // ROWS_PER_BLOCK)
    kernel("cross_entropy.cu", "cross_entropy_forward", **types)(grid, 128, logits, labels, losses, log_sum, *sizes)

    def vjp(g):
        dlogits = xp.empty_like(logits)
        backward = kernel("cross_entropy.cu", "cross_entropy_backward", **types)
        g = contiguous(g.astype("float32", copy=False))
        backward(grid, 128, logits, labels, log_sum, g, dlogits, *sizes)
        return dlogits, None

    return losses.mean(), vjp
