"""Exercises of notebook 26, CLIP in small."""

import math
from functools import partial

import numpy as np

from minivit.lessons.diagnosis import diagnosed
from minivit.lessons.exercise import Exercise
from minivit.lessons.slips.shared_targets import SLIPS, of_thousands, shared_targets, tables


def _repeated(B: int, sentences: int, others: int = -1) -> float:
    return 1 - (1 - 1 / sentences) ** (B + others)


def _any_repeated(B: int, sentences: int) -> float:
    return 1 - math.prod(1 - i / sentences for i in range(B))


def _copies(B: int, sentences: int) -> float:
    """Of earlier pairs."""
    return 1 - sentences * _repeated(B, sentences, others=0) / B


def _smallest_loss(
    B: int, s: float, cosine: float | None = None, own: float = 1.0, scale: float | None = None
) -> float:
    """cosine: of all other pairs; own: how often the own pair counts below the fraction."""
    cosine = -1 / (B - 1) if cosine is None else cosine
    scale = math.exp(s) if scale is None else scale
    return math.log(own + (B - 1) * math.exp(scale * (cosine - 1)))


def _times(sentence: np.ndarray) -> np.ndarray:
    return (sentence[:, None] == sentence).sum(axis=1).astype(float)


def _siglip_floor(sentence: np.ndarray, yes: float = 1.0, no: float = 1.0, images: float | None = None) -> float:
    """yes, no: how often questions with these answers count; images: the divisor."""
    m = _times(sentence)
    terms = yes * np.log(m) + no * (m - 1) * np.log(m / np.maximum(m - 1, 1))
    return float(terms.sum() / (len(sentence) if images is None else images))


def _undefined(sentence: np.ndarray) -> float:
    m = _times(sentence)
    return float((np.log(m) + (m - 1) * np.log(m / (m - 1))).mean())


def _sentences(rng: np.random.Generator) -> list[tuple]:
    given = ([0, 1, 1], [3, 3, 3, 3, 0, 2, 2], [5] * 6, [0, 1, 2, 3], [0, 1, 2, 0, 1, 2, 0, 4, 0])
    return [(rng.permutation(np.array(numbers)),) for numbers in given]


EXERCISES = [
    Exercise(
        "26.1",
        diagnosed(
            _repeated,
            lambda rng: [(2, 5), (7, 3), (128, 64), (16, 100), (1, 4), (40, 12)],
            {
                "A pair does not repeat itself: how many others are there?": partial(_repeated, others=0),
                "This is the chance that some caption of the batch repeats. What is the share of pairs?": _any_repeated,
                "This is the mean number of other pairs with the same caption. It can be larger than 1.": (
                    lambda B, sentences: (B - 1) / sentences
                ),
                "This leaves out the first pair of each caption. If there is a copy, the first is repeated, too.": (
                    _copies
                ),
                "This is the share of pairs whose caption occurs once.": lambda B, s: 1 - _repeated(B, s),
            },
            allowed=(),
        ),
        "With 64 captions it is 86 % for 128 pairs. CLIP's 32,768 pairs come from far more captions than that.",
    ),
    Exercise(
        "26.2",
        diagnosed(
            _smallest_loss,
            lambda rng: [(2, 0.5), (3, 0.0), (5, 1.0), (17, 0.7), (128, 0.0), (6, -0.4)],
            {
                "Two vectors can be opposite. Three cannot all be opposite to each other.": (
                    partial(_smallest_loss, cosine=-1.0)
                ),
                "Other pairs may have cosines below 0. How far can all of them fall together?": (
                    partial(_smallest_loss, cosine=0.0)
                ),
                "s is the logarithm of the scale.": lambda B, s: _smallest_loss(B, s, scale=s),
                "The logits are the cosines times the scale, not divided by it.": (
                    lambda B, s: _smallest_loss(B, s, scale=math.exp(-s))
                ),
                "Nearly: the smallest common cosine of B vectors is not -1/B. How long is their sum?": (
                    lambda B, s: _smallest_loss(B, s, cosine=-1 / B)
                ),
                "The loss is the mean of the two cross-entropies, not their sum.": lambda B, s: (
                    2 * _smallest_loss(B, s)
                ),
                "The softmax divides by the sum over all texts, the own one included.": (
                    partial(_smallest_loss, own=0.0)
                ),
                "A finite scale leaves every wrong text some probability.": lambda B, s: 0.0,
                "This is the loss at chance, where all cosines are equal.": lambda B, s: math.log(B),
            },
            where={"there are more than two pairs": lambda B, s: B > 2},
            allowed=(),
        ),
        "With scale 1 and 64 pairs it is 3.17, and log 64 is 4.16: the scale has to grow.",
    ),
    Exercise(
        "26.3",
        diagnosed(
            shared_targets,
            tables,
            SLIPS,
            where={"logits are in the thousands": of_thousands},
            allowed=(),
            results="loss dz",
        ),
        "Targets are all that changes: the gradient is still probabilities minus targets.",
    ),
    Exercise(
        "26.4",
        diagnosed(
            _siglip_floor,
            _sentences,
            {
                "This is CLIP's bound (5). SigLIP also asks about the copies, and their answer is no.": (
                    partial(_siglip_floor, no=0.0)
                ),
                "The questions with the answer yes are missing.": partial(_siglip_floor, yes=0.0),
                "Image i with text j and image j with text i are two questions.": partial(_siglip_floor, no=0.5),
                "The sum over all pairs is divided by the number of images, not by that of pairs.": (
                    lambda sentence: _siglip_floor(sentence, images=len(sentence) ** 2)
                ),
                "This is the sum over all images. The loss is their mean.": partial(_siglip_floor, images=1.0),
                "This is the mean over the different sentences. The loss is a mean over the images.": (
                    lambda sentence: _siglip_floor(sentence, images=len(set(sentence.tolist())))
                ),
                "The probability 1/2 is the best answer only if a sentence occurs twice.": (
                    lambda sentence: float(np.where(_times(sentence) > 1, _times(sentence) * math.log(2), 0.0).mean())
                ),
                "A sentence that occurs once gives NaN: it costs nothing.": _undefined,
                "Equal captions make pairs that are right and count as wrong. No logit satisfies both.": (
                    lambda sentence: 0.0
                ),
            },
            allowed=(),
        ),
        "The best logit says 1/m: of m equal questions one has the answer yes. It costs more than CLIP's log m.",
    ),
]
