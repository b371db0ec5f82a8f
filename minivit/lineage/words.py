"""What BERT and its descendants share: their first values, and the loss of words that are to be predicted.

B batch, N tokens, V words.
"""

import numpy as np

from minivit import functional as F
from minivit.backend import Array, xp_of
from minivit.nn import Module
from minivit.tensor import Tensor

IGNORED = -100  # the label of a word that is not to be predicted


def loss(logits: Tensor, labels: Array) -> Tensor:
    """The mean cross entropy over the labels that are not IGNORED.   (B, N, V), (B, N). Raises ValueError if there are
    none."""
    labels = labels.reshape(-1)
    (chosen,) = (labels != IGNORED).nonzero()
    if not len(chosen):
        raise ValueError("loss: no word is to be predicted")
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1])[chosen], labels[chosen])


def smoothed_loss(logits: Tensor, labels: Array, smoothing: float) -> Tensor:
    """The same with smoothed labels. Where a word counts is not looked up, so that a GPU can record the step."""
    xp, known = xp_of(logits.data), logits.shape[-1]
    counts = labels != IGNORED
    targets = (1 - smoothing) * (labels[..., None] == xp.arange(known)) + smoothing / known
    share = counts * (counts.size / counts.sum())
    return F.cross_entropy(logits, (targets * share[..., None]).astype(logits.dtype))


def draw(module: Module, rng: np.random.Generator, deviation: float = 0.02) -> None:
    """Draw all matrices and tables from a normal distribution that is cut off at two deviations."""
    for _, tensor in module.named_parameters():
        if tensor.ndim == 2:
            values = rng.standard_normal(tensor.shape)
            while (outside := abs(values) > 2).any():
                values[outside] = rng.standard_normal(int(outside.sum()))
            tensor.data[...] = values * deviation
