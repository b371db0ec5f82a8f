"""AdamW, the parameters that decay, and clipping (q1 to q4)."""

import math

import numpy as np


def begin(params):
    """All that AdamW must know of the past, before the first update: a dict.   params: name -> array."""
    # BEGIN SOLUTION q1
    zeros = {name: np.zeros_like(p) for name, p in params.items()}
    return {"t": 0, "m": zeros, "v": dict(zeros)}
    # END SOLUTION


def update(params, grads, lr, hyper, decay, state):
    """One update of AdamW: (new parameters, new state). Nothing that is given changes.   decay: names that decay."""
    # BEGIN SOLUTION q1
    b1, b2 = hyper["betas"]
    t = state["t"] + 1
    new, m, v = {}, {}, {}
    for name, p in params.items():
        g = grads[name]
        m[name] = b1 * state["m"][name] + (1 - b1) * g
        v[name] = b2 * state["v"][name] + (1 - b2) * g**2
        mean = m[name] / (1 - b1**t)
        square = v[name] / (1 - b2**t)
        direction = mean / (np.sqrt(square) + hyper["eps"])
        if name in decay:
            direction = direction + hyper["weight_decay"] * p
        new[name] = p - lr * direction
    return new, {"t": t, "m": m, "v": v}
    # END SOLUTION


def updates(params, grads, lrs, hyper, decay, state=None):
    """One update for each entry of `grads` and `lrs`, from `state` or from the beginning: (parameters, state)."""
    # BEGIN SOLUTION q1
    state = begin(params) if state is None else state
    for i, g in enumerate(grads):
        params, state = update(params, g, lrs[i], hyper, decay, state)
    return params, state
    # END SOLUTION


def kernels(shapes):
    """The names of parameters that decay.   shapes: name -> shape."""
    # BEGIN SOLUTION q2
    return [name for name in shapes if name.split(".")[-1] == "weight"]
    # END SOLUTION


def clip(grads, max_norm):
    """(gradients with a global norm of at most max_norm, their norm before)."""
    # BEGIN SOLUTION q4
    norm = math.sqrt(sum(float(np.sum(g * g)) for g in grads.values()))
    if norm < max_norm or norm == 0:
        return dict(grads), norm
    factor = max_norm / norm
    return {name: g * factor for name, g in grads.items()}, norm
    # END SOLUTION
