"""Exercises of notebook 19, [class] token or pooling."""

from functools import partial

import numpy as np

from minivit.lessons.diagnosis import diagnosed
from minivit.lessons.exercise import Exercise


def _masked(x, real, dy, count=None, count_back=None):
    """count, count_back: divisors other than the number of real tokens."""
    right = real.sum(axis=1, keepdims=True)
    y = (x * real[..., None]).sum(axis=1) / (right if count is None else count)
    return y, (real / (right if count_back is None else count_back))[..., None] * dy[:, None]


def _gradient_to_padding(x, real, dy):
    y, _ = _masked(x, real, dy)
    return y, np.zeros_like(x) + (dy / real.sum(axis=1, keepdims=True))[:, None]


def _first_ones(x, real, dy):
    """The right number of tokens, but the first ones."""
    return _masked(x, (np.arange(real.shape[1]) < real.sum(axis=1, keepdims=True)).astype(float), dy)


def _with_epsilon(x, real, dy, eps):
    count = real.sum(axis=1, keepdims=True) + eps
    return _masked(x, real, dy, count, count)


def _padded(rng: np.random.Generator) -> list[tuple]:
    """Padding behind, in between and in front; none; all but one; images of one token; one image."""
    masks = (
        [[1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1]],
        [[0, 1, 0, 1, 1, 0, 1], [0, 0, 0, 0, 0, 1, 0]],
        [[0, 0, 1], [1, 0, 1], [0, 1, 1], [1, 1, 0]],
        [[1], [1]],
        [[0, 1, 1, 0, 1, 1]],
    )
    cases = []
    for mask, width in zip(masks, (2, 4, 5, 3, 3), strict=True):
        real = np.array(mask, float)
        batch, tokens = real.shape
        cases.append((rng.standard_normal((batch, tokens, width)), real, rng.standard_normal((batch, width))))
    return cases


def _padding_first(x, real, dy):
    return bool((np.diff(real, axis=1) > 0).any())


def _max_backward(x, dy):
    return (x == x.max(axis=0)) * dy


def _attention_pooling(x, u, dy, slip=""):
    scale = {"not scaled": 1.0, "scaled by N": len(x) ** -0.5, "D for its root": 1 / x.shape[1]}.get(
        slip, x.shape[1] ** -0.5
    )
    e = np.exp(x @ u * scale)
    a = e if slip == "no softmax" else e / e.sum()
    da = x @ dy
    ds = a * (da - (0 if slip == "no inner product" else da.mean() if slip == "mean" else a @ da))
    ds = da if slip == "past the softmax" else ds
    ds = ds * (1 if slip == "scale lost" else scale)
    as_value = 0 if slip == "no value" else np.outer(np.full_like(a, 1 / len(a)) if slip == "equal" else a, dy)
    as_key = 0 if slip == "no key" else np.outer(ds, u)
    as_key = as_key * (x.shape[1] ** 0.5 if slip == "scale lost for x" else 1)
    du = ds @ x * (x.shape[1] ** 0.5 if slip == "scale lost for u" else 1)
    return a @ x, as_value + as_key, du


# what `_attention_pooling` does wrong -> what is said about it
_POOLING_SLIPS = {
    "no key": "Tokens enter twice: as what is averaged and, through the weights, as what the probe is compared with. "
    "dx has only the first part.",
    "no value": "Tokens enter twice: through the weights and as what is averaged. dx lacks the second part, a_i dy.",
    "no inner product": "The softmax hands back a * (da - <a, da>): the inner product is missing.",
    "mean": "The softmax hands back a * (da - <a, da>): the mean of da with the weights a, not the plain one.",
    "past the softmax": "The gradient of the scores is not that of the weights: it has to go back through the softmax.",
    "scale lost": "The scores are divided by sqrt(D); so must their gradient be.",
    "scale lost for x": "The scores are divided by sqrt(D); so must be what comes back to x through them. du is right.",
    "scale lost for u": "The scores are divided by sqrt(D); so must be what comes back to u. dx is right.",
    "not scaled": "The scores are divided by sqrt(D), the root of the width, before the softmax.",
    "scaled by N": "The scores are divided by the root of the width D, not of the number of tokens.",
    "D for its root": "The scores are divided by the root of D, not by D.",
    "no softmax": "The weights are to sum to 1: divide the exponentials by their sum.",
    "equal": "dx lacks the weights: token i was averaged with the weight a_i, not 1 / N.",
}


