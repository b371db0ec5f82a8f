"""CLIP's loss with targets that equal captions share, and typical slips: for the judge of exercise 26.3."""

from collections.abc import Callable
from functools import partial

import numpy as np


def _log_softmax(z: np.ndarray) -> np.ndarray:
    shifted = z - z.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def shared_targets(
    z: np.ndarray,
    sentence: np.ndarray,
    *,
    rows: float = 0.5,
    columns: float = 0.5,
    shared: bool = True,
    divided: bool = True,
    mean: bool = True,
) -> tuple:
    """rows, columns: weights of the two questions; shared: by equal captions; divided: the targets by m; mean: over
    the pairs."""
    same = (sentence[:, None] == sentence) if shared else np.eye(len(z))
    t = same / same.sum(axis=1, keepdims=True) if divided else same.astype(float)
    log_p, log_q = _log_softmax(z), _log_softmax(z.T).T
    loss = -(t * (rows * log_p + columns * log_q)).sum()
    all_targets = t.sum(axis=1)
    dz = rows * (all_targets[:, None] * np.exp(log_p) - t) + columns * (all_targets * np.exp(log_q) - t)
    return (loss / len(z), dz / len(z)) if mean else (loss, dz)


def _probability_of_all(z: np.ndarray, sentence: np.ndarray) -> tuple:
    """-log of the probability of any right text."""
    same, loss, dz = sentence[:, None] == sentence, 0.0, np.zeros_like(z)
    for turned, gradient in ((z, dz), (z.T, dz.T)):
        p = np.exp(_log_softmax(turned))
        right = (p * same).sum(axis=1, keepdims=True)
        loss -= np.log(right).mean() / 2
        gradient += (p - p * same / right) / (2 * len(z))
    return loss, dz


def _without_copies(z: np.ndarray, sentence: np.ndarray) -> tuple:
    """The copies of a pair are left out of its row and column."""
    copies = (sentence[:, None] == sentence) & ~np.eye(len(z), dtype=bool)
    return shared_targets(np.where(copies, -1e9, z), sentence, shared=False)


def _overflowing(z: np.ndarray, sentence: np.ndarray) -> tuple:
    e = np.exp(z)
    p, q = e / e.sum(axis=1, keepdims=True), e / e.sum(axis=0)
    same = sentence[:, None] == sentence
    t = same / same.sum(axis=1)
    return -(t * np.log(p * q)).sum() / (2 * len(z)), (p + q - 2 * t) / (2 * len(z))


# what is said -> a function that makes this mistake
SLIPS: dict[str, Callable] = {
    "The columns are missing: each text asks for its images, too.": partial(shared_targets, rows=1.0, columns=0.0),
    "The rows are missing: each image asks for its texts, too.": partial(shared_targets, rows=0.0, columns=1.0),
    "The loss is the mean of the two cross-entropies, not their sum.": partial(shared_targets, rows=1.0, columns=1.0),
    "These are the targets of (1): equal captions still count as wrong.": partial(shared_targets, shared=False),
    "The targets of a row must sum to 1.": partial(shared_targets, divided=False),
    "Each cross-entropy is a mean over the B pairs.": partial(shared_targets, mean=False),
    "This rewards any right text. The targets ask for 1/m of each.": _probability_of_all,
    "The copies are left out of the sums. They are right answers, and each has the target 1/m.": _without_copies,
    "Large logits overflow: subtract the maximum before `exp`.": _overflowing,
}


def tables(rng: np.random.Generator) -> list[tuple]:
    """Logits and sentences; the last logits are in the thousands."""
    given = [[0, 1, 0], [2, 2, 5, 2], [0, 1, 2, 3, 4], [7, 1, 7, 1, 1, 0]]
    return [
        (size * rng.standard_normal((len(numbers), len(numbers))), np.array(numbers))
        for numbers, size in zip(given, (1.0, 2.0, 1.0, 3000.0), strict=True)
    ]


def of_thousands(z: np.ndarray, sentence: np.ndarray) -> bool:
    """Whether numbers are so large that exp of them overflows."""
    return bool(abs(z).max() > 500)
