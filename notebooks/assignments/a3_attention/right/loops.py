"""A right solution of A3 in plain loops: one query, one Jacobian at a time, log-sum-exp as state."""

import math

import numpy as np


def _looks(mask, shape):
    return np.ones(shape, bool) if mask is None else np.broadcast_to(mask, shape)


def _softmax(scores):
    """Of a list of numbers."""
    shifted = [math.exp(s - max(scores)) for s in scores]
    return [e / math.fsum(shifted) for e in shifted]


def attention(q, k, v, mask):
    B, H, M, K = q.shape
    allowed = _looks(mask, (B, H, M, k.shape[2]))
    y = np.zeros((B, H, M, v.shape[3]))
    for b in range(B):
        for h in range(H):
            for i in range(M):
                keys = np.flatnonzero(allowed[b, h, i])
                if len(keys) == 0:
                    continue
                shares = _softmax([math.fsum(q[b, h, i] * k[b, h, j]) / K**0.5 for j in keys])
                for share, j in zip(shares, keys, strict=True):
                    y[b, h, i] = y[b, h, i] + share * v[b, h, j]
    return y


def attention_backward(q, k, v, mask, g):
    B, H, M, K = q.shape
    allowed = _looks(mask, (B, H, M, k.shape[2]))
    dq, dk, dv = np.zeros(q.shape), np.zeros(k.shape), np.zeros(v.shape)
    for b, h, i in np.ndindex(B, H, M):
        keys = np.flatnonzero(allowed[b, h, i])
        if not keys.size:
            continue
        a = np.array(_softmax(list(k[b, h, keys] @ q[b, h, i] / K**0.5)))
        jacobian = np.diag(a) - np.outer(a, a)
        to_scores = jacobian @ (v[b, h, keys] @ g[b, h, i]) / K**0.5
        dv[b, h, keys] += np.outer(a, g[b, h, i])
        dq[b, h, i] += to_scores @ k[b, h, keys]
        dk[b, h, keys] += np.outer(to_scores, q[b, h, i])
    return [dq, dk, dv]


def split_heads(qkv, heads):
    D = qkv.shape[-1] // 3
    K = D // heads
    return tuple(
        np.stack([qkv[:, :, part * D + h * K : part * D + (h + 1) * K] for h in range(heads)], axis=1)
        for part in range(3)
    )


def merge_heads(x):
    return np.concatenate([x[:, h] for h in range(x.shape[1])], axis=-1)


def multi_head_attention(x, params, heads):
    rows = []
    for example in x:
        qkv = np.array([params["qkv.bias"] + token @ params["qkv.weight"] for token in example])
        mixed = merge_heads(np.array(attention(*split_heads(qkv[None], heads), None)))[0]
        rows.append(mixed @ params["out.weight"] + params["out.bias"])
    return rows


def multi_head_attention_backward(x, params, heads, g):
    W, U = params["qkv.weight"], params["out.weight"]
    dx = np.empty(x.shape)
    grads = {"out.bias": 0.0, "out.weight": 0.0, "qkv.bias": 0.0, "qkv.weight": 0.0}
    for n in range(len(x)):
        z, gn = x[n], g[n]
        q, k, v = split_heads((z @ W + params["qkv.bias"])[None], heads)
        merged = merge_heads(np.array(attention(q, k, v, None)))[0]
        d = gn @ U.T
        dy = np.stack(np.split(d, heads, axis=1))[None]
        dqkv = np.hstack([merge_heads(part)[0] for part in attention_backward(q, k, v, None, dy)])
        grads["out.bias"] = grads["out.bias"] + gn.sum(0)
        grads["out.weight"] = grads["out.weight"] + merged.T @ gn
        grads["qkv.bias"] = grads["qkv.bias"] + dqkv.sum(0)
        grads["qkv.weight"] = grads["qkv.weight"] + z.T @ dqkv
        dx[n] = dqkv @ W.T
    return dx, grads


def stream_begin(q, value_width):
    return {"queries": q, "y": np.zeros((*q.shape[:3], value_width)), "lse": np.full(q.shape[:3], -math.inf)}


def stream_update(state, k, v):
    q, y, lse = state["queries"], np.array(state["y"]), np.array(state["lse"])
    for b, h, i in np.ndindex(lse.shape):
        for key, value in zip(k[b, h], v[b, h], strict=True):
            score = float(q[b, h, i] @ key) / math.sqrt(q.shape[3])
            new = float(np.logaddexp(lse[b, h, i], score))
            y[b, h, i] = math.exp(lse[b, h, i] - new) * y[b, h, i] + math.exp(score - new) * value
            lse[b, h, i] = new
    return {"lse": lse, "y": y, "queries": q}


def stream_end(state):
    return state["y"]


def find_bugs(attention, attention_backward):
    """Compare with the loops above."""
    mine = globals()
    rng = np.random.default_rng(3)
    tests = []
    for B, H, M, N, K, V in [(2, 3, 4, 4, 4, 4), (2, 3, 2, 4, 3, 5), (1, 2, 5, 5, 2, 3)]:
        arrays = [rng.normal(size=(B, H, *s)) for s in ((M, K), (N, K), (N, V), (M, V))]
        mask = rng.random((B, H, M, N)) < 0.5
        mask[..., 0] = True
        mask[0, 0, 0] = False
        tests += [(*arrays, None), (*arrays, mask), (arrays[0] * 1e3, *arrays[1:], None)]
    for q, k, v, g, mask in tests:
        try:
            theirs = [attention(q, k, v, mask), *attention_backward(q, k, v, mask, g)]
        except Exception:
            return True
        for a, b in zip(
            theirs, [mine["attention"](q, k, v, mask), *mine["attention_backward"](q, k, v, mask, g)], strict=True
        ):
            a, b = np.array(a), np.array(b)
            if a.shape != b.shape or not (abs(a - b) <= 1e-6 * abs(b).max() + 1e-9).all():
                return True
    return False
