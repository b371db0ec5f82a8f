"""Loops over pairs; gradients by the Jacobian of the normalisation, written out."""

import math

import numpy as np


def _length(row):
    return math.sqrt(sum(float(v) ** 2 for v in row))


def _through_the_length(rows, gradients):
    back = []
    for row, g in zip(rows, gradients):
        n = _length(row)
        jacobian = np.eye(len(row)) / n - np.outer(row, row) / n**3
        back.append(jacobian @ g)
    return np.array(back)


def _cosines(image, text):
    i = [row / _length(row) for row in image]
    t = [row / _length(row) for row in text]
    return i, t, np.array([[float(a @ b) for b in t] for a in i])


def _log_sum_exp(values):
    top = max(values)
    return top + math.log(sum(math.exp(v - top) for v in values))


def clip_loss(image, text, log_scale):
    i, t, c = _cosines(image, text)
    n, s = len(image), math.exp(log_scale)
    z = s * c
    rows, columns = [_log_sum_exp(r) for r in z], [_log_sum_exp(r) for r in z.T]
    loss = sum(rows[k] + columns[k] - 2 * z[k, k] for k in range(n)) / (2 * n)
    d = np.empty((n, n))
    for a in range(n):
        for b in range(n):
            d[a, b] = (math.exp(z[a, b] - rows[a]) + math.exp(z[a, b] - columns[b]) - 2 * (a == b)) / (2 * n)
    di = [s * sum(d[a, b] * t[b] for b in range(n)) for a in range(n)]
    dt = [s * sum(d[a, b] * i[a] for a in range(n)) for b in range(n)]
    return loss, _through_the_length(image, di), _through_the_length(text, dt), np.sum(d * z)


def siglip_loss(image, text, log_scale, bias):
    i, t, c = _cosines(image, text)
    n, s = len(image), math.exp(log_scale)
    loss, d = 0.0, np.empty((n, n))
    for a in range(n):
        for b in range(n):
            sign = 1.0 if a == b else -1.0
            z = sign * (s * c[a, b] + bias)
            loss += max(-z, 0.0) + math.log1p(math.exp(-abs(z)))
            d[a, b] = -sign * 0.5 * (1 - math.tanh(z / 2)) / n
    di = s * np.einsum("ab,bd->ad", d, np.array(t))
    dt = s * np.einsum("ab,ad->bd", d, np.array(i))
    ds = np.array(s * np.einsum("ab,ab", d, c))
    return [loss / n, _through_the_length(image, di), _through_the_length(text, dt), ds, np.float64(d.sum())]


def zero_shot(image, class_texts):
    best = []
    for row in image:
        scores = []
        for prompts in class_texts:
            mean = sum(p / _length(p) for p in prompts)
            scores.append(float(row @ mean) / _length(mean))
        best.append(scores.index(max(scores)))
    return best
