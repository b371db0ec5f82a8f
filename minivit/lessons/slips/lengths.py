"""The share of each token in another, by vector length: for the judge of exercise 18.4, with slips."""

from collections.abc import Callable

import numpy as np


def shares_by_length(A, v, U):
    """A (H, N, N), v (H, N, Dh), U (H Dh, D) -> (N, N), rows sum to 1. Source: Kobayashi et al. 2020."""
    heads, _, Dh = v.shape
    values = np.einsum("hjk,hkd->hjd", v, U.reshape(heads, Dh, -1))  # what each head would hand over, projected
    return _row_shares(np.linalg.norm(np.einsum("hij,hjd->ijd", A, values), axis=-1))


def _row_shares(lengths):
    return lengths / lengths.sum(axis=-1, keepdims=True)


def _over_queries(A, v, U):
    """Shares that sum to 1 over i."""
    heads, _, Dh = v.shape
    values = np.einsum("hjk,hkd->hjd", v, U.reshape(heads, Dh, -1))
    lengths = np.linalg.norm(np.einsum("hij,hjd->ijd", A, values), axis=-1)
    return lengths / lengths.sum(axis=0)


def _lengths_of_heads_added(A, v, U):
    heads, _, Dh = v.shape
    lengths = np.linalg.norm(np.einsum("hjk,hkd->hjd", v, U.reshape(heads, Dh, -1)), axis=-1)
    return _row_shares(np.einsum("hij,hj->ij", A, lengths))


def _not_projected(A, v, U):
    return _row_shares(np.linalg.norm(np.einsum("hij,hjk->ijhk", A, v), axis=(-2, -1)))


def _heads_last(A, v, U):
    """Rows of U taken in the order (Dh, H)."""
    heads, _, Dh = v.shape
    return shares_by_length(A, v, U.reshape(Dh, heads, -1).swapaxes(0, 1).reshape(heads * Dh, -1))


def _length_of_sum(A, v, U):
    """One vector for each j: the weights of all queries added up."""
    heads, _, Dh = v.shape
    values = np.einsum("hjk,hkd->hjd", v, U.reshape(heads, Dh, -1))
    f = np.einsum("hij,hjd->ijd", A, values)
    return np.linalg.norm(f, axis=-1) / np.linalg.norm(f.sum(axis=1), axis=-1, keepdims=True)


def _f(A, v, U):
    """What i gets from j: (N, N, D)."""
    heads, _, Dh = v.shape
    return np.einsum("hij,hjd->ijd", A, np.einsum("hjk,hkd->hjd", v, U.reshape(heads, Dh, -1)))


def _heads_apart_shares(A, v, U):
    """The shares of every head, the mean of them."""
    Dh = v.shape[2]
    return np.mean(
        [shares_by_length(A[h : h + 1], v[h : h + 1], U[h * Dh : (h + 1) * Dh]) for h in range(len(A))], axis=0
    )


def _softmax(x):
    e = np.exp(x)
    return e / e.sum(axis=-1, keepdims=True)


# what is said -> a function that makes this mistake
SLIPS: dict[str, Callable] = {
    "The lengths of the heads' parts are added here. The parts are vectors and may cancel: add them, then "
    "take the length.": _lengths_of_heads_added,
    "The projection is missing. It decides how long a vector is in the residual stream.": _not_projected,
    "The rows of U belong to head 0 first, then to head 1: reshape to (H, Dh, D), not to (Dh, H, D).": (_heads_last),
    "The shares of what token i gets sum to 1 over j, the last axis.": _over_queries,
    "The denominator is the sum of the lengths, not the length of the sum.": _length_of_sum,
    "This is the mean of the attention weights: the values do not enter.": lambda A, v, U: A.mean(axis=0),
    "These are the lengths; divide by their sum over j.": lambda A, v, U: np.linalg.norm(_f(A, v, U), axis=-1),
    "These are shares of the squared lengths: the root is missing.": (
        lambda A, v, U: _row_shares((_f(A, v, U) ** 2).sum(axis=-1))
    ),
    "The length is the root of the sum of the squares; this adds the sizes of the entries.": (
        lambda A, v, U: _row_shares(np.abs(_f(A, v, U)).sum(axis=-1))
    ),
    "A share is a length over the sum of the lengths, not a softmax.": (
        lambda A, v, U: _softmax(np.linalg.norm(_f(A, v, U), axis=-1))
    ),
    "The parts of all heads are added before the length is taken; this is the mean of the heads' "
    "shares.": _heads_apart_shares,
    "The lengths are divided by their sum over all i and j; each i has its own sum.": (
        lambda A, v, U: np.linalg.norm(_f(A, v, U), axis=-1) / np.linalg.norm(_f(A, v, U), axis=-1).sum()
    ),
    "A[i, j] weighs the values of j, not those of i.": (
        lambda A, v, U: _row_shares(np.linalg.norm(_f(A.swapaxes(1, 2), v, U), axis=-1).T)
    ),
    "The weights do not enter: f_ij is A_ij times the value of j.": (
        lambda A, v, U: shares_by_length(np.ones_like(A), v, U)
    ),
    "The weights are averaged over the heads first; each head has its own.": (
        lambda A, v, U: shares_by_length(0 * A + A.mean(axis=0), v, U)
    ),
}
