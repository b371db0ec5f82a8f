"""Exercises of notebook 24, distillation."""

from functools import partial

import numpy as np

from minivit.lessons.diagnosis import diagnosed
from minivit.lessons.exercise import Exercise


def _log_softmax(z):
    shifted = z - z.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def _first(t):
    """One-hot rows of the teacher's first choice."""
    return np.eye(t.shape[1])[t.argmax(axis=1)]


def _hard(z, d, t, y, alpha, said=None, shares=None, heads=(None, None)):
    """said: what takes the place of the teacher's first choice; shares: of label and teacher; heads: logits, in the
    place of z and d, of which the two losses are taken."""
    own, other = (1 - alpha, alpha) if shares is None else shares
    said = _first(t) if said is None else said
    of_labels, of_teacher = (logits if given is None else given for logits, given in zip((z, d), heads, strict=True))
    log_p, log_q = _log_softmax(of_labels), _log_softmax(of_teacher)
    loss = -(own * (y * log_p).sum() + other * (said * log_q).sum()) / len(z)
    return loss, own * (np.exp(log_p) - y) / len(z), other * (np.exp(log_q) - said) / len(z)


def _through_the_mean(z, d, t, y, alpha):
    """Both losses of the mean of the logits."""
    loss, of_labels, of_teacher = _hard(z, d, t, y, alpha, heads=((z + d) / 2, (z + d) / 2))
    both = (of_labels + of_teacher) / 2
    return loss, both, both


def _unweighted_gradients(z, d, t, y, alpha):
    return _hard(z, d, t, y, alpha)[0], *_hard(z, d, t, y, alpha, shares=(1, 1))[1:]


def _gradients_times(z, d, t, y, alpha, factor):
    loss, dz, dd = _hard(z, d, t, y, alpha)
    return loss, dz * factor(z), dd * factor(z)


def _order(d, t, m, slip=""):
    """What `order_distillation` asks for, or with a slip."""
    B, K = d.shape
    places = {"one less": m - 1, "one more": min(m + 1, K), "all": K, "one": 1}.get(slip, m)
    order = (t if slip == "reversed" else -t).argsort(axis=1)
    if slip == "ranks":
        order = order.argsort(axis=1)
    rows, loss, dd = np.arange(B), 0.0, np.zeros_like(d)
    for i in range(places):
        left = np.zeros_like(d, dtype=bool)
        np.put_along_axis(left, order if slip == "all remain" else order[:, i:], True, axis=1)
        log_p = _log_softmax(np.where(left, d, -np.inf))
        loss -= log_p[rows, order[:, i]].sum()
        dd += np.exp(log_p)
        dd[rows, order[:, i]] -= slip != "no target"
    count = B * places if slip == "mean over places" else 1 if slip == "sum" else B
    return loss / count, -dd / count if slip == "sign" else dd / count


# what `_order` does wrong -> what is said about it
_ORDER_SLIPS = {
    "all remain": "A class that has been found is out: at place i the softmax runs over the classes from place i on.",
    "one less": "There are m places, from the first on; this stops one early.",
    "one more": "There are m places; this takes one more.",
    "all": "The order counts for the first m places; this takes all.",
    "one": "This is hard distillation, the first place alone; m places count.",
    "reversed": "The teacher's first choice is the class with the largest logit; this begins with the smallest.",
    "ranks": "c_i is the class at place i, argsort(-t). This takes the place of class i, which is its inverse.",
    "no target": "The loss is right. Of its gradient this is the softmaxes' part; the classes found count too.",
    "mean over places": "The places are summed; only over the images the mean is taken.",
    "sum": "The mean is taken over the images; this sums them.",
    "sign": "The loss is right. The gradient has its sign changed.",
}


def _orders(rng: np.random.Generator) -> list[tuple]:
    """Of several places; large logits, of both signs; all places, of which the last says nothing; one image."""
    cases = []
    for B, K, m, size in ((3, 5, 2, 1), (2, 4, 1, 2), (4, 6, 3, 1), (2, 3, 3, 1), (1, 5, 4, 1), (3, 4, 2, 800)):
        cases.append((size * rng.standard_normal((B, K)), 2 * rng.standard_normal((B, K)), m))
    return cases


def _hard_cases(rng: np.random.Generator) -> list[tuple]:
    cases = []
    for B, K, alpha, size in ((3, 5, 0.5, 1), (2, 4, 0.1, 2), (6, 3, 0.7, 1), (1, 6, 0.25, 1), (4, 3, 0.4, 800)):
        z, d, t = size * rng.standard_normal((3, B, K))
        cases.append((z, d, t, rng.dirichlet(np.ones(K), B), alpha))
    return cases


