"""A right solution of A3 with einsum: sums are divided last, q, k and v stay apart, the state changes in place."""

import numpy as np


class Marked(np.ndarray):
    """An array of another class."""


def _exponentials(q, k, mask):
    """Unnormalised weights (B, H, N, M), keys first, and their sums (B, H, M)."""
    s = np.einsum("bhik,bhjk->bhji", q, k) * q.shape[-1] ** -0.5
    if mask is None:
        e = np.exp(s - s.max(2, keepdims=True))
    else:
        m = np.swapaxes(np.broadcast_to(mask, (*q.shape[:3], k.shape[2])), 2, 3)
        floor = np.where(m, s, -1e300).max(2, keepdims=True)
        e = m * np.exp(np.where(m, s - floor, 0.0))
    return e, e.sum(2)


def attention(q, k, v, mask):
    e, z = _exponentials(q, k, mask)
    y = np.einsum("bhji,bhjv->vbhi", e, v)
    y = y / np.maximum(z, 1e-300)
    return np.moveaxis(y, 0, -1).view(Marked)


def attention_backward(q, k, v, mask, g):
    e, z = _exponentials(q, k, mask)
    a = e / np.where(z > 0, z, 1)[:, :, None]
    y = np.einsum("bhji,bhjv->bhiv", a, v)
    dots = np.einsum("bhiv,bhiv->bhi", y, g)  # <g_i, y_i> is the sum over j of dA_ij A_ij
    s = a * (np.einsum("bhiv,bhjv->bhji", g, v) - dots[:, :, None])
    root = np.sqrt(q.shape[-1])
    dq = np.asfortranarray(np.einsum("bhji,bhjk->bhik", s, k / root))
    dk = np.einsum("bhji,bhik->bhjk", s, q / root)
    dv = np.einsum("bhji,bhiv->bhjv", a, g)
    dv.flags.writeable = False
    return dq, dk, dv


def split_heads(qkv, heads):
    b, n, d = qkv.shape
    five = np.moveaxis(np.ravel(qkv).reshape(b, n, 3, heads, d // 3 // heads), (2, 3), (0, 2))
    return [five[0], five[1], five[2]]


def merge_heads(x):
    return np.moveaxis(x, 1, 2).reshape(len(x), x.shape[2], -1)


def _parts(params, heads):
    """Wq, Wk, Wv (D, H, K), their biases (H, K), and U (H, K, D)."""
    D = len(params["out.bias"])
    w = params["qkv.weight"].reshape(D, 3, heads, D // heads)
    b = params["qkv.bias"].reshape(3, heads, D // heads)
    return [w[:, i] for i in range(3)], b, params["out.weight"].reshape(heads, D // heads, D)


def multi_head_attention(x, params, heads):
    ws, bs, u = _parts(params, heads)
    q, k, v = (np.einsum("bnd,dhk->bhnk", x, w) + b[:, None] for w, b in zip(ws, bs, strict=True))
    return np.einsum("bhnk,hkd->bnd", attention(q, k, v, None), u) + params["out.bias"]


def multi_head_attention_backward(x, params, heads, g):
    ws, bs, u = _parts(params, heads)
    q, k, v = (np.einsum("bnd,dhk->bhnk", x, w) + b[:, None] for w, b in zip(ws, bs, strict=True))
    y = attention(q, k, v, None)
    parts = attention_backward(q, k, v, None, np.einsum("bnd,hkd->bhnk", g, u))
    dx, dw, db = np.zeros_like(x), [], []
    for w, part in zip(ws, parts, strict=True):
        dx += np.einsum("bhnk,dhk->bnd", part, w)
        dw.append(np.einsum("bnd,bhnk->dhk", x, part).reshape(len(w), -1))
        db.append(part.sum((0, 2)).ravel())
    return [
        dx,
        {
            "out.bias": np.einsum("bnd->d", g),
            "qkv.bias": np.concatenate(db),
            "qkv.weight": np.concatenate(dw, 1),
            "out.weight": np.einsum("bhnk,bnd->hkd", y, g).reshape(params["out.weight"].shape),
        },
    ]


def stream_begin(q, value_width):
    q = q / np.sqrt(q.shape[-1])
    return {
        "all": np.concatenate([q, np.zeros((*q.shape[:3], value_width + 2))], -1),
        "width": q.shape[-1],
        "begun": False,
    }


def stream_update(state, k, v):
    q, rest = np.split(state["all"], [state["width"]], -1)
    s = np.einsum("bhik,bhnk->bhin", q, k)
    best = s.max(-1)
    if state["begun"]:
        best = np.maximum(best, rest[..., 0])
        rest[..., 1:] *= np.exp(rest[..., 0] - best)[..., None]
    e = np.exp(s - best[..., None])
    rest[..., 0] = best
    rest[..., 1] += e.sum(-1)
    rest[..., 2:] += e @ v
    state["begun"] = True
    return state


def stream_end(state):
    rest = state["all"][..., state["width"] :]
    return rest[..., 2:] / rest[..., 1:2]


def find_bugs(attention, attention_backward):
    """By properties of the forward pass, and by numerical derivatives of it for the backward pass."""
    try:
        return not (_forward_holds(attention) and _backward_holds(attention, attention_backward))
    except Exception:
        return True


def _arrays(rng, B, H, M, N, K, V):
    return [rng.uniform(-1.5, 1.5, (B, H, *shape)) for shape in ((M, K), (N, K), (N, V), (M, V))]


def _forward_holds(attend):
    rng = np.random.default_rng(11)
    for lengths in ((2, 3, 4, 4, 4, 4), (1, 2, 3, 5, 2, 4), (2, 2, 5, 3, 4, 2)):
        q, k, v, _ = _arrays(rng, *lengths)
        weights = np.exp(np.matmul(q, np.swapaxes(k, 2, 3)) / np.sqrt(lengths[4]))
        for mask in (None, rng.random(lengths[:4]) < 0.6, np.tri(*lengths[2:4], dtype=bool)):
            w = weights if mask is None else weights * mask
            total = w.sum(3, keepdims=True)
            want = np.divide(w, total, out=np.zeros_like(w), where=total > 0) @ v
            if not np.allclose(attend(q, k, v, mask), want, rtol=1e-8, atol=1e-10):
                return False
        if not np.allclose(attend(q, k, v, np.zeros(lengths[2:4], bool)), 0):
            return False
        moved = (
            np.concatenate([q, 50 * np.ones_like(q[..., :1])], 3),
            np.concatenate([k, 50 * np.ones_like(k[..., :1])], 3),
        )
        root = np.sqrt(lengths[4] + 1) / np.sqrt(lengths[4])
        if not np.allclose(attend(moved[0] * root, moved[1], v, None), attend(q, k, v, None), rtol=1e-8, atol=1e-10):
            return False
    return True


def _backward_holds(attend, back):
    rng = np.random.default_rng(12)
    for lengths in ((2, 2, 3, 3, 3, 3), (1, 2, 3, 4, 2, 5)):
        *x, g = _arrays(rng, *lengths)
        mask = rng.random(lengths[:4]) < 0.6
        mask[:, :, 0] = False
        for m in (None, mask):
            grads = back(*x, m, g)
            for i in range(3):
                d = rng.choice([-1e-5, 1e-5], x[i].shape)
                up, down = [*x], [*x]
                up[i], down[i] = x[i] + d, x[i] - d
                slope = np.vdot(attend(*up, m), g) - np.vdot(attend(*down, m), g)
                if not abs(slope / 2 - np.vdot(grads[i], d)) < 1e-9:
                    return False
    return True
