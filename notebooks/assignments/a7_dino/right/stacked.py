"""All views in one array; the pairs as a mask."""

import numpy as np


def _softmax(x):
    e = np.exp(x - np.max(x, -1, keepdims=True))
    return e / np.sum(e, -1, keepdims=True)


def dino_loss(student, teacher, center, student_temp, teacher_temp):
    s, q = np.stack(student) / student_temp, _softmax((np.stack(teacher) - center) / teacher_temp)
    views, batch, _ = s.shape
    pairs = 1.0 - np.eye(2, views)
    pairs /= pairs.sum() * batch
    top = s.max(-1)
    normaliser = top + np.log(np.exp(s - top[..., None]).sum(-1))
    loss = np.einsum("tv,vb->", pairs, normaliser) - np.einsum("tv,tbk,vbk->", pairs, q, s)
    pulled = np.einsum("tv,vbk->vbk", pairs, _softmax(s)) - np.einsum("tv,tbk->vbk", pairs, q)
    return np.array(loss), tuple(pulled / student_temp)


def update_center(center, teacher, momentum):
    out = center.copy()
    out -= (1 - momentum) * (center - np.mean(teacher, axis=(0, 1)))
    return out


def update_teacher(teacher, student, momentum):
    result = {}
    for name in sorted(student):
        result[name] = np.add(teacher[name] * momentum, student[name] * (1 - momentum))
    return result


def teacher_momentum(step, total_steps, base):
    return np.float64(base) + (1 - base) * 0.5 * (1 - np.cos(np.pi * step / total_steps))
