"""Exercises of notebook 08, multi-head attention."""

from collections.abc import Callable
from typing import Any

import numpy as np

from minivit.lessons.exercise import Exercise, Wrong
from minivit.lessons.judges import function_like, says


def _softmax(scores: np.ndarray, axis: int = -1) -> np.ndarray:
    e = np.exp(scores - scores.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def _split(x, heads):
    return x.reshape(*x.shape[:2], heads, x.shape[2] // heads).transpose(0, 2, 1, 3)


def _merge(x):
    return x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], x.shape[1] * x.shape[3])


def _attend(qkv, heads, split=_split, merge=_merge, axis=-1, wide=False, swapped=False):
    """J of Eq. 8, (B, N, 3D) -> (B, N, D), with a switch for each mistake."""
    q, k, v = (split(part, heads) for part in np.split(qkv, 3, axis=2))
    if swapped:
        q, k = k, q
    width = q.shape[3] * (heads if wide else 1)
    return merge(_softmax(q @ k.swapaxes(2, 3) / width**0.5, axis) @ v)


def _split_by_reshape(x, heads):
    return x.reshape(x.shape[0], heads, x.shape[1], x.shape[2] // heads)


def _split_interleaved(x, heads):
    return x.reshape(*x.shape[:2], x.shape[2] // heads, heads).transpose(0, 3, 1, 2)


def _merge_by_reshape(x):
    return x.reshape(x.shape[0], x.shape[2], x.shape[1] * x.shape[3])


def _attend_by_head(qkv, heads):
    """The right values once more, computed head by head."""
    queries, keys, values = (np.split(part, heads, axis=2) for part in np.split(qkv, 3, axis=2))
    single = [np.concatenate(parts, axis=2) for parts in zip(queries, keys, values, strict=True)]
    return np.concatenate([_attend(qkv_of_head, heads=1) for qkv_of_head in single], axis=2)


_RIGHT_ONES = {"computes all heads at once": _attend, "goes head by head": _attend_by_head}
_WRONG_ONES = {
    "splits the heads by a reshape alone": lambda qkv, heads: _attend(qkv, heads, split=_split_by_reshape),
    "merges the heads by a reshape alone": lambda qkv, heads: _attend(qkv, heads, merge=_merge_by_reshape),
    "interleaves the heads": lambda qkv, heads: _attend(qkv, heads, split=_split_interleaved),
    "takes the softmax over the queries": lambda qkv, heads: _attend(qkv, heads, axis=2),
    "takes the softmax over the heads": lambda qkv, heads: _attend(qkv, heads, axis=1),
    "divides by sqrt(D) instead of sqrt(D_h)": lambda qkv, heads: _attend(qkv, heads, wide=True),
    "swaps queries and keys": lambda qkv, heads: _attend(qkv, heads, swapped=True),
    "has one head, whatever is asked for": lambda qkv, heads: _attend(qkv, 1),
}


class _Watched:
    """An implementation that remembers the heads and the width of a head it was asked for."""

    def __init__(self, attend: Callable):
        self._attend = attend
        self.asked: list[tuple[int, int]] = []

    def __deepcopy__(self, memo: dict) -> "_Watched":
        return self  # what it sees is wanted here

    def __call__(self, qkv, heads):
        self.asked.append((heads, np.shape(qkv)[-1] // 3 // max(heads, 1)))
        return self._attend(qkv, heads)


def _test_fault(answer: Any) -> str | None:
    """What is wrong with a test of implementations: a right one that it rejects, or the wrong ones that it accepts."""
    missed, asked = [], []
    for name, attend in (*_RIGHT_ONES.items(), *_WRONG_ONES.items()):
        watched = _Watched(attend)
        try:
            accepted = says(answer, watched)
        except Wrong as wrong:
            raise Wrong(
                f"{str(wrong).partition(' The arguments were')[0]} The implementation was one that {name}."
            ) from None
        asked += watched.asked
        if name in _RIGHT_ONES and not accepted:
            return (
                f"It rejects a correct implementation, one that {name}. Is your own reference right, and is the "
                "tolerance above rounding?"
            )
        if name in _WRONG_ONES and accepted:
            missed.append(name)
    if not missed:
        return None
    if not asked:
        question = "It never calls the implementation: compare its values with those of an independent version."
    elif all(heads == 1 for heads, _ in asked):
        question = "Does it use at least two heads?"
    elif all(width == 1 for _, width in asked):
        question = "With heads of width 1 there is nothing to interleave: take at least two features for each."
    else:
        question = "Does it compare the values with those of an independent version, with all lengths different?"
    return f"It accepts an implementation that {'; one that '.join(missed)}. {question}"


def _multi_query(q, k, v, heads, dJ, shared=np.sum, row_sum=True, scale=None):
    scale = (q.shape[2] // heads) ** -0.5 if scale is None else scale
    queries, keys, values = _split(q, heads), k[:, None], v[:, None]
    A = _softmax(queries @ keys.swapaxes(2, 3) * (q.shape[2] // heads) ** -0.5)
    dY = _split(dJ, heads)
    dA = dY @ values.swapaxes(2, 3)
    dS = A * (dA - row_sum * (dA * A).sum(axis=3, keepdims=True)) * scale
    dk, dv = dS.swapaxes(2, 3) @ queries, A.swapaxes(2, 3) @ dY
    return _merge(A @ values), _merge(dS @ keys), shared(dk, axis=1), shared(dv, axis=1)


def _multi_query_cases(rng: np.random.Generator) -> list[tuple]:
    cases = []
    for batch, tokens, heads, width in ((2, 5, 3, 4), (3, 4, 2, 1)):
        q, dJ = rng.standard_normal((2, batch, tokens, heads * width))
        k, v = rng.standard_normal((2, batch, tokens, width))
        cases.append((q, k, v, heads, dJ))
    return cases


EXERCISES = [
    Exercise(
        "8.1",
        function_like(
            lambda x: _merge(x.swapaxes(0, 1)),
            lambda rng: [(rng.standard_normal(shape),) for shape in ((3, 2, 5, 4), (2, 1, 4, 3))],
            {
                "The shape is right, but a reshape moves nothing: the heads must become the last but one axis first.": (
                    lambda x: x.reshape(x.shape[1], x.shape[2], -1)
                ),
                "The heads are in place, but heads and tokens must change places before the reshape, too.": (
                    lambda x: _merge_by_reshape(x.swapaxes(0, 1))
                ),
                "The heads are interleaved: bring the axes into the order (B, N, H, Dh), so that the features of a "
                "head stay together.": lambda x: x.transpose(1, 2, 3, 0).reshape(x.shape[1], x.shape[2], -1),
                "The heads must become features, not tokens: the result is (B, N, H * Dh).": (
                    lambda x: x.swapaxes(0, 1).reshape(x.shape[1], -1, x.shape[3])
                ),
                "Here axis 0 counts the heads, and axis 1 the images.": _merge,
            },
            allowed=(),
        ),
        "Axes first, reshape last: the order of the axes before the reshape decides which features are neighbours.",
    ),
    Exercise(
        "8.2",
        function_like(
            lambda D, H: 4 * D * D + 4 * D,
            lambda rng: [(768, 12), (192, 3), (1280, 16)],
            {
                "The biases are missing: there are 3D + D of them.": lambda D, H: 4 * D * D,
                "U_msa has a bias too: one for each of its D columns.": lambda D, H: 4 * D * D + 3 * D,
                "U_msa is missing, with its bias.": lambda D, H: 3 * D * D + 3 * D,
                "U_qkv has 3D columns for all heads together, not for each: a head owns D / H of each third.": (
                    lambda D, H: H * (3 * D * D + 3 * D) + D * D + D
                ),
                "All heads together are D wide, since D_h = D / H: do not multiply by H.": (
                    lambda D, H: H * (4 * D * D + 4 * D)
                ),
                "Queries, keys and values have a matrix each: U_qkv is D x 3D.": lambda D, H: 2 * D * D + 2 * D,
                "This counts one head: there are H of them, each with 3 D / H columns.": (
                    lambda D, H: 3 * (D + 1) * (D // H) + (D + 1) * D
                ),
            },
            allowed=(),
        ),
        "H does not occur: more heads are narrower ones.",
    ),
    Exercise("8.3", _test_fault, "Independent reference, several heads, all lengths different."),
    Exercise(
        "8.4",
        function_like(
            _multi_query,
            _multi_query_cases,
            {
                "Keys and values are used by every head: their gradients are the sum over the heads, not the mean.": (
                    lambda q, k, v, heads, dJ: _multi_query(q, k, v, heads, dJ, shared=np.mean)
                ),
                "Only the last head is left in dk and dv. Keys and values are used by every head: add (`+=`), do not "
                "overwrite.": lambda q, k, v, heads, dJ: _multi_query(
                    q, k, v, heads, dJ, shared=lambda parts, axis: parts[:, -1]
                ),
                "The row sum is missing: the softmax hands back A * (dA - r).": (
                    lambda q, k, v, heads, dJ: _multi_query(q, k, v, heads, dJ, row_sum=False)
                ),
                "The scores are divided by sqrt(D_h), and so are dq and dk.": lambda q, k, v, heads, dJ: _multi_query(
                    q, k, v, heads, dJ, scale=1.0
                ),
            },
            allowed=("softmax",),
            results="J dq dk dv",
        ),
        "What is used H times gets H gradients, and they add. With broadcasting the engine does this sum by itself.",
    ),
]
