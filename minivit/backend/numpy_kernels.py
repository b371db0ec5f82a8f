"""CPU kernels: the ops that dominate a training step, computed in tiles that stay in the cache.

Each kernel has the contract and the formula of the op of the same name in `minivit.ops`, where both are explained. It
keeps intermediate results in a few small reused buffers. It returns NotImplemented for arguments it cannot handle, and
the op runs instead.
"""

import math
from collections.abc import Iterator

import numpy as np

from minivit.backend.kernels import register
from minivit.backend.tiles import flat_tiles, row_tiles


@register("gelu", np.ndarray)
def gelu(x, form="tanh"):
    if form not in _GELU or x.dtype.char not in "fd":
        return NotImplemented
    a, b = _GELU[form]
    y, slope = np.empty_like(x), np.empty_like(x)
    for xt, yt, st in flat_tiles(x, y, slope):
        near, s, dz = _x_sigmoid(xt, a, b, out=yt)
        dz *= 6 * b
        dz += 2 * a
        dz *= yt
        np.subtract(1, s, out=st)
        st *= dz
        st += s  # s + y (1 - s) z'
        _take_large(xt, near, yt)

    def vjp(g):
        return (g * slope,)

    return y, vjp


@register("gelu", np.ndarray, vjp=False)
def gelu_value(x, form="tanh"):
    if form not in _GELU or x.dtype.char not in "fd":
        return NotImplemented
    y = np.empty_like(x)
    for xt, yt in flat_tiles(x, y):
        near, _, _ = _x_sigmoid(xt, *_GELU[form], out=yt)
        _take_large(xt, near, yt)
    return y, None


_GELU = {"tanh": (math.sqrt(2 / math.pi), 0.044715 * math.sqrt(2 / math.pi)), "quick": (0.851, 0.0)}  # a, b below
_GELU_FAR = 40.0  # so far from 0, tanh(z / 2) is 1 or -1 to the last digit


