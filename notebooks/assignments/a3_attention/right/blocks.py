"""A right solution of A3 in blocks of keys: nothing of size M x N is kept, the backward pass makes A again."""

import itertools
import math

import numpy as np

BLOCK = 2


def _flat(mask, q, k):
    """The mask as (B H, M, N) of 0 and -inf."""
    where = (*q.shape[:3], k.shape[2])
    lifted = np.zeros(where) if mask is None else np.where(np.broadcast_to(mask, where), 0.0, -math.inf)
    return lifted.reshape(-1, *where[2:])


def _pieces(n):
    return [slice(i, min(i + BLOCK, n)) for i in range(0, n, BLOCK)]


def _fold(q, pairs):
    """(y, lse) of one head.   pairs: of (k, v, what is added to the scores)."""
    width, top, total, y = len(q[0]) ** 0.5, None, None, None
    for k, v, extra in pairs:
        s = q.dot(k.T) / width + extra
        high = np.where(np.isinf(s.max(1)), -1e200, s.max(1))
        high = high if top is None else np.maximum(top, high)
        e = np.exp(s - high[:, None])
        if top is None:
            total, y = e.sum(1), e.dot(v)
        else:
            shrink = np.exp(top - high)
            total *= shrink
            total += e.sum(1)
            y *= shrink[:, None]
            y += e.dot(v)
        top = high
    seen = total > 0
    y[seen] /= total[seen, None]
    return y, np.where(seen, top + np.log(np.where(seen, total, 1)), math.inf)


def _heads(x):
    return x.reshape(-1, *x.shape[2:])


def attention(q, k, v, mask):
    rows = []
    for q1, k1, v1, extra in zip(_heads(q), _heads(k), _heads(v), _flat(mask, q, k), strict=True):
        rows.append(_fold(q1, ((k1[p], v1[p], extra[:, p]) for p in _pieces(len(k1))))[0])
    return np.reshape(rows, (*q.shape[:3], v.shape[3]))


def attention_backward(q, k, v, mask, g):
    found = [np.zeros(x.shape) for x in (q, k, v)]
    views = [_heads(x) for x in found]
    scale = 1.0 / math.sqrt(q.shape[3])
    flat = zip(_heads(q), _heads(k), _heads(v), _flat(mask, q, k), _heads(g), *views, strict=True)
    for q1, k1, v1, extra, g1, dq, dk, dv in flat:
        y, lse = _fold(q1, ((k1[p], v1[p], extra[:, p]) for p in _pieces(len(k1))))
        d = (g1 * y).sum(1, keepdims=True)
        for p in _pieces(len(k1)):
            a = np.exp(q1 @ k1[p].T * scale + extra[:, p] - lse[:, None])
            ds = a * (g1 @ v1[p].T - d) * scale
            dv[p] += a.T @ g1
            dq += ds @ k1[p]
            dk[p] += ds.T @ q1
    return tuple(found)


def split_heads(qkv, heads):
    B, N, width = qkv.shape
    K = width // (3 * heads)
    columns = np.arange(width).reshape(3, heads, K)
    found = []
    for part in columns:
        out = np.empty((N, B, heads, K))
        for h, b in itertools.product(range(heads), range(B)):
            out[:, b, h] = qkv[b][:, part[h]]
        found.append(out.transpose(1, 2, 0, 3))
    return tuple(found)


def merge_heads(x):
    B, H, N, K = x.shape
    out = np.empty((B, N, H * K), order="F")
    for h in range(H):
        out[..., h * K : h * K + K] = x[:, h]
    return out