def _tokens(rng: np.random.Generator) -> list[tuple]:
    return [(rng.standard_normal((n, d)), *rng.standard_normal((2, d))) for n, d in ((5, 3), (2, 7), (6, 4), (4, 4))]


EXERCISES = [
    Exercise(
        "19.1",
        diagnosed(
            lambda D: 2 * D,
            lambda rng: [(192,), (7,), (64,), (2,)],
            {
                "The [class] token is one vector, but it also has a row of its own in the position embeddings.": (
                    lambda D: D
                ),
                "The classifier behind is the same for both: the token and its position are all that is saved.": (
                    lambda D: 3 * D
                ),
                "The projection of the patches does not change: count vectors of width D, not matrices.": (
                    lambda D: D * D
                ),
                "The token and its position are one vector each; there is no matrix among them.": lambda D: 2 * D * D,
                "The [class] token is a parameter, and so is its row in the position embeddings.": lambda D: 0,
                "The count is of numbers: a vector has D of them.": lambda D: 2,
                "Mean pooling has fewer parameters; how many fewer, a positive number?": lambda D: -2 * D,
                "The two vectors have no bias: there is no single number among them.": lambda D: 2 * D + 1,
            },
            terms={"D": lambda D: D, "no letter": lambda D: 1, "D^2": lambda D: D * D},
        ),
        "The token and its position. In the model these two are only ever added, so one of them would do.",
    ),
    Exercise(
        "19.2",
        diagnosed(
            _masked,
            _padded,
            {
                "The sum leaves padding out, but it is divided by the number of all tokens.": (
                    lambda x, real, dy: _masked(x, real, dy, x.shape[1], x.shape[1])
                ),
                "y is right. Padding did not enter y, so its gradient is 0.": _gradient_to_padding,
                "y is right. It was divided by the number of real tokens; this divides the gradient by that of all.": (
                    lambda x, real, dy: _masked(x, real, dy, None, x.shape[1])
                ),
                "y is right. Each token entered y divided by the number of real tokens; so does its gradient.": (
                    lambda x, real, dy: _masked(x, real, dy, None, 1)
                ),
                "y is the sum over the real tokens; divide it by their number. The gradient is right.": (
                    lambda x, real, dy: _masked(x, real, dy, 1, None)
                ),
                "y is the sum over the real tokens, and the gradient that of the sum; divide by their number.": (
                    lambda x, real, dy: _masked(x, real, dy, 1, 1)
                ),
                "Every image is divided by the number of its own real tokens, not by that of the batch.": (
                    lambda x, real, dy: _masked(x, real, dy, real.sum(), real.sum())
                ),
                "Every image is divided by the number of its own real tokens, not by the mean number.": (
                    lambda x, real, dy: _masked(x, real, dy, real.sum() / len(x), real.sum() / len(x))
                ),
                "Padding need not stand at the end: `real` says which tokens count, not only how many.": _first_ones,
                "Real tokens and padding are exchanged.": (
                    lambda x, real, dy: _masked(x, 1 - real, dy, *[np.maximum(1, (1 - real).sum(1, keepdims=True))] * 2)
                ),
                "Padding is not left out.": lambda x, real, dy: _masked(x, np.ones_like(real), dy),
                "An image has at least one real token, so no epsilon is needed; this one makes y a little too small.": (
                    partial(_with_epsilon, eps=1e-6)
                ),
                "An image has at least one real token, so no epsilon is needed; this one makes y too small by a "
                "hundred-millionth.": partial(_with_epsilon, eps=1e-8),
                "This takes the mean over the images as well: divide by the number of tokens alone.": (
                    lambda x, real, dy: (_masked(x, real, dy)[0], _masked(x, real, dy)[1] / len(x))
                ),
            },
            where={
                "a token stands behind padding": _padding_first,
                "there is padding": lambda x, real, dy: not real.all(),
            },
            allowed=(),
            results="y dx",
        ),
        "The same weights, real / real.sum(), go forward and back: pooling is linear.",
    ),
    Exercise(
        "19.3",
        diagnosed(
            _max_backward,
            lambda rng: [
                (rng.standard_normal((n, d)) + shift, rng.standard_normal(d))
                for n, d, shift in ((5, 3, 0), (2, 7, 0), (4, 4, -9), (6, 2, 9), (1, 3, -1), (7, 1, 0))
            ],
            {
                "This is the gradient of the mean. Changing a token that is not the largest changes nothing.": (
                    lambda x, dy: np.zeros_like(x) + dy / len(x)
                ),
                "The maximum is taken over the tokens, feature by feature, not over the features of a token.": (
                    lambda x, dy: (x == x.max(axis=1, keepdims=True)) * dy
                ),
                "The maximum is taken in each feature for itself, axis=0, not over the whole array.": (
                    lambda x, dy: (x == x.max()) * dy
                ),
                "Every token gets the gradient here; only the largest in each feature should.": (
                    lambda x, dy: np.zeros_like(x) + dy
                ),
                "The gradient goes where the largest value is; its size is that of dy, not of the value.": (
                    lambda x, dy: (x == x.max(axis=0)) * x
                ),
                "The gradient goes to the largest value, whose derivative is 1: dy, not dy times the value.": (
                    lambda x, dy: (x == x.max(axis=0)) * x * dy
                ),
                "The largest value has the derivative 1, as a copy has: no division by the number of tokens.": (
                    lambda x, dy: (x == x.max(axis=0)) * dy / len(x)
                ),
                "The gradient is dy at the largest value, not 1.": lambda x, dy: (x == x.max(axis=0)) * 1.0,
                "This looks for the smallest value in each feature.": lambda x, dy: (x == x.min(axis=0)) * dy,
                "This looks for the value furthest from 0; the largest one may be close to 0, or negative.": (
                    lambda x, dy: (np.abs(x) == np.abs(x).max(axis=0)) * dy
                ),
                "The largest of several negative values is negative; this takes none below 0.": (
                    lambda x, dy: ((x == x.max(axis=0)) & (x > 0)) * dy
                ),
                "One token gets the gradient of all features, that of the largest sum. Each feature has its own.": (
                    lambda x, dy: (np.arange(len(x)) == x.sum(axis=1).argmax())[:, None] * dy
                ),
                "One token gets the gradient of all features, the longest. Each feature has its own.": (
                    lambda x, dy: (np.arange(len(x)) == (x**2).sum(axis=1).argmax())[:, None] * dy
                ),
                "A softmax over the tokens is no maximum: the gradient goes to the largest value alone.": (
                    lambda x, dy: np.exp(x) / np.exp(x).sum(axis=0) * dy
                ),
            },
            where={
                "all values of a feature are negative": lambda x, dy: bool((x.max(axis=0) < 0).any()),
                "some values are negative": lambda x, dy: bool((x < 0).any()),
                "there is more than one token": lambda x, dy: len(x) > 1,
            },
            allowed=(),
        ),
        "One token per feature learns, the others do not: between reading one token and reading all.",
    ),
    Exercise(
        "19.4",
        diagnosed(
            _attention_pooling,
            _tokens,
            {hint: partial(_attention_pooling, slip=slip) for slip, hint in _POOLING_SLIPS.items()}
            | {
                "y is the mean of the tokens, as if u were 0: weigh them by a.": (
                    lambda x, u, dy: (x.mean(axis=0), *_attention_pooling(x, u, dy)[1:])
                ),
                "du and dx have the sign changed.": (
                    lambda x, u, dy: (_attention_pooling(x, u, dy)[0], *(-g for g in _attention_pooling(x, u, dy)[1:]))
                ),
            },
            allowed=("softmax",),
            results="y dx du",
        ),
        "With a probe computed from the [class] token, this is what attention in the last block does for that token.",
    ),
]
