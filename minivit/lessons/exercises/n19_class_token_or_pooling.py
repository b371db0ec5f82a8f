"""Exercises of notebook 19, [class] token or pooling."""

import numpy as np

from minivit.lessons.exercise import Exercise
from minivit.lessons.judges import function_like


def _masked(x, real, dy):
    share = real / real.sum(axis=1, keepdims=True)
    return (x * share[..., None]).sum(axis=1), share[..., None] * dy[:, None]


def _masked_over_all(x, real, dy):
    share = real / real.shape[1]
    return (x * share[..., None]).sum(axis=1), share[..., None] * dy[:, None]


def _gradient_to_padding(x, real, dy):
    y, _ = _masked(x, real, dy)
    return y, np.zeros_like(x) + (dy / real.sum(axis=1, keepdims=True))[:, None]


def _gradient_over_all(x, real, dy):
    y, _ = _masked(x, real, dy)
    return y, _masked_over_all(x, real, dy)[1]


def _padded(rng: np.random.Generator) -> list[tuple]:
    cases = []
    for batch, tokens, width in ((3, 5, 2), (2, 7, 4)):
        real = (np.arange(tokens) < rng.integers(1, tokens, (batch, 1))).astype(float)
        cases.append((rng.standard_normal((batch, tokens, width)), real, rng.standard_normal((batch, width))))
    return cases


def _max_backward(x, dy):
    return (x == x.max(axis=0)) * dy


def _attention_pooling(x, p, dy, as_value=True, as_key=True, row_sum=True, scaled=True):
    """With parts of the gradient left out, if asked for."""
    scale = x.shape[1] ** -0.5
    e = np.exp(x @ p * scale)
    a = e / e.sum()
    da = x @ dy
    ds = a * (da - row_sum * (a @ da)) * (scale if scaled else 1)
    return a @ x, as_value * np.outer(a, dy) + as_key * np.outer(ds, p), ds @ x


def _tokens(rng: np.random.Generator) -> list[tuple]:
    return [(rng.standard_normal((n, d)), *rng.standard_normal((2, d))) for n, d in ((5, 3), (2, 7), (6, 4))]


EXERCISES = [
    Exercise(
        "19.1",
        function_like(
            lambda D: 2 * D,
            lambda rng: [(192,), (7,)],
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
            },
        ),
        "The token and its position. In the model these two are only ever added, so one of them would do.",
    ),
    Exercise(
        "19.2",
        function_like(
            _masked,
            _padded,
            {
                "The sum leaves padding out, but it is divided by the number of all tokens.": _masked_over_all,
                "y is right. Padding did not enter y, so its gradient is 0.": _gradient_to_padding,
                "y is right. It was divided by the number of real tokens; this divides the gradient by that of all.": (
                    _gradient_over_all
                ),
                "y is right. Each token entered y divided by the number of real tokens; so does its gradient.": (
                    lambda x, real, dy: (_masked(x, real, dy)[0], real[..., None] * dy[:, None])
                ),
                "Padding is not left out.": lambda x, real, dy: _masked(x, np.ones_like(real), dy),
            },
        ),
        "The same weights, real / real.sum(), go forward and back: pooling is linear.",
    ),
    Exercise(
        "19.3",
        function_like(
            _max_backward,
            lambda rng: [(rng.standard_normal((n, d)), rng.standard_normal(d)) for n, d in ((5, 3), (2, 7))],
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
            },
        ),
        "One token per feature learns, the others do not: between reading one token and reading all.",
    ),
    Exercise(
        "19.4",
        function_like(
            _attention_pooling,
            _tokens,
            {
                "Tokens enter twice: as what is averaged and, through the weights, as what the probe is compared with. "
                "dx has only the first part.": lambda x, p, dy: _attention_pooling(x, p, dy, as_key=False),
                "Tokens enter twice: through the weights and as what is averaged. dx lacks the second "
                "part, a_i dy.": lambda x, p, dy: _attention_pooling(x, p, dy, as_value=False),
                "The softmax hands back a * (da - <a, da>): the inner product is missing.": (
                    lambda x, p, dy: _attention_pooling(x, p, dy, row_sum=False)
                ),
                "The scores are divided by sqrt(D); so must their gradient be.": (
                    lambda x, p, dy: _attention_pooling(x, p, dy, scaled=False)
                ),
            },
        ),
        "With a probe computed from the [class] token, this is what attention in the last block does for that token.",
    ),
]
