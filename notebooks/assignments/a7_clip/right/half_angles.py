"""Both features stacked into one array; gradients from the symmetric form, through views."""

import numpy as np


def _unit(x):
    n = np.linalg.norm(x, axis=-1)[..., None]
    return np.divide(x, n), n


def _gradients(unit, lengths, logit_gradient, scale):
    half = len(unit) // 2
    table = np.zeros((2 * half, 2 * half))
    table[:half, half:] = logit_gradient
    table[half:, :half] = logit_gradient.T
    g = scale * table @ unit
    g -= np.einsum("nd,nd,ne->ne", g, unit, unit)
    g /= lengths
    return g[:half], g[half:]


def clip_loss(image, text, log_scale):
    unit, lengths = _unit(np.concatenate([image, text]))
    b = image.shape[0]
    scale = float(np.exp(log_scale))
    z = scale * (unit[:b] @ unit[b:].T)
    both = np.stack([z, z.T])
    p = np.exp(both - both.max(-1, keepdims=True))
    total = p.sum(-1, keepdims=True)
    diagonal = np.arange(b)
    loss = np.mean(np.log(total[..., 0]) + both.max(-1) - both[:, diagonal, diagonal])
    p /= total
    p[:, diagonal, diagonal] -= 1
    d = np.asfortranarray((p[0] + p[1].T) / (2 * b))
    return (loss, *_gradients(unit, lengths, d, scale), float((d * z).sum()))


def siglip_loss(image, text, log_scale, bias):
    unit, lengths = _unit(np.concatenate([image, text]))
    b = image.shape[0]
    scale = float(np.exp(log_scale))
    cosines = unit[:b] @ unit[b:].T
    z = scale * cosines + bias
    yes = np.eye(b)
    loss = (np.maximum(z, 0) - z * yes + np.log1p(np.exp(-np.abs(z)))).sum() / b
    positive = z >= 0
    e = np.exp(np.where(positive, -z, z))
    d = (np.where(positive, 1 / (1 + e), e / (1 + e)) - yes) / b
    return (loss, *_gradients(unit, lengths, d, scale), scale * np.vdot(d, cosines), d.sum())


def zero_shot(image, class_texts):
    classes = _unit(_unit(class_texts)[0].sum(1))[0]
    return np.einsum("bd,kd->bk", image, classes).argmax(1).astype(np.int32)
