"""One update of a model on one batch: the heart of training, and the start of the reading path."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.backend import Array, to_numpy, xp_of
from minivit.backend.workers import Workers
from minivit.errors import NonFiniteError
from minivit.nn import Module
from minivit.optim import SGD, AdamW, clip_by_global_norm
from minivit.tensor import Tensor, grad, watch

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
    `accumulate` pieces per worker, whose gradients are added up: the gradient of the mean loss over the whole batch,
    in less memory. seed: of the dropout masks of this step.
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
        rng = np.random.default_rng((*seed, i))
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
    gradients = shares[0][2]
    for _, _, more in shares[1:]:
        for g, extra in zip(gradients, more, strict=True):
            g += extra
    clipped, norm = clip_by_global_norm(gradients, clip_norm or math.inf)
    if not math.isfinite(loss + norm):
        raise NonFiniteError(first_non_finite(model, optimizer, images, gradients, forward_backward, len(pieces)))
    optimizer.step(clipped)
    return StepResult(loss, sum(share[1] for share in shares) / len(images), norm)


def like_parameters(x: np.ndarray, parameter: Tensor) -> Array:
    """`x` on the device of the parameters, its dtype kept."""
    return xp_of(parameter.data).asarray(x)


def count_correct(logits: Array, labels: np.ndarray) -> int:
    """How many rows have their largest logit at their (most probable) label."""
    truth = labels if labels.ndim == 1 else labels.argmax(axis=-1)
    return int((to_numpy(logits).argmax(axis=-1) == truth).sum())


def first_non_finite(
    model: Module,
    optimizer: AdamW | SGD,
    images: np.ndarray,
    gradients: list[Array],
    forward_backward: Callable[[int], Any],
    pieces: int,
) -> str:
    """Where NaN or infinity first appeared in a step: inputs, parameters, a tensor of the forward pass, a gradient."""
    named = [("the input images", images)]
    named += [(f"parameter {name}", p.data) for name, p in zip(optimizer.names, optimizer.parameters, strict=True)]
    for name, array in named:
        if not is_finite(array):
            return f"{name} {array.shape}"
    found: list[str] = []
    names = [""]  # of the parameters that went into the last op that had any

    def look(op: str, inputs: Any, output: Tensor) -> None:
        names[0] = ", ".join(x.name for x in inputs if isinstance(x, Tensor) and x.name) or names[0]
        if not found and not is_finite(output.data):
            shapes = ", ".join(str(getattr(x, "shape", x)) for x in inputs)
            found.append(f"the output of {op}({shapes}), at or after {names[0]}")

    with watch(look):
        for i in range(pieces):
            forward_backward(i)
    for name, g in zip(optimizer.names, gradients, strict=True):
        if not found and not is_finite(g):
            found.append(f"the gradient of {name} {g.shape}")
    return found[0] if found else "the sum of loss and gradient norm over the batch"


def is_finite(x: Array | int) -> bool:
    """Whether no element is NaN or infinite."""
    return bool(xp_of(x).isfinite(x).all())
