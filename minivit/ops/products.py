"""Matrix products."""

import math

from minivit.backend import Array
from minivit.ops.activations import gelu


def matmul(x: Array, y: Array):
    """z = x y.   x: (..., n, k), y: (..., k, m), z: (..., n, m); leading axes broadcast, 1-D arguments as in NumPy.

    dx = g y^T,  dy = x^T g.
    """
    if x.ndim == 0 or y.ndim == 0 or x.shape[-1] != y.shape[-2 if y.ndim > 1 else 0]:
        raise ValueError(f"matmul: x {x.shape} and y {y.shape} do not agree in the summed axis")
    z = x @ y

    def vjp(g):
        g = g if y.ndim > 1 else g[..., None]  # a vector y is a column, a vector x a row
        g = g if x.ndim > 1 else g[..., None, :]
        row = x if x.ndim > 1 else x[None]
        column = y if y.ndim > 1 else y[:, None]
        dx = g @ column.swapaxes(-1, -2)
        dy = row.swapaxes(-1, -2) @ g
        return (dx if x.ndim > 1 else dx[..., 0, :]), (dy if y.ndim > 1 else dy[..., 0])

    return z, vjp


def linear(x: Array, weight: Array, bias: Array | None = None):
    """y = x W + b.   x: (..., D), weight: (D, E), bias: (E,), y: (..., E).

    All leading axes are flattened into rows first: one large product is faster than many small ones, and dW is then
    a single product instead of a sum of products.

    dx = g W^T,  dW = x^T g,  db = sum of g over rows.
    """
    if weight.ndim != 2 or x.ndim == 0 or x.shape[-1] != weight.shape[0]:
        raise ValueError(
            f"linear: x has {x.shape[-1] if x.ndim else 'no'} features in its last axis {x.shape}, "
            f"weight expects {weight.shape[0] if weight.ndim else '(D, E)'} {weight.shape}"
        )
    if bias is not None and bias.shape != weight.shape[1:]:
        raise ValueError(f"linear: bias has shape {bias.shape}, weight {weight.shape} expects {weight.shape[1:]}")
    rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    y = rows @ weight
    if bias is not None:
        y += bias
    y = y.reshape(*x.shape[:-1], weight.shape[1])

    def vjp(g):
        g_rows = g.reshape(rows.shape[0], weight.shape[1])
        dx = (g_rows @ weight.T).reshape(x.shape)
        dw = rows.T @ g_rows
        return dx, dw, None if bias is None else g_rows.sum(axis=0)

    return y, vjp


def linear_gelu(x: Array, weight: Array, bias: Array, form: str = "tanh"):
    """y = gelu(x W + b), the first half of an MLP: one op, so that a kernel can add b and apply gelu in one pass.

    Shapes as in linear, form as in gelu.   dx = (g gelu'(x W + b)) W^T, and dW, db likewise those of linear.
    """
    h, linear_vjp = linear(x, weight, bias)
    y, gelu_vjp = gelu(h, form)

    def vjp(g):
        return linear_vjp(*gelu_vjp(g))

    return y, vjp
