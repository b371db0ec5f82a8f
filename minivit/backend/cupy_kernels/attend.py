"""Attention between any queries, keys and values: products and softmax, in the formulas of the op."""

import math

from minivit.backend.arrays import Array, stretches, xp_of
from minivit.backend.cupy_kernels.attention import COLUMNS, heads_of, place
from minivit.backend.cupy_kernels.launch import contiguous, fits
from minivit.backend.cupy_kernels.product import product
from minivit.backend.cupy_kernels.rows import scaled_softmax, scaled_softmax_vjp
from minivit.backend.cupy_kernels.table import register
from minivit.backend.precision import narrow


@register("attend")
def attend(q, k, v, bias=None, *, heads, mask=None, keep=None, scale=None):
    """Scores, and the gradient of weights, are float32 also in bfloat16, as in the general kernel of attention."""
    if not _fits(q, k, v, bias, heads, mask, keep):
        return NotImplemented
    q, k, v = narrow(q), narrow(k), narrow(v)
    if not q.dtype == k.dtype == v.dtype:
        return NotImplemented
    xp, dtype, keys = xp_of(q), q.dtype, k.shape[1]
    scale = 1 / math.sqrt(q.shape[-1] // heads) if scale is None else scale
    qh, kh, vh = (heads_of(x, heads, 1)[0] for x in (q, k, v))
    shape = *qh.shape[:3], -(-keys // COLUMNS) * COLUMNS
    padded = xp.empty(shape, "float32")
    scores = product(qh, kh, transpose_b=True, alpha=scale, out=padded[..., :keys])
    if bias is not None:
        scores += bias
    if mask is not None:
        scores[...] = xp.where(mask, scores, -math.inf)
    weights = scaled_softmax(padded, 1.0, keys, out=place(padded, dtype), empty=0.0)
    dropped = weights[..., :keys]
    if keep is not None:
        dropped = xp.empty(shape, dtype)[..., :keys]
        dropped[...] = weights[..., :keys] * keep
    y = xp.empty((*q.shape[:2], v.shape[2]), dtype)
    product(dropped, vh, out=heads_of(y, heads, 1)[0])

    def vjp(g):
        gh = heads_of(contiguous(g.astype(dtype, copy=False)), heads, 1)[0]
        dq, dk, dv = (xp.empty(x.shape, dtype) for x in (q, k, v))
        product(dropped, gh, transpose_a=True, out=heads_of(dv, heads, 1)[0])
        da = xp.empty(shape, "float32")
        product(gh, vh, transpose_b=True, out=da[..., :keys])
        if keep is not None:
            da[..., :keys] *= keep
        ds = scaled_softmax_vjp(weights, da, 1.0, keys, out=place(da, dtype))[..., :keys]
        product(ds, kh, alpha=scale, out=heads_of(dq, heads, 1)[0])
        product(ds, qh, transpose_a=True, alpha=scale, out=heads_of(dk, heads, 1)[0])
        return dq, dk, dv, None if bias is None else ds.astype("float32", copy=False)  # the engine will sum it

    return y, vjp


def _fits(q: Array, k: Array, v: Array, bias: Array | None, heads: int, mask: Array | None, keep: Array | None) -> bool:
    if not (q.ndim == k.ndim == v.ndim == 3 and heads > 0 and fits(q, k, v, bias)):
        return False
    if k.shape[:2] != v.shape[:2] or q.shape[::2] != k.shape[::2] or q.shape[2] % heads or v.shape[2] % heads:
        return False
    shape = q.shape[0], heads, q.shape[1], k.shape[1]
    if (keep is not None and keep.shape != shape) or (mask is not None and mask.dtype != bool):
        return False
    return all(x is None or stretches(x.shape, shape) for x in (bias, mask))
