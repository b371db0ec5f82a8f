"""The block from nothing but einsum, without `given`; noise and times through broadcasting."""

import math

import numpy as np

erf = np.vectorize(math.erf, otypes=[float])


def timestep_embedding(t, width):
    rates = np.exp(np.linspace(0, -np.log(10000), width // 2 + 1)[:-1])
    turns = np.exp(1j * np.multiply.outer(t, rates))
    return np.hstack([turns.real, turns.imag])


def add_noise(x0, t, noise, alpha_bar):
    out = np.empty_like(x0)
    for k in range(len(t)):
        out[k] = alpha_bar[t[k]] ** 0.5 * x0[k] + (1 - alpha_bar[t[k]]) ** 0.5 * noise[k]
    return out


def _norm(x, eps):
    centred = x - x.mean(-1, keepdims=True)
    r = 1 / np.sqrt((centred**2).mean(-1, keepdims=True) + eps)
    return centred * r, r


def _norm_back(n, r, g):
    return r * (g - g.mean(-1, keepdims=True) - n * (g * n).mean(-1, keepdims=True))


def _gelu(x, form):
    if form == "erf":
        phi = (1 + erf(x / math.sqrt(2))) / 2
        return x * phi, phi + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    k = math.sqrt(2 / math.pi)
    th = np.tanh(k * (x + 0.044715 * x**3))
    return x * (1 + th) / 2, (1 + th) / 2 + x * (1 - th * th) * k * (1 + 3 * 0.044715 * x * x) / 2


def _run(x, c, p, cfg):
    b, n, d = x.shape
    h = cfg["heads"]
    s = c * 0.5 * (1 + np.tanh(c / 2))
    six = (s @ p["ada.weight"] + p["ada.bias"]).reshape(b, 6, 1, d)
    k = {"s": s, "six": six}
    k["n1"], k["r1"] = _norm(x, cfg["norm_eps"])
    k["h1"] = k["n1"] * (1 + six[:, 1]) + six[:, 0]
    qkv = (k["h1"] @ p["attention.qkv.weight"] + p["attention.qkv.bias"]).reshape(b, n, 3, h, d // h)
    k["q"], k["k"], k["v"] = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
    z = np.einsum("bnhk,bmhk->bhnm", k["q"], k["k"]) / math.sqrt(d // h)
    z = np.exp(z - z.max(-1, keepdims=True))
    k["A"] = z / z.sum(-1, keepdims=True)
    k["o"] = np.einsum("bhnm,bmhk->bnhk", k["A"], k["v"]).reshape(b, n, d)
    k["a"] = k["o"] @ p["attention.out.weight"] + p["attention.out.bias"]
    k["x1"] = x + six[:, 2] * k["a"]
    k["n2"], k["r2"] = _norm(k["x1"], cfg["norm_eps"])
    k["h2"] = k["n2"] * (1 + six[:, 4]) + six[:, 3]
    k["u"] = k["h2"] @ p["mlp.hidden.weight"] + p["mlp.hidden.bias"]
    k["e"], k["de"] = _gelu(k["u"], cfg["gelu"])
    k["m"] = k["e"] @ p["mlp.out.weight"] + p["mlp.out.bias"]
    return k["x1"] + six[:, 5] * k["m"], k


def dit_block(x, c, params, config):
    return _run(x, c, params, config)[0]


def _linear(name, x, g, p, out):
    out[f"{name}.weight"] = np.einsum("bni,bno->io", x, g)
    out[f"{name}.bias"] = np.einsum("bno->o", g)
    return g @ p[f"{name}.weight"].T


def dit_block_backward(x, c, params, config, g):
    _, k = _run(x, c, params, config)
    b, n, d = x.shape
    h, six, out = config["heads"], k["six"], {}
    dsix = np.empty((b, 6, d))
    dsix[:, 5] = np.einsum("bnd,bnd->bd", g, k["m"])
    du = _linear("mlp.out", k["e"], g * six[:, 5], params, out) * k["de"]
    dh2 = _linear("mlp.hidden", k["h2"], du, params, out)
    dsix[:, 3], dsix[:, 4] = dh2.sum(1), np.einsum("bnd,bnd->bd", dh2, k["n2"])
    g = g + _norm_back(k["n2"], k["r2"], dh2 + dh2 * six[:, 4])
    dsix[:, 2] = np.einsum("bnd,bnd->bd", g, k["a"])
    do = _linear("attention.out", k["o"], g * six[:, 2], params, out).reshape(b, n, h, d // h)
    dA = np.einsum("bnhk,bmhk->bhnm", do, k["v"])
    dS = k["A"] * (dA - (k["A"] * dA).sum(-1, keepdims=True)) / math.sqrt(d // h)
    dqkv = np.empty((b, n, 3, h, d // h))
    dqkv[:, :, 0] = np.einsum("bhnm,bmhk->bnhk", dS, k["k"])
    dqkv[:, :, 1] = np.einsum("bhnm,bnhk->bmhk", dS, k["q"])
    dqkv[:, :, 2] = np.einsum("bhnm,bnhk->bmhk", k["A"], do)
    dh1 = _linear("attention.qkv", k["h1"], dqkv.reshape(b, n, 3 * d), params, out)
    dsix[:, 0], dsix[:, 1] = dh1.sum(1), np.einsum("bnd,bnd->bd", dh1, k["n1"])
    dx = g + _norm_back(k["n1"], k["r1"], dh1 * (1 + six[:, 1]))
    flat = dsix.reshape(b, 6 * d)
    out["ada.weight"], out["ada.bias"] = np.einsum("bi,bo->io", k["s"], flat), flat.sum(0)
    sigma = 0.5 * (1 + np.tanh(c / 2))
    return [dx, flat @ params["ada.weight"].T * sigma * (1 + c - c * sigma), out]


def denoise_step(x_t, predicted_noise, t, betas, noise):
    kept = np.cumprod(1 - betas)
    before = kept[t] / (1 - betas[t])
    x0 = (x_t - np.sqrt(1 - kept[t]) * predicted_noise) / np.sqrt(kept[t])
    mean = (np.sqrt(before) * betas[t] * x0 + np.sqrt(1 - betas[t]) * (1 - before) * x_t) / (1 - kept[t])
    return mean + (t != 0) * betas[t] ** 0.5 * noise