class Layer:
    """Multi-head attention that remembers one forward pass."""

    def __init__(self, params, heads):
        self.p, self.heads = {name.replace(".", "_"): value for name, value in params.items()}, heads

    def forward(self, x):
        self.x = x.reshape(-1, x.shape[-1])
        qkv = (self.x @ self.p["qkv_weight"] + self.p["qkv_bias"]).reshape(*x.shape[:2], -1)
        self.qkv = split_heads(qkv, self.heads)
        self.merged = merge_heads(attention(*self.qkv, None)).reshape(self.x.shape)
        return (self.merged @ self.p["out_weight"] + self.p["out_bias"]).reshape(x.shape)

    def backward(self, g):
        flat = g.reshape(-1, g.shape[-1])
        back = (flat @ self.p["out_weight"].T).reshape(g.shape)
        dy = split_heads(np.tile(back, 3), self.heads)[0]
        dqkv = np.concatenate([merge_heads(d) for d in attention_backward(*self.qkv, None, dy)], 2).reshape(
            len(flat), -1
        )
        ones = np.ones(len(flat))
        grads = {"out.weight": self.merged.T @ flat, "out.bias": ones @ flat}
        grads |= {"qkv.weight": self.x.T @ dqkv, "qkv.bias": ones @ dqkv}
        return (dqkv @ self.p["qkv_weight"].T).reshape(g.shape), grads


def multi_head_attention(x, params, heads):
    return Layer(params, heads).forward(x)


def multi_head_attention_backward(x, params, heads, g):
    layer = Layer(params, heads)
    layer.forward(x)
    return layer.backward(g)


def stream_begin(q, value_width):
    return {"q": q.swapaxes(2, 3) * 1.0, "V": value_width, "blocks": 0}


def stream_update(state, k, v):
    s = (k @ state["q"]).swapaxes(2, 3) / math.sqrt(k.shape[3])
    high = s.max(3)
    e = np.exp(s - high[..., None])
    low, share = high + np.log(e.sum(3)), e @ v / e.sum(3)[..., None]
    if state["blocks"]:
        both = np.logaddexp(state["lse"], low)
        old, new = np.exp(state["lse"] - both), np.exp(low - both)
        low, share = both, old[..., None] * state["y"] + new[..., None] * share
    state.update(lse=low, y=share, blocks=state["blocks"] + 1)
    return state


def stream_end(state):
    return state.pop("y")


def find_bugs(attention, attention_backward):
    """Central differences of an attention in the plainest form: exponentials of long doubles, no shift."""
    rng = np.random.default_rng(5)

    def plain(q, k, v, mask):
        a = np.exp(np.einsum("...ik,...jk->...ij", q, k).astype(np.longdouble) / np.sqrt(q.shape[3]))
        a = a if mask is None else a * mask
        sums = a.sum(-1, keepdims=True)
        return (a / (sums + (sums == 0))) @ v

    for M, N, K, V in ((4, 4, 4, 4), (3, 5, 2, 4), (5, 2, 3, 1)):
        for kind in range(4):
            q, k, v, g = (rng.standard_normal((2, 3, *s)) for s in ((M, K), (N, K), (N, V), (M, V)))
            mask = [None, rng.random((2, 1, M, N)) < 0.5, rng.random((2, 1, 1, N)) < 0.5, None][kind]
            if kind == 3:
                q[..., 0], k[..., 0] = 50, 30 * math.sqrt(K)  # scores near 1500 for every key: no weight changes
            calm = q.copy()
            calm[..., 0] = 0 if kind == 3 else q[..., 0]
            try:
                y, grads = attention(q, k, v, mask), attention_backward(q, k, v, mask, g)
                if np.shape(y) != g.shape or not np.abs(y - plain(calm, k, v, mask)).max() < 1e-8:
                    return True
                for i, x in enumerate((calm, k, v)):
                    skip = kind == 3 and i == 1
                    d = rng.choice([-1e-4, 1e-4], x.shape)
                    args = [calm, k, v]
                    ends = [np.sum(plain(*args[:i], x + way * d, *args[i + 1 :], mask) * g) for way in (1, -1)]
                    if np.shape(grads[i]) != x.shape or not np.isfinite(grads[i]).all():
                        return True
                    if not skip and not abs((ends[0] - ends[1]) / 2 - np.sum(grads[i] * d)) < 1e-6:
                        return True
            except Exception:
                return True
    return False
