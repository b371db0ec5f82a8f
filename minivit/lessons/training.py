"""Small data sets and a short training loop, which keep an experiment in a notebook to a few lines."""

from collections.abc import Callable

import numpy as np

from minivit import functional as F
from minivit.backend import to_numpy
from minivit.data import Augment, Dataset, Loader, eval_batches, load
from minivit.data.shapes import load_shapes
from minivit.errors import MissingDataError
from minivit.nn import Module
from minivit.optim import SGD, AdamW, warmup_cosine
from minivit.tensor import no_grad
from minivit.update.batch_normed import BatchNormedClassification, has_batch_norm
from minivit.update.step import StepResult, step
from minivit.update.supervised import LossFunction, WithLoss


class BatchNormedWithLoss(BatchNormedClassification, WithLoss):
    """`WithLoss` for a network with batch normalisation."""


def digits() -> tuple[Dataset, Dataset]:
    """The handwritten digits that come with minivit, 8x8 pixels, one channel: training and test images."""
    return load("digits", split="train"), load("digits", split="test")


def photographs(train: int, test: int, seed: int = 0) -> tuple[Dataset, Dataset]:
    """That many training and test images, 32x32x3 of 10 classes: CIFAR-10 if it is on this machine, else drawn shapes.

    `.name` says which. Those of CIFAR-10 are drawn at random, by `seed`, without repetition. To get it, see
    `python -m minivit.train --data cifar10`. Raises ValueError if more are asked for than it has, DataError if its
    files are damaged.
    """
    try:
        whole = {split: load("cifar10", split=split) for split in ("train", "test")}
    except MissingDataError:
        return load_shapes("train", train, seed), load_shapes("test", test, seed)
    parts = []
    for count, images in zip((train, test), whole.values(), strict=True):
        if count > len(images):
            raise ValueError(f"photographs: {count} images requested, but {images.name} has {len(images)}")
        parts.append(images.subset(np.random.default_rng(seed).permutation(len(images))[:count]))
    return parts[0], parts[1]


def fit(
    model: Module,
    train: Dataset,
    steps: int,
    *,
    batch_size: int = 128,
    lr: float = 1e-3,
    weight_decay: float = 0.05,
    warmup: float = 0.1,
    augment: Augment | None = None,
    mixup: float = 0.0,
    cutmix: float = 0.0,
    loss_function: LossFunction = F.cross_entropy,
    clip_norm: float | None = 1.0,
    optimizer: type[AdamW | SGD] = AdamW,
    seed: int = 0,
    watch: Callable[[int], None] | None = None,
) -> list[StepResult]:
    """Train `model` in place for `steps` updates; return the result of each (loss, accuracy, gradient norm).

    model: takes images (B, height, width, C) in -1..1 and a keyword `rng`.   warmup: share of the steps.
    augment: random changes of the images (default none).   optimizer: SGD has the momentum 0.9.
    seed: of the order, the changes and dropout.
    watch: called after each update with the number of updates so far, to measure on the way.
    The short form of `minivit.runs.trainer.Trainer`, without files, evaluation or resumption.
    """
    batch_size = min(batch_size, len(train))
    schedule = warmup_cosine(lr, steps, round(warmup * steps))
    updates = optimizer(model.named_parameters(), schedule, weight_decay=weight_decay)
    augment = augment or Augment(train.image_size)  # type: ignore[arg-type]
    history: list[StepResult] = []
    model.train()
    kind = BatchNormedWithLoss if has_batch_norm(model) else WithLoss
    objective = kind(model, loss_function, mixup=mixup, cutmix=cutmix, classes=len(train.classes))
    with Loader(train, batch_size, augment, objective, total_steps=steps, seed=seed) as batches:
        for i, batch in enumerate(batches):
            history.append(step(objective, updates, batch, clip_norm, seed=(seed, i)))
            if watch is not None:
                watch(i + 1)
                model.train()  # it may have measured
    model.eval()
    return history


def accuracy(model: Module, dataset: Dataset, batch_size: int = 500) -> float:
    """Share of the images that the model classifies correctly, 0..1."""
    model.eval()
    transform = Augment(dataset.image_size)  # type: ignore[arg-type]
    right = 0
    with no_grad():
        for images, labels in eval_batches(dataset, batch_size, transform):
            right += int((to_numpy(model(images).data).argmax(axis=-1) == labels).sum())
    return right / len(dataset)