EXERCISES = [
    Exercise(
        "24.1",
        diagnosed(
            lambda D, K: 2 * D + K * D + K,
            lambda rng: [(192, 1000), (8, 3), (64, 10), (16, 5), (3, 7), (40, 1)],
            {
                "The token stands beside the others before the first block, and so has a position of its own.": (
                    lambda D, K: D + K * D + K
                ),
                "This is the token and its position. It also has a head of its own.": lambda D, K: 2 * D,
                "This is the head. The token and its position are learned too.": lambda D, K: K * D + K,
                "The head has a bias, one number for each class.": lambda D, K: 2 * D + K * D,
                "The bias of a head has one number for each class, not for each feature.": (
                    lambda D, K: 2 * D + K * D + D
                ),
                "The [class] token, its position and its head are there already: count one of each, not two.": (
                    lambda D, K: 2 * (2 * D + K * D + K)
                ),
                "This is the token alone. It has a position and a head.": lambda D, K: D,
            },
            terms={"D": lambda D, K: D, "K": lambda D, K: K, "D K": lambda D, K: D * K, "no letter": lambda D, K: 1},
        ),
        "For ViT-B and a thousand classes that is 0.8 million of 86 million, nearly all of it the head.",
    ),
    Exercise(
        "24.2",
        diagnosed(
            lambda alpha, K: K * alpha / (1 - alpha + K * alpha),
            lambda rng: [(0.1, 1000), (0.5, 10), (0.9, 3), (0.25, 7), (0.5, 2)],
            {
                "The shares have to sum to 1 again: K alpha is too much for one of them.": lambda alpha, K: K * alpha,
                "This goes from the code to the paper.": lambda alpha, K: alpha / (K - K * alpha + alpha),
                "Divided by K the second term is too small; alpha has to grow, not to shrink.": (
                    lambda alpha, K: alpha / K
                ),
                "This is the ratio of alpha' to 1 - alpha'. Give alpha' itself.": (
                    lambda alpha, K: K * alpha / (1 - alpha)
                ),
                "The whole is K alpha + (1 - alpha), not K alpha + 1: the first share shrinks as well.": (
                    lambda alpha, K: K * alpha / (1 + K * alpha)
                ),
                "The two losses are not the same: by alpha the code's second term counts K times less.": (
                    lambda alpha, K: alpha
                ),
                "This is 1 - alpha', the share of the labels.": lambda alpha, K: (1 - alpha) / (1 - alpha + K * alpha),
            },
        ),
        "The paper's 0.1 would be 0.99 in the code, for a thousand classes; as it stands, 0.1 there leaves the teacher "
        "next to nothing.",
    ),
    Exercise(
        "24.3",
        diagnosed(
            _hard,
            _hard_cases,
            {
                "alpha is what the teacher counts; 1 - alpha is left for the labels.": (
                    lambda z, d, t, y, alpha: _hard(z, d, t, y, alpha, shares=(alpha, 1 - alpha))
                ),
                "The two losses are added in the shares 1 - alpha and alpha.": (
                    lambda z, d, t, y, alpha: _hard(z, d, t, y, alpha, shares=(1, 1))
                ),
                "The loss is right. Its shares, 1 - alpha and alpha, are factors of the gradients too.": (
                    _unweighted_gradients
                ),
                "Hard distillation takes the teacher's first choice as a label; this takes all its probabilities.": (
                    lambda z, d, t, y, alpha: _hard(z, d, t, y, alpha, said=np.exp(_log_softmax(t)))
                ),
                "What the teacher says is about the [distillation] token's logits d.": (
                    lambda z, d, t, y, alpha: _hard(z, d, t, y, alpha, heads=(d, z))
                ),
                "Each loss is of its own head. Their mean is taken when the student answers, not when it learns.": (
                    _through_the_mean
                ),
                "The [distillation] token learns from the teacher, not from the labels.": (
                    lambda z, d, t, y, alpha: _hard(z, d, t, y, alpha, said=y)
                ),
                "The labels are mixed: every class counts with its share, not only the largest.": (
                    lambda z, d, t, y, alpha: _hard(z, d, t, _first(y), alpha)
                ),
                "The student's own first choice takes the place of the teacher's here.": (
                    lambda z, d, t, y, alpha: _hard(z, d, t, y, alpha, said=_first(d))
                ),
                "The loss is right. It is a mean over images: divide the gradients by their number.": (
                    partial(_gradients_times, factor=len)
                ),
                "The loss is right. It is a mean over images, not over images and classes: do not divide the gradients "
                "by K.": partial(_gradients_times, factor=lambda z: 1 / z.shape[1]),
            },
            where={"logits are large": lambda z, d, t, y, alpha: np.abs(z).max() > 100},
            allowed=(),
            results="loss dz dd",
        ),
        "With alpha = 1 the [class] token's head learns nothing, and the student still answers with the mean of both.",
    ),
    Exercise(
        "24.4",
        diagnosed(
            _order,
            _orders,
            {hint: partial(_order, slip=slip) for slip, hint in _ORDER_SLIPS.items()},
            where={
                "logits are large": lambda d, t, m: np.abs(d).max() > 100,
                "all places count": lambda d, t, m: m == d.shape[1],
                "there is more than one place": lambda d, t, m: m > 1,
            },
            allowed=(),
            results="loss dd",
        ),
        "Between hard and soft: the order says which classes are alike, and not how certain the teacher is.",
    ),
]
