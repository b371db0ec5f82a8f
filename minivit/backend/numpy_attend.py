"""CPU kernel of attention between any queries, keys and values: that of attention, with bias and mask."""

import math

import numpy as np

from minivit.backend.arrays import Array, stretches
from minivit.backend.kernels import register
from minivit.backend.numpy_kernels import head_tiles, heads_of, product_with_transposed


@register("attend", np.ndarray)
def attend(q, k, v, bias=None, *, heads, mask=None, keep=None, scale=None):
    if keep is not None or not _fits(q, k, v, bias, mask, heads):
        return NotImplemented
    scale = 1 / math.sqrt(q.shape[-1] // heads) if scale is None else scale
    (qh,), (kh,), (vh,) = (heads_of(x, heads, 1) for x in (q, k, v))
    weights = np.empty((*qh.shape[:3], kh.shape[2]), q.dtype)
    y = _forward(qh, kh, vh, bias, mask, scale, weights)

    def vjp(g):
        (gh,) = heads_of(g, heads, 1)
        dq, dk, dv = (np.empty(x.shape, x.dtype) for x in (q, k, v))
        (dqh,), (dkh,), (dvh,) = (heads_of(d, heads, 1) for d in (dq, dk, dv))
        dbias = None if bias is None else np.zeros((1,) * (4 - bias.ndim) + bias.shape, bias.dtype)
        for tile in head_tiles(*weights.shape):
            a, gt = weights[tile], gh[tile]
            np.matmul(a.swapaxes(-1, -2), gt, out=dvh[tile])
            ds = np.empty_like(a)
            product_with_transposed(gt, vh[tile], out=ds)
            ds -= np.vecdot(ds, a)[..., None]
            ds *= a
            if dbias is not None:
                _add_up(ds, dbias, tile)
            ds *= scale
            np.matmul(ds, kh[tile], out=dqh[tile])
            np.matmul(ds.swapaxes(-1, -2), qh[tile], out=dkh[tile])
        return dq, dk, dv, None if dbias is None else dbias.reshape(bias.shape)

    return y, vjp


@register("attend", np.ndarray, vjp=False)
def attend_value(q, k, v, bias=None, *, heads, mask=None, keep=None, scale=None):
    if keep is not None or not _fits(q, k, v, bias, mask, heads):
        return NotImplemented
    scale = 1 / math.sqrt(q.shape[-1] // heads) if scale is None else scale
    (qh,), (kh,), (vh,) = (heads_of(x, heads, 1) for x in (q, k, v))
    return _forward(qh, kh, vh, bias, mask, scale), None


def _fits(q: Array, k: Array, v: Array, bias: Array | None, mask: Array | None, heads: int) -> bool:
    if not (q.ndim == k.ndim == v.ndim == 3 and heads > 0 and min(q.size, k.size, v.size) and q.dtype.char in "fd"):
        return False
    if k.shape[:2] != v.shape[:2] or q.shape[::2] != k.shape[::2] or q.shape[2] % heads or v.shape[2] % heads:
        return False
    if any(x is not None and x.dtype != q.dtype for x in (k, v, bias)) or (mask is not None and mask.dtype != bool):
        return False
    return all(x is None or stretches(x.shape, (len(q), heads, q.shape[1], k.shape[1])) for x in (bias, mask))


def _forward(
    q: Array, k: Array, v: Array, bias: Array | None, mask: Array | None, scale: float, weights: Array | None = None
) -> Array:
    """y; the weights are put into `weights`.   q: (B, H, M, Dh), k, v: (B, H, N, ...), each a view."""
    shape = (*q.shape[:3], k.shape[2])
    bias, mask = (None if x is None else np.broadcast_to(x, shape) for x in (bias, mask))
    y = np.empty((len(q), q.shape[2], v.shape[1] * v.shape[3]), q.dtype)
    (y_heads,) = heads_of(y, v.shape[1], 1)
    for tile in head_tiles(*shape):
        a = np.empty((*q[tile].shape[:3], shape[3]), q.dtype) if weights is None else weights[tile]
        product_with_transposed(q[tile], k[tile], out=a)
        a *= scale
        if bias is not None:
            a += bias[tile]
        _softmax_of_seen(a, None if mask is None else mask[tile])
        np.matmul(a, v[tile], out=y_heads[tile])
    return y


def _softmax_of_seen(a: Array, mask: Array | None) -> None:
    """Softmax of `a` over what the mask shows of the last axis, in place; 0 where it shows nothing.

    As in attention's kernel, the largest element of each row is looked for only if one of all is large.
    """
    large = not (a.max() < 50 and a.min() > -50)
    if large:
        if mask is not None:
            np.copyto(a, -math.inf, where=~mask)
        largest = a.max(axis=-1, keepdims=True)
        largest[largest == -math.inf] = 0
        a -= largest
    np.exp(a, out=a)
    if mask is not None and not large:
        a *= mask
    total = a @ np.ones((a.shape[-1], 1), a.dtype)
    total[total == 0] = 1
    a *= 1 / total


def _add_up(ds: Array, dbias: Array, tile: tuple[slice, slice]) -> None:
    """Add ds of the tile to the gradient of a bias with four axes, some of them stretched."""
    stretched = tuple(axis for axis, n in enumerate(dbias.shape) if n == 1)
    place = tuple(part if n > 1 else slice(None) for part, n in zip(tile, dbias.shape, strict=False))
    dbias[place] += ds.sum(axis=stretched, keepdims=True)
