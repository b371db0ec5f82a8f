"""Lets a file of published weights stand in for a trained run: model, recipe and class names."""

import copy
import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minivit.data import Dataset
from minivit.data.imagenet import imagenet_classes, imagenet_ids
from minivit.data.imagenet_numbers import numbers_of
from minivit.data.registry import load_known
from minivit.errors import CheckpointError, DataError
from minivit.models import Published, ViT, open_pretrained
from minivit.nn import Module
from minivit.runs.recipes import Recipe

# Pixels in 0..1. The first normalisation is that of the released files and of the models that timm took from them.
HALF = ((0.5,), (0.5,))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
MAX_NAMES = 2**24  # bytes of a file of class names


def load_published(
    path: Path,
    classes: Path | None = None,
    preparation: dict[str, Any] | None = None,
    headless: bool = False,
    prefix: str | None = None,
    **config_changes: Any,
) -> tuple[ViT, Recipe, list[str] | None, str]:
    """The model of a file, a recipe that describes how its images are prepared, its class names, and a summary.

    classes: a file of class names, one a line; None: those beside the weights, ImageNet's for 1,000 classes, or none.
    preparation: fields of Recipe, "mean", "std" and "resize", that override the defaults of the file's kind. headless:
    accept a model without a classification head. prefix, config_changes: as for `load_pretrained`. Raises
    CheckpointError, ConfigError or DataError.
    """
    found = open_pretrained(path, prefix=prefix, **config_changes)
    config = found.model.config
    if not config.num_classes and not headless:
        raise CheckpointError(f"{path} has no classification head: its outputs are features")
    names = read_names(classes) if classes else found.classes if config.num_classes else None
    if names is None and config.num_classes == 1000:
        names = imagenet_classes()
    if names is not None and len(names) != config.num_classes:
        raise DataError(f"{classes or path} names {len(names)} classes, the model has {config.num_classes}")
    if config.channels not in (1, 3):
        raise CheckpointError(f"{path} reads images with {config.channels} channels, expected 1 (grey) or 3 (colour)")
    recipe = recipe_of(found, preparation)
    return found.model.eval(), recipe, names, _summary(found, recipe)


def recipe_of(found: Published, preparation: dict[str, Any] | None = None) -> Recipe:
    """A recipe that describes how images are prepared for a published model; its data set is unknown.

    preparation: as for `load_published`.
    """
    chosen = {**default_preparation(found), **(preparation or {})}
    return Recipe(data="", model=found.model.config, loss=found.loss, **chosen)


def default_preparation(found: Published) -> dict[str, Any]:
    """Mean, std and resize of a published model: as stated beside the file, or else the usual values of its layout."""
    usual = IMAGENET if found.model.config.distillation_token else HALF
    mean, std = found.mean or usual[0], found.std or usual[1]
    resize = found.resize or ("crop" if found.layout == "timm" else "squash")
    return {"mean": mean if len(mean) > 1 else mean[0], "std": std if len(std) > 1 else std[0], "resize": resize}


def blank(model: Module) -> str | None:
    """A one-line warning for a model whose answers mean nothing because parts of it are all zeros; None for any other.

    Zeros are looked for where training leaves none: in matrices, position tables and the last norm. A head with the
    same weights for all classes counts as well.
    """
    arrays = {name: tensor.data for name, tensor in model.named_tensors()}
    for name in ("head.weight", "distillation_head.weight"):
        weight = arrays.get(name)
        if weight is not None and not weight.any():
            return "note: the head is all zeros: these weights are made for fine-tuning (--init-from), not for answers"
        if weight is not None and weight.shape[1] > 1 and (weight == weight[:, :1]).all():
            return "note: the head has the same weights for all classes: its answers do not depend on the image"
    matrices = [name for name, array in arrays.items() if array.ndim > 1 and not name.endswith(("_token", "_tokens"))]
    zeros = [name for name in [*matrices, *({"norm.scale"} & arrays.keys())] if not arrays[name].any()]
    more = f" and {len(zeros) - 3} more" if len(zeros) > 3 else ""
    return f"note: all zeros, so that answers mean little: {', '.join(zeros[:3])}{more}" if zeros else None


def read_names(path: Path) -> list[str]:
    """The lines of a file of class names. Raises DataError for a missing or unprintable file, or a class named
    twice."""
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_NAMES + 1)  # not all at once: a device has no size and no end
        if len(content) > MAX_NAMES:
            raise ValueError(f"more than {MAX_NAMES:,} bytes")
        names = [line.strip() for line in content.decode("utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a file of class names: {getattr(error, 'strerror', None) or error}") from error
    if not all(name.isprintable() for name in names):
        raise DataError(f"{path} is not a file of class names: it has characters that cannot be printed")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path} names {twice} twice")
    return names


def load_labelled_data(
    name: str,
    split: str,
    classes: list[str],
    bad_images: str,
    own: bool = False,
    root: str | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> Dataset:
    """The images of data with a path whose classes have the names of the model's or, for ImageNet, WordNet ids.

    own: whether the caller gave the names; if not, a thousand classes are ImageNet's, whatever names lie beside the
    weights. Only this split must exist, and it may lack classes. Raises DataError, also for a folder whose name fits
    two classes ("crane", the bird and the machine).
    """
    numbers = class_numbers(classes, own)
    return load_known(name, numbers, classes, root, split, bad_images=bad_images, progress=progress)


def renamed(data: Dataset, classes: Sequence[str]) -> Dataset:
    """The data set with the classes of a model, if all of its own are ImageNet's and the model knows them by any name;
    any other as it is."""
    known = {number: label for label, number in enumerate(numbers_of(classes)) if number is not None}
    found = [known.get(number, -1) if number is not None else -1 for number in numbers_of(data.classes)]
    if data.classes == list(classes) or -1 in found or len(set(found)) < len(found):
        return data
    data = copy.copy(data)
    data.labels, data.classes = np.array(found, np.int64)[data.labels], list(classes)
    return data


def class_numbers(classes: Sequence[str], own: bool) -> dict[str, int]:
    """The number of each class by every unambiguous name: its own, for ImageNet also its WordNet id, and for classes
    named by ids the word.   own: as for `load_labelled_data`."""
    ids, words = imagenet_ids(), imagenet_classes()
    numbers = _unique(classes)
    if list(classes) == words or (len(classes) == 1000 and not own):
        return _unique(ids) | _unique([name.partition(",")[0] for name in classes]) | numbers  # "tench, Tinca tinca"
    known = dict(zip(ids, words, strict=True))
    return numbers | {known[name]: number for name, number in numbers.items() if known.get(name, name) not in numbers}


def _unique(names: Sequence[str]) -> dict[str, int]:
    count = Counter(names)
    return {name: number for number, name in enumerate(names) if count[name] == 1}


def _summary(found: Published, recipe: Recipe) -> str:
    """One line on what was loaded and how its images are prepared, and one for each resized array."""
    config = dataclasses.asdict(found.model.config)
    size = "x".join(map(str, config["image_size"]))
    said = "" if found.mean and found.std else ", the usual values for this layout"
    lines = [
        f"{found.layout} layout: {found.model.num_parameters():,} parameters, {config['num_classes']} classes; images: "
        f"{recipe.resize} to {size}, mean {_text(recipe.mean)}, std {_text(recipe.std)}{said}"
    ]
    return "\n".join(lines + [f"resized: {line}" for line in found.resized])


def _text(values: float | tuple[float, ...]) -> str:
    return ",".join(map(str, values)) if isinstance(values, tuple) else str(values)
