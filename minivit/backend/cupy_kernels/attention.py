"""Multi-head attention: kernels that never write scores in bfloat16, products and softmax otherwise."""

import math

import numpy as np

from minivit.backend.arrays import Array, xp_of
from minivit.backend.cupy_kernels.launch import aligned, contiguous, fits, kernel
from minivit.backend.cupy_kernels.product import product
from minivit.backend.cupy_kernels.rows import scaled_softmax, scaled_softmax_vjp
from minivit.backend.cupy_kernels.table import register
from minivit.backend.precision import narrow

THREADS, ROWS = 128, 64  # of a block; ROWS of one head are what it computes
MOST_BLOCKS = 2**31 - 1  # of a grid
COLUMNS = 8  # of scores: rows have a multiple of them in memory, so that products and softmax read 16 bytes at a time


@register("attention")
def attention(qkv, heads, keep=None, queries=None):
    if qkv.ndim != 3 or qkv.shape[-1] % (3 * heads) or not fits(qkv) or (queries is not None and queries < 1):
        return NotImplemented
    batch, tokens, _ = qkv.shape
    queries = min(queries or tokens, tokens)
    if keep is not None and keep.shape != (batch, heads, queries, tokens):
        return NotImplemented
    qkv = contiguous(narrow(qkv))
    if keep is None and _fits_fused(qkv, heads):
        return _fused(qkv, heads, queries)
    return _general(qkv, heads, keep, queries)


def _fits_fused(qkv: Array, heads: int) -> bool:
    """Any number of tokens: a head's rows pass through shared memory, ROWS at a time."""
    batch, tokens, packed = qkv.shape
    head_dim = packed // (3 * heads)
    whole_tiles = head_dim % 16 == 0 and head_dim <= 128
    return qkv.dtype.name == "bfloat16" and whole_tiles and batch * heads * _blocks(tokens) <= MOST_BLOCKS


def _fused(qkv: Array, heads: int, queries: int) -> tuple:
    """Scores and weights stay inside the multiprocessor."""
    batch, tokens, packed = qkv.shape
    xp, head_dim = xp_of(qkv), packed // (3 * heads)
    qkv = aligned(qkv)
    sizes = np.int32(tokens), np.int32(heads), np.int32(queries), np.float32(1 / math.sqrt(head_dim))
    y = xp.empty((batch, queries, heads * head_dim), qkv.dtype)
    log_sum = xp.empty((batch * heads, queries), "float32")
    forward = kernel("attention.cu", "attention_forward", HEAD_DIM=head_dim)
    forward(batch * heads * _blocks(queries), THREADS, qkv, y, log_sum, *sizes)

    def vjp(g):
        dqkv, delta = xp.empty_like(qkv), xp.empty_like(log_sum)
        g = aligned(g.astype(qkv.dtype, copy=False))
        for_queries = kernel("attention_backward.cu", "attention_backward_queries", HEAD_DIM=head_dim)
        for_keys = kernel("attention_backward.cu", "attention_backward_keys", HEAD_DIM=head_dim)
        grid = batch * heads * _blocks(tokens)
        for_queries(grid, THREADS, qkv, y, g, log_sum, delta, dqkv, *sizes)
        for_keys(grid, THREADS, qkv, g, log_sum, delta, dqkv, *sizes)
        return (dqkv,)

    return y, vjp


def _blocks(rows: int) -> int:
    """Of the kernels, for one head."""
    return -(-rows // ROWS)


def _general(qkv: Array, heads: int, keep: Array | None, queries: int) -> tuple:
    """Any sizes, in the formulas of the op. Scores are float32 also in bfloat16: before the softmax they may be large,
    and an error of a hundredth of 100 would be one of e in a weight."""
    batch, tokens, packed = qkv.shape
    xp, head_dim = xp_of(qkv), packed // (3 * heads)
    shape = batch, heads, queries, -(-tokens // COLUMNS) * COLUMNS
    q, k, v = heads_of(qkv, heads, 3)
    q = q[:, :, :queries]
    scale = 1 / math.sqrt(head_dim)
    scores = xp.empty(shape, "float32")
    product(q, k, transpose_b=True, out=scores[..., :tokens])
    weights = scaled_softmax(scores, scale, tokens, out=place(scores, qkv.dtype))
    dropped = weights[..., :tokens]
    if keep is not None:
        dropped = xp.empty(shape, weights.dtype)[..., :tokens]
        dropped[...] = weights[..., :tokens] * keep
    y = xp.empty((batch, queries, heads * head_dim), qkv.dtype)
    product(dropped, v, out=heads_of(y, heads, 1)[0])

    def vjp(g):
        g = contiguous(g.astype(qkv.dtype, copy=False))
        (g_heads,) = heads_of(g, heads, 1)
        dqkv = xp.empty_like(qkv)
        dq, dk, dv = heads_of(dqkv, heads, 3)
        dq[:, :, queries:] = 0
        product(dropped, g_heads, transpose_a=True, out=dv)
        da = xp.empty(shape, "float32")
        product(g_heads, v, transpose_b=True, out=da[..., :tokens])
        if keep is not None:
            da[..., :tokens] *= keep
        ds = scaled_softmax_vjp(weights, da, scale, tokens, out=place(da, qkv.dtype))[..., :tokens]
        product(ds, k, out=dq[:, :, :queries])
        product(ds, q, transpose_a=True, out=dk)
        return (dqkv,)

    return y, vjp


def place(scores: Array, dtype) -> Array:
    """Where rows go that are computed from rows of scores: into these, or a new array if the type is another."""
    return scores if scores.dtype == dtype else xp_of(scores).empty(scores.shape, dtype)


def heads_of(packed: Array, heads: int, parts: int) -> Array:
    """(B, N, parts H Dh) as views (parts, B, H, N, Dh)."""
    batch, tokens, features = packed.shape
    return packed.reshape(batch, tokens, parts, heads, features // (parts * heads)).transpose(2, 0, 3, 1, 4)
