"""CPU kernels: the ops that dominate a training step, computed in tiles that stay in the cache.

A chain of NumPy functions over a large array reads and writes main memory once per function. Cut into tiles of
`TILE` elements, the same chain works inside the L2 cache, with intermediate results in a few small reused buffers.
Each kernel has the contract and the formula of the op of the same name in `minivit.ops`, where both are explained; one
that cannot handle its arguments returns NotImplemented, and the op itself runs.
"""

import math
from collections.abc import Iterator

import numpy as np

from minivit.backend.kernels import register

TILE = 1 << 16  # elements: 256 KiB of float32, an eighth of a common L2 cache


@register("gelu", np.ndarray)
def gelu(x, form="tanh"):
    if form != "tanh" or x.dtype.kind != "f":
        return NotImplemented
    a = math.sqrt(2 / math.pi)
    b = a * 0.044715
    flat = x.reshape(-1)
    y, slope = np.empty_like(flat), np.empty_like(flat)
    scratch = np.empty(min(TILE, flat.size), flat.dtype)
    for start in range(0, flat.size, TILE):
        tile = slice(start, start + TILE)
        xt, yt, u = flat[tile], y[tile], slope[tile]
        t = scratch[: xt.size]
        np.multiply(xt, xt, out=u)
        np.multiply(u, b, out=t)
        t += a
        t *= xt
        np.tanh(t, out=t)  # t = tanh(a x + b x^3)
        u *= 3 * b
        u += a
        u *= xt  # x times the derivative of the argument
        np.multiply(t, t, out=yt)
        np.subtract(1, yt, out=yt)
        u *= yt
        t += 1
        u += t
        u *= 0.5  # the slope of gelu: all that the backward pass needs
        np.multiply(xt, t, out=yt)
        yt *= 0.5
    slope = slope.reshape(x.shape)

    def vjp(g):
        return (g * slope,)

    return y.reshape(x.shape), vjp


@register("linear", np.ndarray)
def linear(x, weight, bias=None):
    if weight.ndim != 2 or x.ndim == 0 or x.shape[-1] != weight.shape[0] or x.dtype != weight.dtype:
        return NotImplemented
    if bias is not None and (bias.shape != weight.shape[1:] or bias.dtype != x.dtype):
        return NotImplemented
    rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    y = rows @ weight
    if bias is not None:
        for tile in row_tiles(*y.shape):
            y[tile] += bias

    def vjp(g):
        g_rows = g.reshape(rows.shape[0], weight.shape[1])
        db = None if bias is None else np.ones(len(g_rows), g.dtype) @ g_rows  # a product is faster than a sum
        return (g_rows @ weight.T).reshape(x.shape), rows.T @ g_rows, db

    return y.reshape(*x.shape[:-1], weight.shape[1]), vjp


@register("layer_norm", np.ndarray)
def layer_norm(x, scale, bias, eps=1e-6):
    if not (x.dtype == scale.dtype == bias.dtype) or x.dtype.kind != "f" or x.size == 0:
        return NotImplemented
    if x.ndim == 0 or not (scale.shape == bias.shape == x.shape[-1:]):
        return NotImplemented
    width = x.shape[-1]
    rows = x.reshape(-1, width)
    y, x_hat = np.empty_like(rows), np.empty_like(rows)
    inverse_std = np.empty((len(rows), 1), x.dtype)
    average = np.full(width, 1 / width, x.dtype)  # a product with it is the mean, several times faster than x.mean
    for tile in row_tiles(len(rows), width):
        c, r = x_hat[tile], inverse_std[tile]
        np.subtract(rows[tile], (rows[tile] @ average)[:, None], out=c)
        r[:, 0] = np.vecdot(c, c)
        r *= 1 / width
        r += eps
        np.sqrt(r, out=r)
        np.divide(1, r, out=r)
        c *= r
        np.multiply(c, scale, out=y[tile])
        y[tile] += bias

    def vjp(g):
        g_rows = g.reshape(-1, width)
        dx = np.empty_like(x_hat)
        dscale, dbias = np.zeros_like(scale), np.zeros_like(scale)
        for tile in row_tiles(len(g_rows), width):
            gt, xt, h = g_rows[tile], x_hat[tile], dx[tile]
            ones = np.ones(len(gt), g.dtype)
            dbias += ones @ gt
            product = gt * xt
            dscale += ones @ product
            np.multiply(gt, scale, out=h)
            mean_h = h @ average
            mean_hx = product @ (scale * average)
            np.multiply(xt, mean_hx[:, None], out=product)
            h -= product
            h -= mean_h[:, None]
            h *= inverse_std[tile]
        return dx.reshape(x.shape), dscale, dbias

    return y.reshape(x.shape), vjp


@register("attention", np.ndarray)
def attention(qkv, heads, keep=None):
    if keep is not None or qkv.ndim != 3 or qkv.shape[-1] % (3 * heads) or qkv.size == 0 or qkv.dtype.kind != "f":
        return NotImplemented
    batch, tokens, packed = qkv.shape
    width = packed // 3
    q, k, v = _heads_of(qkv, heads, 3)  # each a view (B, H, N, K)
    scale = 1 / math.sqrt(width // heads)
    y = np.empty((batch, tokens, width), qkv.dtype)
    (y_heads,) = _heads_of(y, heads, 1)
    weights = np.empty((batch, heads, tokens, tokens), qkv.dtype)
    for tile in row_tiles(batch, heads * tokens * tokens):
        a = weights[tile]
        np.matmul(q[tile], k[tile].swapaxes(-1, -2), out=a)
        a -= a.max(axis=-1, keepdims=True)
        a *= scale
        np.exp(a, out=a)
        a *= 1 / a.sum(axis=-1, keepdims=True)
        np.matmul(a, v[tile], out=y_heads[tile])

    def vjp(g):
        (g_heads,) = _heads_of(g, heads, 1)
        dqkv = np.empty_like(qkv)
        dq, dk, dv = _heads_of(dqkv, heads, 3)
        for tile in row_tiles(batch, heads * tokens * tokens):
            a, gt = weights[tile], g_heads[tile]
            np.matmul(a.swapaxes(-1, -2), gt, out=dv[tile])
            ds = gt @ v[tile].swapaxes(-1, -2)
            ds -= np.vecdot(ds, a)[..., None]
            ds *= a
            ds *= scale
            np.matmul(ds, k[tile], out=dq[tile])
            np.matmul(ds.swapaxes(-1, -2), q[tile], out=dk[tile])
        return (dqkv,)

    return y, vjp


def _heads_of(packed: np.ndarray, heads: int, parts: int) -> np.ndarray:
    """(B, N, parts H K) as views (parts, B, H, N, K)."""
    batch, tokens, features = packed.shape
    return packed.reshape(batch, tokens, parts, heads, features // (parts * heads)).transpose(2, 0, 3, 1, 4)


def row_tiles(rows: int, width: int) -> Iterator[slice]:
    """Slices of whole rows, about TILE elements each."""
    step = max(1, TILE // max(1, width))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))