def _x_sigmoid(x: np.ndarray, a: float, b: float, out: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Put y = x s into `out`, s = (1 + tanh(z / 2)) / 2, z = 2 (a x + b x^3); return x, s and x^2, all of x clipped to
    where they are finite: `x` itself, if it lies there."""
    square, s = np.empty_like(x), np.empty_like(x)  # out= keeps arrays of no axes arrays
    with np.errstate(over="ignore"):
        np.square(x, out=square)
    if not square.max(initial=0) < _GELU_FAR**2:
        x = np.asarray(x.clip(-_GELU_FAR, _GELU_FAR))
        np.square(x, out=square)
    np.multiply(square, b, out=s)
    s += a
    s *= x
    np.tanh(s, out=s)
    s *= 0.5
    s += 0.5
    np.multiply(x, s, out=out)
    return x, s, square


def _take_large(x: np.ndarray, near: np.ndarray, y: np.ndarray) -> None:
    """Put y = x where x has been clipped from above."""
    if near is not x:
        np.copyto(y, x, where=x > _GELU_FAR)


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


@register("linear_gelu", np.ndarray)
def linear_gelu(x, weight, bias, form="tanh"):
    first = linear(x, weight, bias)
    second = NotImplemented if first is NotImplemented else gelu(first[0], form)
    if second is NotImplemented:
        return NotImplemented
    (_, linear_vjp), (y, gelu_vjp) = first, second

    def vjp(g):
        return linear_vjp(*gelu_vjp(g))

    return y, vjp


@register("linear_gelu", np.ndarray, vjp=False)
def linear_gelu_value(x, weight, bias, form="tanh"):
    h = linear(x, weight, bias)
    return NotImplemented if h is NotImplemented else gelu_value(h[0], form)


@register("layer_norm", np.ndarray)
def layer_norm(x, scale, bias, eps=1e-6):
    if not _layer_norm_fits(x, scale, bias):
        return NotImplemented
    shape, width = x.shape, x.shape[-1]  # vjp needs no more of x than its shape, so the tape need not keep x alive
    rows = x.reshape(-1, width)
    y, x_hat = np.empty_like(rows), np.empty_like(rows)
    inverse_std = np.empty(len(rows), x.dtype)
    average = np.full(width, 1 / width, x.dtype)  # a product with it is the mean, several times faster than x.mean
    for tile in row_tiles(len(rows), width):
        inverse_std[tile] = _normalise(rows[tile], average, eps, out=x_hat[tile])
        np.multiply(x_hat[tile], scale, out=y[tile])
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
            h *= inverse_std[tile, None]
        return dx.reshape(shape), dscale, dbias

    return y.reshape(shape), vjp


@register("layer_norm", np.ndarray, vjp=False)
def layer_norm_value(x, scale, bias, eps=1e-6):
    if not _layer_norm_fits(x, scale, bias):
        return NotImplemented
    rows = x.reshape(-1, x.shape[-1])
    y = np.empty_like(rows)
    average = np.full(x.shape[-1], 1 / x.shape[-1], x.dtype)
    for tile in row_tiles(*rows.shape):
        _normalise(rows[tile], average, eps, out=y[tile])
        y[tile] *= scale
        y[tile] += bias
    return y.reshape(x.shape), None


def _layer_norm_fits(x: np.ndarray, scale: np.ndarray, bias: np.ndarray) -> bool:
    if not (x.dtype == scale.dtype == bias.dtype) or x.dtype.char not in "fd" or x.size == 0:
        return False
    return x.ndim > 0 and scale.shape == bias.shape == x.shape[-1:]


def _normalise(x: np.ndarray, average: np.ndarray, eps: float, out: np.ndarray) -> np.ndarray:
    """Put x_hat of the rows of `x` into `out`; return 1 / sqrt(var + eps) of each."""
    np.subtract(x, (x @ average)[:, None], out=out)
    inverse_std = np.vecdot(out, out)
    inverse_std *= 1 / x.shape[-1]
    inverse_std += eps
    np.sqrt(inverse_std, out=inverse_std)
    np.divide(1, inverse_std, out=inverse_std)
    out *= inverse_std[:, None]
    return inverse_std


@register("attention", np.ndarray)
def attention(qkv, heads, keep=None, queries=None):
    if keep is not None or not _attention_fits(qkv, heads, queries):
        return NotImplemented
    batch, tokens, packed = qkv.shape
    q, k, v = heads_of(qkv, heads, 3)  # each a view (B, H, N, Dh)
    q = q[:, :, :queries]
    y = np.empty((batch, q.shape[2], packed // 3), qkv.dtype)
    (y_heads,) = heads_of(y, heads, 1)
    weights = np.empty((batch, heads, q.shape[2], tokens), qkv.dtype)
    scale = 1 / math.sqrt(q.shape[-1])
    tiles = list(head_tiles(*weights.shape))
    for tile in tiles:
        _attention_weights(q[tile], k[tile], scale, out=weights[tile])
        np.matmul(weights[tile], v[tile], out=y_heads[tile])

    def vjp(g):
        (g_heads,) = heads_of(g, heads, 1)
        dqkv = np.empty_like(qkv)
        dq, dk, dv = heads_of(dqkv, heads, 3)
        dq[:, :, q.shape[2] :] = 0
        dq = dq[:, :, : q.shape[2]]
        for tile in tiles:
            a, gt = weights[tile], g_heads[tile]
            np.matmul(a.swapaxes(-1, -2), gt, out=dv[tile])
            ds = np.empty_like(a)
            product_with_transposed(gt, v[tile], out=ds)
            ds -= np.vecdot(ds, a)[..., None]
            ds *= a
            ds *= scale
            np.matmul(ds, k[tile], out=dq[tile])
            np.matmul(ds.swapaxes(-1, -2), q[tile], out=dk[tile])
        return (dqkv,)

    return y, vjp


@register("attention", np.ndarray, vjp=False)
def attention_value(qkv, heads, keep=None, queries=None):
    if keep is not None or not _attention_fits(qkv, heads, queries):
        return NotImplemented
    batch, tokens, packed = qkv.shape
    q, k, v = heads_of(qkv, heads, 3)
    q = q[:, :, :queries]
    y = np.empty((batch, q.shape[2], packed // 3), qkv.dtype)
    (y_heads,) = heads_of(y, heads, 1)
    scale = 1 / math.sqrt(q.shape[-1])
    for tile in head_tiles(batch, heads, q.shape[2], tokens):
        qt = q[tile]
        weights = np.empty((*qt.shape[:3], tokens), qkv.dtype)
        _attention_weights(qt, k[tile], scale, out=weights)
        np.matmul(weights, v[tile], out=y_heads[tile])
    return y, None


def _attention_fits(qkv: np.ndarray, heads: int, queries: int | None) -> bool:
    if heads < 1 or (queries is not None and queries < 1):
        return False
    return qkv.ndim == 3 and qkv.shape[-1] % (3 * heads) == 0 and qkv.size > 0 and qkv.dtype.char in "fd"


def _attention_weights(q: np.ndarray, k: np.ndarray, scale: float, out: np.ndarray) -> None:
    """Put softmax(q k^T scale) into `out`."""
    product_with_transposed(q, k, out)
    out *= scale
    _softmax(out)


def _softmax(a: np.ndarray) -> None:
    """Softmax of `a` over its last axis, in place.

    Subtracting each row's maximum guards exp against overflow and changes nothing else; it takes two passes in short
    rows, several times slower than flat ones, and is left out if no element of the whole tile is large.
    """
    if not (a.max() < 50 and a.min() > -50):  # exp(50) is 5e21; NaN goes the careful way
        a -= a.max(axis=-1, keepdims=True)
    np.exp(a, out=a)
    a *= 1 / (a @ np.ones((a.shape[-1], 1), a.dtype))  # a product is several times faster than a sum


def product_with_transposed(x: np.ndarray, y: np.ndarray, out: np.ndarray) -> None:
    """x @ y^T for stacks of matrices. For small ones OpenBLAS is slow with a transposed right factor: a copy pays."""
    y = y.swapaxes(-1, -2)
    np.matmul(x, y.copy() if y.shape[-1] <= 128 else y, out=out)


def heads_of(packed: np.ndarray, heads: int, parts: int) -> np.ndarray:
    """(B, N, parts H Dh) as views (parts, B, H, N, Dh)."""
    batch, tokens, features = packed.shape
    return packed.reshape(batch, tokens, parts, heads, features // (parts * heads)).transpose(2, 0, 3, 1, 4)


def head_tiles(batch: int, heads: int, queries: int, tokens: int) -> Iterator[tuple[slice, slice]]:
    """Slices of images and heads, with about TILE attention weights each."""
    for images in row_tiles(batch, heads * queries * tokens):
        for some in row_tiles(heads, (images.stop - images.start) * queries * tokens):
            yield images, some
