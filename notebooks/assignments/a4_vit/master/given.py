import numpy as np


def layer_norm(x, s, b, eps):
    m = x - x.mean(-1, keepdims=True)
    return m / np.sqrt((m**2).mean(-1, keepdims=True) + eps) * s + b


def layer_norm_backward(x, s, b, eps, g):
    m = x - x.mean(-1, keepdims=True)
    r = 1 / np.sqrt((m**2).mean(-1, keepdims=True) + eps)
    h = m * r
    ax = tuple(range(x.ndim - 1))
    gs = g * s
    return r * (gs - gs.mean(-1, keepdims=True) - h * (gs * h).mean(-1, keepdims=True)), (g * h).sum(ax), g.sum(ax)


def patchify(x, patch):
    B, h, w, C = x.shape
    p, q = patch
    return x.reshape(B, h // p, p, w // q, q, C).transpose(0, 1, 3, 2, 4, 5).reshape(B, -1, p * q * C)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def cross_entropy(x, labels, s):
    p = softmax(x)
    t = np.eye(x.shape[1])[labels]
    return -np.log((p * t).sum(1)).mean(), (p - t) / len(x)


def _split(qkv, H):
    B, N, D = qkv.shape
    return qkv.reshape(B, N, 3, H, D // 3 // H).transpose(2, 0, 3, 1, 4)


def _merge(x):
    B, H, N, K = x.shape
    return x.transpose(0, 2, 1, 3).reshape(B, N, H * K)


def multi_head_attention(x, P, H):
    q, k, v = _split(x @ P["qkv.weight"] + P["qkv.bias"], H)
    a = softmax(q @ k.swapaxes(2, 3) / np.sqrt(q.shape[-1]))
    return _merge(a @ v) @ P["out.weight"] + P["out.bias"]


def multi_head_attention_backward(x, P, H, g):
    q, k, v = _split(x @ P["qkv.weight"] + P["qkv.bias"], H)
    c = 1 / np.sqrt(q.shape[-1])
    a = softmax(q @ k.swapaxes(2, 3) * c)
    y = _merge(a @ v)
    dy = g @ P["out.weight"].T
    B, N, D = x.shape
    dh = dy.reshape(B, N, H, D // H).transpose(0, 2, 1, 3)
    dv = a.swapaxes(2, 3) @ dh
    da = dh @ v.swapaxes(2, 3)
    ds = a * (da - (da * a).sum(-1, keepdims=True)) * c
    d = np.stack([ds @ k, ds.swapaxes(2, 3) @ q, dv])
    d = d.transpose(1, 3, 0, 2, 4).reshape(B, N, 3 * D)
    G = {
        "out.weight": np.einsum("bni,bnj->ij", y, g),
        "out.bias": g.sum((0, 1)),
        "qkv.weight": np.einsum("bni,bnj->ij", x, d),
        "qkv.bias": d.sum((0, 1)),
    }
    return d @ P["qkv.weight"].T, G
