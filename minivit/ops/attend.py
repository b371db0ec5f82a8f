"""Attention of any queries to any keys and values: with a bias, with a mask, of one sequence to another.

`ops.attention` is the case of one sequence that attends to all of itself (Eq. 5 to 8), and the one to read first.
"""

import math

from minivit.backend import Array, xp_of
from minivit.backend.arrays import stretches
from minivit.ops.attention import merge_heads


def attend(
    q: Array,
    k: Array,
    v: Array,
    bias: Array | None = None,
    *,
    heads: int,
    mask: Array | None = None,
    keep: Array | None = None,
    scale: float | None = None,
):
    """y = the heads' A v side by side,  A = softmax(scale q k^T + bias) over the keys, per head.

    q: (B, M, D), k: (B, N, D), v: (B, N, E), each with its heads contiguous; y: (B, M, E); A: (B, heads, M, N).
    bias: broadcasts to the shape of A; that of relative positions is (heads, M, N). mask: booleans, which broadcast
    likewise, True where a query may look: (M, N) for all examples alike, (B, 1, 1, N) for padding. A query that may
    look nowhere gets 0 and passes no gradient on. keep: inverted-dropout factors that multiply A, of its shape. No
    gradient for mask and keep. scale: 1 / sqrt(D / heads) unless it is given.

    dv = A^T g,  dA = g v^T,  dS = A (dA - <dA, A>),  dq = scale dS k,  dk = scale dS^T q,  dbias = dS.
    """
    shape = weights_shape(q, k, v, heads)
    for name, x in {"bias": bias, "mask": mask}.items():
        if x is not None and not stretches(x.shape, shape):
            raise ValueError(f"attend: {name} {x.shape} does not broadcast to the attention weights {shape}")
    if keep is not None and keep.shape != shape:
        raise ValueError(f"attend: keep is {keep.shape}, the attention weights are {shape}")
    scale = 1 / math.sqrt(q.shape[-1] // heads) if scale is None else scale
    qh, kh, vh = (by_head(x, heads) for x in (q, k, v))
    weights = weights_between(qh, kh, bias, mask, scale)
    dropped = weights if keep is None else weights * keep
    y = merge_heads(dropped @ vh)

    def vjp(g):
        g = by_head(g, heads)
        da = g @ vh.swapaxes(-1, -2)
        if keep is not None:
            da = da * keep
        ds = weights * (da - (da * weights).sum(axis=-1, keepdims=True))
        scaled = ds * scale
        dq, dk, dv = scaled @ kh, scaled.swapaxes(-1, -2) @ qh, dropped.swapaxes(-1, -2) @ g
        return merge_heads(dq), merge_heads(dk), merge_heads(dv), None if bias is None else ds

    return y, vjp


def weights_between(q: Array, k: Array, bias: Array | None, mask: Array | None, scale: float) -> Array:
    """A of `attend`: (B, H, M, N), a row of 0 for a query that sees no key.   q: (B, H, M, Dh), k: (B, H, N, Dh)."""
    xp = xp_of(q)
    scores = (q * scale) @ k.swapaxes(-1, -2)
    if bias is not None:
        scores = scores + bias
    if mask is not None:
        if mask.dtype != bool:
            raise ValueError(f"attend: mask is of {mask.dtype}, expected booleans, True where a query may look")
        scores = xp.where(mask, scores, -math.inf)
    largest = scores.max(axis=-1, keepdims=True)
    e = xp.exp(scores - xp.where(largest == -math.inf, 0, largest))
    return e / xp.maximum(e.sum(axis=-1, keepdims=True), 1)  # at least 1, the largest of them, unless all are 0


def weights_shape(q: Array, k: Array, v: Array, heads: int) -> tuple[int, int, int, int]:
    """(B, heads, M, N). Raises ValueError for queries, keys and values that do not fit each other."""
    fit = q.ndim == k.ndim == v.ndim == 3 and heads > 0 and k.shape[:2] == v.shape[:2]
    if not fit or q.shape[0] != k.shape[0] or q.shape[2] != k.shape[2] or q.shape[2] % heads or v.shape[2] % heads:
        raise ValueError(
            f"attend: q {q.shape}, k {k.shape} and v {v.shape} are not (B, M, D), (B, N, D) and (B, N, E) "
            f"with D and E divisible by {heads} heads"
        )
    return q.shape[0], heads, q.shape[1], k.shape[1]


def by_head(x: Array, heads: int) -> Array:
    """(B, N, H Dh) -> (B, H, N, Dh), a view."""
    return x.reshape(*x.shape[:2], heads, x.shape[-1] // heads).transpose(0, 2, 1, 3)
