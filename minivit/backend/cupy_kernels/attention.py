"""Multi-head attention: one kernel for a whole head of a short sequence in bfloat16, products and softmax otherwise."""

import math

import numpy as np

from minivit.backend.arrays import Array, xp_of
from minivit.backend.cupy_kernels.launch import contiguous, fits, kernel, most_shared_memory
from minivit.backend.cupy_kernels.product import product
from minivit.backend.cupy_kernels.rows import scaled_softmax, scaled_softmax_vjp
from minivit.backend.cupy_kernels.table import register
from minivit.backend.precision import narrow


@register("attention")
def attention(qkv, heads, keep=None, queries=None):
    if qkv.ndim != 3 or qkv.shape[-1] % (3 * heads) or not fits(qkv) or (queries is not None and queries < 1):
        return NotImplemented
    batch, tokens, packed = qkv.shape
    queries = min(queries or tokens, tokens)
    if keep is not None and keep.shape != (batch, heads, queries, tokens):
        return NotImplemented
    qkv = contiguous(narrow(qkv))
    head_dim = packed // (3 * heads)
    if keep is None and qkv.dtype.name == "bfloat16" and head_dim % 16 == 0 and head_dim <= 128:
        if backward_shared_memory(tokens, queries, head_dim) <= most_shared_memory(xp_of(qkv)):
            return _fused(qkv, heads, queries)
    return _general(qkv, heads, keep, queries)


def _fused(qkv: Array, heads: int, queries: int) -> tuple:
    """Scores and weights stay inside the multiprocessor."""
    batch, tokens, packed = qkv.shape
    xp, head_dim = xp_of(qkv), packed // (3 * heads)
    sizes = np.int32(tokens), np.int32(heads), np.int32(queries), np.float32(1 / math.sqrt(head_dim))
    y = xp.empty((batch, queries, heads * head_dim), qkv.dtype)
    log_sum = xp.empty((batch * heads, queries), "float32")
    forward = kernel("attention.cu", "attention_forward", HEAD_DIM=head_dim)
    shared = forward_shared_memory(tokens, head_dim)
    forward((-(-queries // 64), batch * heads), 128, qkv, y, log_sum, *sizes, shared_memory=shared)

    def vjp(g):
        dqkv = xp.empty_like(qkv)
        backward = kernel("attention.cu", "attention_backward", HEAD_DIM=head_dim)
        g = contiguous(g.astype(qkv.dtype, copy=False))
        shared = backward_shared_memory(tokens, queries, head_dim)
        backward(batch * heads, BACKWARD_THREADS, qkv, y, g, log_sum, dqkv, *sizes, shared_memory=shared)
        return (dqkv,)

    return y, vjp


BACKWARD_THREADS = 256


def forward_shared_memory(tokens: int, head_dim: int) -> int:
    """Bytes: K and V of one head, rows padded against bank conflicts."""
    return 2 * _padded(tokens) * (head_dim + 8) * 2


def backward_shared_memory(tokens: int, queries: int, head_dim: int) -> int:
    """Bytes: Q, K, V and dY of one head, and two numbers for each row of Q."""
    return 4 * (_padded(tokens) + _padded(queries)) * (head_dim + 8) + 8 * _padded(queries)


def _padded(tokens: int) -> int:
    """Whole tiles of the matrix unit."""
    return -(-tokens // 16) * 16


def _general(qkv: Array, heads: int, keep: Array | None, queries: int) -> tuple:
    """Any sizes, in the formulas of the op."""
    batch, head_dim = len(qkv), qkv.shape[-1] // (3 * heads)
    xp = xp_of(qkv)
    q, k, v = _heads_of(qkv, heads, 3)
    q = q[:, :, :queries]
    scale = 1 / math.sqrt(head_dim)
    weights = scaled_softmax(product(q, k, transpose_b=True), scale)
    dropped = weights if keep is None else (weights * keep).astype(weights.dtype, copy=False)
    y = xp.empty((batch, queries, heads * head_dim), qkv.dtype)
    product(dropped, v, out=_heads_of(y, heads, 1)[0])

    def vjp(g):
        g = contiguous(g.astype(qkv.dtype, copy=False))
        (g_heads,) = _heads_of(g, heads, 1)
        dqkv = xp.empty_like(qkv)
        dq, dk, dv = _heads_of(dqkv, heads, 3)
        dq[:, :, queries:] = 0
        product(dropped, g_heads, transpose_a=True, out=dv)
        da = product(g_heads, v, transpose_b=True)
        if keep is not None:
            da = da * keep
        ds = scaled_softmax_vjp(weights, da, scale)
        product(ds, k, out=dq[:, :, :queries])
        product(ds, q, transpose_a=True, out=dk)
        return (dqkv,)

    return y, vjp


def _heads_of(packed: Array, heads: int, parts: int) -> Array:
    """(B, N, parts H K) as views (parts, B, H, N, K)."""
    batch, tokens, features = packed.shape
    return packed.reshape(batch, tokens, parts, heads, features // (parts * heads)).transpose(2, 0, 3, 1, 4)
