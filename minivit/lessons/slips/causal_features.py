"""Causal attention by positive random features, and its typical slips: for the judge of exercise 31.4."""

from collections.abc import Callable
from functools import partial

import numpy as np


def _features(x: np.ndarray, omega: np.ndarray, shrink: float, lengths: bool = True, softmax: bool = False):
    x = x * x.shape[1] ** -shrink
    exponents = x @ omega.T - lengths * (x * x).sum(axis=1, keepdims=True) / 2
    phi = np.exp(exponents)
    return phi / phi.sum(axis=1, keepdims=True) if softmax else phi


def causal_performer(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    omega: np.ndarray,
    *,
    shrink: float = 0.25,
    lengths: bool = True,
    softmax: bool = False,
    behind: int = 0,
    divided: bool = True,
) -> np.ndarray:
    """(N, Dh).   shrink: q and k are divided by this power of Dh; behind: keys that are left out at the end."""
    phi_q, phi_k = (_features(x, omega, shrink, lengths, softmax) for x in (q, k))
    y, inner, total = np.zeros_like(v), np.zeros((len(omega), v.shape[1])), np.zeros(len(omega))
    for i in range(len(q)):
        if i >= behind:
            inner = inner + np.outer(phi_k[i - behind], v[i - behind])
            total = total + phi_k[i - behind]
        below = phi_q[i] @ total if divided else len(omega)
        y[i] = phi_q[i] @ inner / below if below else 0
    return y


def _whole(q: np.ndarray, k: np.ndarray, v: np.ndarray, omega: np.ndarray) -> np.ndarray:
    """Every query uses all keys."""
    phi_q, phi_k = _features(q, omega, 0.25), _features(k, omega, 0.25)
    return phi_q @ (phi_k.T @ v) / (phi_q @ phi_k.sum(axis=0))[:, None]


def _total_of_all(q: np.ndarray, k: np.ndarray, v: np.ndarray, omega: np.ndarray) -> np.ndarray:
    """The numerator is causal, the denominator sums all keys."""
    phi_q, phi_k = _features(q, omega, 0.25), _features(k, omega, 0.25)
    causal = causal_performer(q, k, v, omega)
    seen = (phi_q * phi_k.cumsum(axis=0)).sum(axis=1)
    return causal * (seen / (phi_q @ phi_k.sum(axis=0)))[:, None]


def _exact(q: np.ndarray, k: np.ndarray, v: np.ndarray, omega: np.ndarray) -> np.ndarray:
    s = np.where(np.tri(len(q), dtype=bool), q @ k.T / np.sqrt(q.shape[1]), -np.inf)
    e = np.exp(s - s.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True) @ v


def _future(q: np.ndarray, k: np.ndarray, v: np.ndarray, omega: np.ndarray) -> np.ndarray:
    return causal_performer(q[::-1], k[::-1], v[::-1], omega)[::-1]


# what is said -> a function that makes this mistake
SLIPS: dict[str, Callable] = {
    "Every query uses all keys here; query i may use those up to i.": _whole,
    "The numerator is causal. The denominator sums all keys: it has to stop at i as well.": _total_of_all,
    "Query i uses its own key, too: j <= i.": partial(causal_performer, behind=1),
    "Query i uses the keys from i on; it may use those up to i.": _future,
    "Queries and keys are divided by the square root of Dh each. Together that is Dh; the score is divided by its "
    "square root.": partial(causal_performer, shrink=0.5),
    "Queries and keys are not divided by any power of Dh.": partial(causal_performer, shrink=0.0),
    "The factor with the squared length of x is missing. For keys it does not cancel.": (
        partial(causal_performer, lengths=False)
    ),
    "The features take the place of exp(S). Here a softmax is taken over the features of a token.": (
        partial(causal_performer, softmax=True)
    ),
    "This is the numerator. The sum of the products of features divides it.": partial(causal_performer, divided=False),
    "This is exact attention; the features of `omega` are asked for.": _exact,
}
