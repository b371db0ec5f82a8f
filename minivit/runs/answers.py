"""A trained model and its answers: `load_pretrained` for a run or published weights, and `classify`."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from minivit.backend import to_numpy
from minivit.data import Augment, Dataset, read_image
from minivit.data.drawn_digit import as_the_digits
from minivit.data.imagenet import imagenet_classes
from minivit.data.images import of_pillow, to_channels
from minivit.errors import CheckpointError, ConfigError, DataError
from minivit.functional import sigmoid, softmax
from minivit.models import ResNet, ViT, open_pretrained
from minivit.models.families import ModelConfig
from minivit.models.whereabouts import weights_file
from minivit.nn import Module
from minivit.runs import folder as run_folder
from minivit.runs.published import recipe_of
from minivit.runs.recipes import Recipe
from minivit.tensor import Tensor, no_grad

PIECE = 32  # images that go through the model together


@dataclass(frozen=True)
class Task:
    """What a model was trained for: how its images are prepared, the names of its K classes, and its loss.

    loss: "softmax" if an image has one class, "sigmoid" if it may have several.
    drawn: whether it was trained on the digits; then drawings are first made to look like them (`as_the_digits`).
    """

    preparation: Augment
    classes: Sequence[str]
    loss: str = "softmax"
    drawn: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", list(self.classes))

    @classmethod
    def of(cls, recipe: Recipe, classes: Sequence[str] | None = None) -> "Task":
        """The task of a run.   classes: their names; None: "class 0", "class 1", ..."""
        count = recipe.model.num_classes
        names = (classes if count else []) or [f"class {k}" for k in range(count)]
        return cls(recipe.augment.evaluation(), names, recipe.loss, drawn=recipe.data == "digits")


def load_pretrained(path: str | os.PathLike[str], **options: Any) -> ViT | ResNet:
    """A trained model in evaluation mode, from the folder of a run or a file of published weights.

    path: a run's folder, or its checkpoint.npz or best.npz; the averaged weights are used if the run keeps them. Or a
    file in any layout that `minivit.models.load_pretrained` reads, a folder that holds one, or its name ("Ti/16").
    options: as for that function, for published weights only.
    `model.task` describes how images are prepared and names the classes: `classify` uses it.
    Raises CheckpointError or ConfigError, in one line.
    """
    path = weights_file(Path(path))
    if folder := run_folder.run_of(path):
        if options:
            raise ConfigError(f"load_pretrained: {next(iter(options))} is for published weights, but {folder} is a run")
        run, recipe, names = run_folder.load_trained(path)
        run.task = Task.of(recipe, names)
        return run
    if not path.exists():
        raise CheckpointError(f"{path}: there is no such run folder or file of weights")
    found = open_pretrained(path, **options)
    config = found.model.config
    known = found.classes or (imagenet_classes() if config.num_classes == 1000 else [])
    found.model.task = Task.of(recipe_of(found), known if len(known) == config.num_classes else None)
    return found.model.eval()


def classify(
    model: ViT | ResNet, images: Any, top: int | None = 5, task: Task | None = None
) -> list[list[tuple[str, float]]]:
    """The most likely classes of each image, as [(name, probability), ...], most likely first; one list per image.

    images: one image, or several in a list or any iterable. An image is the path of a file, a Pillow picture, or a
    uint8 array (height, width), (height, width, 1 or 3). Or one array (N, height, width, C), or a data set. Sizes may
    differ; all are resized as in the model's training. Drawings of digits are first made to look like the digits, as in
    `minivit predict`; `task=dataclasses.replace(model.task, drawn=False)` prevents that.   top: number of classes, None
    for all.
    task: what the model was trained for; None: `model.task`, which `load_pretrained` and the trainer set.
    Raises DataError for anything that is not an image, ConfigError for a model without classes or a task.
    """
    if not isinstance(model, Module) or not isinstance(getattr(model, "config", None), ModelConfig):
        raise ConfigError(f"classify: a {type(model).__name__} is not a model: load one with minivit.load_pretrained")
    if top is not None and not (isinstance(top, Integral) and top >= 1):
        raise ConfigError(f"classify: top is {top}, expected at least 1, or None for all classes")
    task = task or model.task
    if not model.config.num_classes:
        raise ConfigError("classify: the model has no classification head: model(images) gives its features")
    if task is None:
        raise ConfigError(
            "classify: the model does not say how its images are prepared: load it with minivit.load_pretrained, "
            "or pass task=Task(preparation, classes) of minivit.runs.answers"
        )
    if len(task.classes) != model.config.num_classes:
        raise ConfigError(f"classify: task names {len(task.classes)} classes, the model has {model.config.num_classes}")
    answers: list[list[tuple[str, float]]] = []
    every = (as_pixels(image, model.config.channels) for image in _several(images))
    pieces = _pieces(as_the_digits(pixels)[0] if task.drawn else pixels for pixels in every)
    activation = sigmoid if task.loss == "sigmoid" else softmax
    with model.evaluating():
        for piece in pieces:
            with no_grad():
                scores = to_numpy(activation(model(task.preparation(piece))).data)
            for row in scores:
                best = np.argsort(-row, kind="stable")[:top]
                answers.append([(task.classes[k], float(row[k])) for k in best])
    return answers


def _several(images: Any) -> Iterable[Any]:
    """The images one by one, also if there is only one."""
    if isinstance(images, str | os.PathLike | Image.Image):
        return [images]
    if isinstance(images, np.ndarray):
        return images if images.ndim == 4 or images.dtype.kind in "UO" else [images]  # of paths, for instance
    if isinstance(images, Dataset):
        return (images[index][0] for index in range(len(images)))
    if isinstance(images, Tensor | bytes | dict) or not isinstance(images, Iterable):
        raise DataError(f"classify: {type(images).__name__} is not an image: give paths, or uint8 arrays of pixels")
    return images


def _pieces(images: Iterable[np.ndarray]) -> Iterable[list[np.ndarray]]:
    """The images in lists of at most PIECE."""
    piece: list[np.ndarray] = []
    for image in images:
        piece.append(image)
        if len(piece) == PIECE:
            yield piece
            piece = []
    if piece:
        yield piece


def as_pixels(image: Any, channels: int) -> np.ndarray:
    """An image, in any form that `classify` takes, as uint8 (height, width, channels). Raises DataError."""
    if isinstance(image, str | os.PathLike):
        pixels = read_image(image)
    else:
        pixels = of_pillow(image) if isinstance(image, Image.Image) else np.asarray(image)
    if pixels.dtype != np.uint8:
        raise DataError(
            f"classify: pixels are of type {pixels.dtype}, expected uint8 from 0 to 255; convert fractions by "
            "(255 * x).round().astype(numpy.uint8)"
        )
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.ndim != 3 or min(pixels.shape) < 1 or {pixels.shape[2], channels} not in ({channels}, {1, 3}):
        raise DataError(
            f"classify: an image is of shape {pixels.shape}, expected (height, width, {channels})"
            + (" or (height, width)" if channels in (1, 3) else "")
        )
    return pixels.repeat(3, axis=2) if (pixels.shape[2], channels) == (1, 3) else to_channels(pixels, channels)
