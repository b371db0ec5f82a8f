"""One update of a model on one batch: the heart of training, and the start of the reading path."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from minivit import functional as F
from minivit.backend import Array, to_numpy, xp_of
from minivit.backend.workers import Workers
from minivit.errors import NonFiniteError
from minivit.nn import Module
from minivit.optim import SGD, AdamW, global_norm
from minivit.optim.gradients import add_up, clip_scale
from minivit.tensor import Tensor, grad
from minivit.update.draws import ImageDraws
from minivit.update.not_finite import first_non_finite

LossFunction = Callable[[Tensor, Array], Tensor]


@dataclasses.dataclass(frozen=True)
class StepResult:
    """Mean loss and share of right answers over the batch, norm of its gradient before clipping."""

    loss: float
    accuracy: float
    grad_norm: float


@np.errstate(all="ignore")  # what is not finite is found below, and named
def step(
    model: Module,
    optimizer: AdamW | SGD,
    images: np.ndarray,
    labels: np.ndarray,
    loss_function: LossFunction = F.cross_entropy,
    clip_norm: float | None = None,
    workers: Workers | None = None,
    accumulate: int = 1,
    seed: tuple[int, ...] = (0,),
) -> StepResult:
    """One update of the model on one batch.

    images: (B, height, width, C) float; labels: (B,) class numbers or (B, K) probabilities. The batch is cut into
    `accumulate` pieces per worker, whose gradients are added up: the gradient of the mean loss over the whole batch, in
    less memory. seed: of this step's dropout masks; drawn by image, so that pieces change the result by rounding only.
    Raises ValueError for an empty batch, and NonFiniteError, before anything is changed, naming the first tensor that
    is NaN or infinite.
    """
    if len(images) == 0 or len(images) != len(labels):
        raise ValueError(f"step: {len(images)} images and {len(labels)} labels, expected as many, and at least one")
    images, labels = np.asarray(images), np.asarray(labels)
    workers = workers or Workers(1)
    parameters = optimizer.parameters
    pieces = [p for p in np.array_split(np.arange(len(images)), accumulate * workers.count) if len(p)]

    def forward_backward(i: int) -> tuple[float, int, list[Array]]:
        piece = pieces[i]
        rng = ImageDraws(seed, int(piece[0]), len(piece), len(images))
        logits = model(images[piece], rng=rng)
        loss = loss_function(logits, like_parameters(labels[piece], parameters[0]))
        weight = np.asarray(len(piece) / len(images), loss.dtype)
        gradients = grad(loss, parameters, like_parameters(weight, parameters[0]))  # of the piece's share of the mean
        return float(weight) * loss.item(), count_correct(logits.data, labels[piece]), gradients

    def share_of(worker: int) -> tuple[float, int, list[Array]]:
        total, correct, gradients = forward_backward(worker)
        for i in range(worker + workers.count, len(pieces), workers.count):
            loss, right, more = forward_backward(i)
            total, correct = total + loss, correct + right
            for g, extra in zip(gradients, more, strict=True):
                g += extra
        return total, correct, gradients

    shares = workers.map(share_of, range(min(workers.count, len(pieces))))
    loss = sum(share[0] for share in shares)
    gradients = add_up([share[2] for share in shares], workers)
    norm = global_norm(gradients, workers)
    if not math.isfinite(loss + norm):
        raise NonFiniteError(first_non_finite(optimizer, images, gradients, forward_backward, len(pieces)))
    optimizer.step(gradients, clip_scale(norm, clip_norm or math.inf), workers)
    return StepResult(loss, sum(share[1] for share in shares) / len(images), norm)


def like_parameters(x: np.ndarray, parameter: Tensor) -> Array:
    """`x` on the device of the parameters, its dtype kept."""
    return xp_of(parameter.data).asarray(x)


def count_correct(logits: Array, labels: np.ndarray) -> int:
    """How many rows have their largest logit at their (most probable) label."""
    truth = labels if labels.ndim == 1 else labels.argmax(axis=-1)
    return int((to_numpy(logits).argmax(axis=-1) == truth).sum())
