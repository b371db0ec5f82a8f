"""Scaled dot-product attention, all heads at once (Dosovitskiy et al. 2020, appendix A, Eq. 5-8)."""

import math

from minivit.backend import Array, xp_of


def attention(qkv: Array, heads: int, keep: Array | None = None, queries: int | None = None):
    """y = the heads' A v side by side,  A = softmax(q k^T / sqrt(Dh)) per head.

    qkv: (B, N, 3D), the packed projection of Eq. 5: queries, keys, values, each with its heads contiguous;
    y: (B, N, D), Dh = D / heads. q, k and v are strided views of qkv: nothing is copied or put on the tape.
    keep: optional inverted-dropout factors (0 or 1 / keep rate) that multiply A, of its shape (B, heads, N, N); no
    gradient. queries: how many tokens, from the first on, ask; with M of them y is (B, M, D), A is (B, heads, M, N).

    dv = A^T g,  dA = g v^T,  dS = A (dA - <dA, A>),  dq = dS k / sqrt(Dh),  dk = dS^T q / sqrt(Dh).
    """
    q, k, v = split_heads(qkv, heads)
    if queries is not None and queries < 1:
        raise ValueError(f"attention: queries is {queries}, expected at least 1")
    q = q[:, :, :queries]
    scale = 1 / math.sqrt(q.shape[-1])
    weights = attention_weights(q, k)
    if keep is not None and keep.shape != weights.shape:
        raise ValueError(f"attention: keep is {keep.shape}, the attention weights are {weights.shape}")
    dropped = weights if keep is None else weights * keep
    y = merge_heads(dropped @ v)

    def vjp(g):
        xp = xp_of(qkv)
        g = g.reshape(*g.shape[:-1], heads, q.shape[-1]).transpose(0, 2, 1, 3)  # (B, H, N, Dh)
        dv = dropped.swapaxes(-1, -2) @ g
        da = g @ v.swapaxes(-1, -2)
        if keep is not None:
            da = da * keep
        ds = weights * (da - (da * weights).sum(axis=-1, keepdims=True)) * scale
        dq, dk = xp.zeros_like(k), ds.swapaxes(-1, -2) @ q
        dq[:, :, : q.shape[2]] = ds @ k
        dqkv = xp.stack([dq, dk, dv]).transpose(1, 3, 0, 2, 4)  # (B, N, 3, H, Dh)
        return (dqkv.reshape(qkv.shape),)

    return y, vjp


def split_heads(qkv: Array, heads: int) -> tuple[Array, Array, Array]:
    """(B, N, 3D) -> q, k, v, each a view (B, H, N, Dh)."""
    if qkv.ndim != 3 or heads < 1 or qkv.shape[-1] % (3 * heads):
        raise ValueError(f"attention: qkv {qkv.shape} is not (B, N, 3D) with D divisible by {heads} heads")
    batch, tokens, packed = qkv.shape
    parts = qkv.reshape(batch, tokens, 3, heads, packed // (3 * heads)).transpose(2, 0, 3, 1, 4)
    return parts[0], parts[1], parts[2]


def merge_heads(x: Array) -> Array:
    """(B, H, N, Dh) -> (B, N, H Dh): the heads side by side."""
    batch, heads, tokens, features = x.shape
    return x.transpose(0, 2, 1, 3).reshape(batch, tokens, heads * features)


def attention_weights(q: Array, k: Array) -> Array:
    """A = softmax(q k^T / sqrt(Dh)) over the keys (Eq. 6).   q, k: (B, H, N, Dh), A: (B, H, N, N)."""
    scores = (q * (1 / math.sqrt(q.shape[-1]))) @ k.swapaxes(-1, -2)
    e = xp_of(q).exp(scores - scores.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)
