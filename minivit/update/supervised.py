"""`step` for a model, images and labels, with any loss: for scripts and notebooks."""

from collections.abc import Callable

import numpy as np

from minivit import functional as F
from minivit.backend import Array
from minivit.backend.workers import Workers
from minivit.nn import Module
from minivit.optim import SGD, AdamW
from minivit.tensor import Tensor
from minivit.update import step as update
from minivit.update.batch import Batch
from minivit.update.objective import Classification, Outputs
from minivit.update.step import StepResult

LossFunction = Callable[[Tensor, Array], Tensor]


class WithLoss(Classification):
    """Classification by another loss.   loss_function: of logits (B, K) and labels, the mean over the images."""

    def __init__(self, model: Module, loss_function: LossFunction = F.cross_entropy, **mixing: float):
        super().__init__(model, **mixing)  # type: ignore[arg-type]
        self.loss_function = loss_function

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        return self.loss_function(outputs[0], batch["labels"])


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
    """`update.step.step` on images (B, height, width, C) float and labels, (B,) class numbers or (B, K) probabilities.

    The forward pass `model(images, rng=...)`, the loss, its gradients by pieces of the batch, clipping, the update.
    """
    batch = {"images": np.asarray(images), "labels": np.asarray(labels)}
    return update.step(WithLoss(model, loss_function), optimizer, batch, clip_norm, workers, accumulate, seed)
