"""Matrix products and what is fused with them: matmul, linear, gelu, linear_gelu."""

import numpy as np

from minivit.backend.arrays import Array, xp_of
from minivit.backend.cupy_kernels.launch import contiguous, fits, kernel, type_name
from minivit.backend.cupy_kernels.product import product
from minivit.backend.cupy_kernels.sums import column_sums
from minivit.backend.cupy_kernels.table import register
from minivit.backend.precision import narrow, results_are_wide


@register("matmul")
def matmul(x, y):
    if min(x.ndim, y.ndim) < 2 or x.shape[:-2] != y.shape[:-2] or x.shape[-1] != y.shape[-2] or not fits(x, y):
        return NotImplemented
    x, y = narrow(x), narrow(y)

    def vjp(g):
        return product(g, y, transpose_b=True), product(x, g, transpose_a=True)

    return product(x, y), vjp


@register("linear")
def linear(x, weight, bias=None):
    if not _linear_fits(x, weight, bias):
        return NotImplemented
    rows, narrow_weight = _rows(narrow(x)), narrow(weight)
    wide = np.dtype("float32") if results_are_wide() else None
    y = product(rows, narrow_weight, bias=bias if bias is None or wide else narrow(bias), dtype=wide)

    def vjp(g):
        g = _rows(g.astype(rows.dtype, copy=False))
        dx, dw = _product_gradients(g, rows, narrow_weight)
        return dx.reshape(x.shape), dw, None if bias is None else column_sums(g)

    return y.reshape(*x.shape[:-1], weight.shape[1]), vjp


@register("linear_gelu")
def linear_gelu(x, weight, bias, form="tanh"):
    if not _linear_fits(x, weight, bias) or form not in FORMS:
        return NotImplemented
    rows, narrow_weight, bias = _rows(narrow(x)), narrow(weight), contiguous(bias)
    h = product(rows, narrow_weight)
    y = _bias_gelu(h, bias, form)

    def vjp(g):
        dh, db = _bias_gelu_vjp(_rows(g), h, bias, form)
        dx, dw = _product_gradients(dh, rows, narrow_weight)
        return dx.reshape(x.shape), dw, db

    return y.reshape(*x.shape[:-1], weight.shape[1]), vjp


@register("gelu")
def gelu(x, form="tanh"):
    if x.ndim == 0 or form not in FORMS or not fits(x):
        return NotImplemented
    x = contiguous(narrow(x))

    def vjp(g):
        return (_bias_gelu_vjp(contiguous(g), x, None, form)[0],)

    return _bias_gelu(x, None, form), vjp


FORMS = {"tanh": 0, "erf": 1, "quick": 2}


def _linear_fits(x: Array, weight: Array, bias: Array | None) -> bool:
    if x.ndim == 0 or weight.ndim != 2 or x.shape[-1] != weight.shape[0] or not fits(x, weight, bias):
        return False
    return bias is None or bias.shape == weight.shape[1:]


def _rows(x: Array) -> Array:
    """All leading axes flattened into rows."""
    return contiguous(x).reshape(-1, x.shape[-1])


def _product_gradients(g: Array, x: Array, weight: Array) -> tuple[Array, Array]:
    """dx and dW of x W; dW in float32, as its sum leaves the matrix unit."""
    g = g.astype(x.dtype, copy=False)
    return product(g, weight, transpose_b=True), product(x, g, transpose_a=True, dtype=np.dtype("float32"))


def _bias_gelu(x: Array, bias: Array | None, form: str) -> Array:
    """gelu(x + bias); x: contiguous (..., width)."""
    y, width = xp_of(x).empty_like(x), x.shape[-1]
    rows = x.size // width
    forward = kernel("gelu.cu", "bias_gelu_forward", T=type_name(x), FORM=FORMS[form])
    threads = _gelu_threads(width)
    forward(forward.blocks(rows, threads), threads, x, bias, y, np.int64(rows), np.int32(width))
    return y


def _bias_gelu_vjp(g: Array, x: Array, bias: Array | None, form: str) -> tuple[Array, Array | None]:
    """dx, and the gradient of the bias if there is one, in the same pass."""
    xp, width = xp_of(x), x.shape[-1]
    rows = x.size // width
    backward, threads = kernel("gelu.cu", "bias_gelu_backward", T=type_name(x), FORM=FORMS[form]), _gelu_threads(width)
    dx, grid = xp.empty_like(x), backward.blocks(rows, threads)
    partial = None if bias is None else xp.empty((grid, width), "float32")
    g = g.astype(x.dtype, copy=False)
    backward(grid, threads, g, x, bias, dx, partial, np.int64(rows), np.int32(width))
    return dx, None if partial is None else column_sums(partial)


def _gelu_threads(width: int) -> int:
    """Threads per block: one for 8 columns, in whole warps, as long as that is no more than 512."""
    return min(512, -(-width // 256) * 32)
