"""Tests of an attention that you have not seen (q7)."""

import math

import numpy as np


def find(attention, attention_backward):
    """True if one of the two is wrong."""
    # BEGIN SOLUTION q7
    rng = np.random.default_rng(0)
    for q, k, v, mask in cases(rng):
        g = rng.standard_normal((*q.shape[:-1], v.shape[-1]))
        try:
            y = attention(q, k, v, mask)
            grads = attention_backward(q, k, v, mask, g)
            if differs(y, loops(q, k, v, mask), 1e-7) or slopes_differ(rng, (q, k, v), mask, g, grads):
                return True
        except Exception:
            return True
    return False


def differs(a, b, rtol, atol=1e-10):
    """Have two arrays different shapes or values? NaN differs from everything."""
    return np.shape(a) != np.shape(b) or not np.allclose(a, b, rtol=rtol, atol=atol)


def slopes_differ(rng, args, mask, g, grads):
    """Are (dq, dk, dv) not what central differences of the loops give?"""
    if len(grads) != 3:
        return True
    for place in range(3):
        x, dx = args[place], grads[place]
        step = rng.uniform(0.25, 1, x.shape) * rng.choice([-1, 1], x.shape) * 1e-5
        ends = [np.sum(g * loops(*args[:place], moved, *args[place + 1 :], mask)) for moved in (x - step, x + step)]
        if np.shape(dx) != x.shape or differs(2 * np.sum(dx * step), ends[1] - ends[0], 1e-4):
            return True
    return False


def loops(q, k, v, mask):
    """Attention, one query at a time."""
    y = np.zeros((*q.shape[:-1], v.shape[-1]))
    if mask is not None:
        mask = np.broadcast_to(mask, (*q.shape[:-1], k.shape[2]))
    for place in np.ndindex(q.shape[:-1]):
        b, h, _ = place
        seen = [j for j in range(k.shape[2]) if mask is None or mask[(*place, j)]]
        scores = [float(q[place] @ k[b, h, j]) / math.sqrt(q.shape[-1]) for j in seen]
        parts = [math.exp(s - max(scores)) for s in scores]
        for i, j in enumerate(seen):
            y[place] += parts[i] / sum(parts) * v[b, h, j]
    return y


def cases(rng):
    """Arguments (q, k, v, mask) at which mistakes show."""

    def arrays(b, h, m, n, c, d):
        return [rng.standard_normal((b, h, *last)) for last in ((m, c), (n, c), (n, d))]

    yield *arrays(2, 3, 4, 4, 4, 4), None
    yield *arrays(2, 3, 4, 5, 2, 6), None
    yield *arrays(1, 2, 5, 5, 3, 2), np.tri(5, dtype=bool)
    padding = np.array([[True, True, False, True, False], [True, True, True, True, True]])
    yield *arrays(2, 2, 3, 5, 4, 2), padding[:, None, None]
    nowhere = rng.random((2, 2, 4, 3)) < 0.6
    nowhere[:, 0, 1] = False
    yield *arrays(2, 2, 4, 3, 2, 5), nowhere
    q, k, v = arrays(1, 2, 4, 3, 2, 3)
    q[..., 0], k[..., 0] = np.array([60.0, -60.0, 60.0, -60.0]), 60.0
    yield q, k, v, None
    # END SOLUTION
