"""Finds by name what a command works on: a data set, weights, a trained run, a backend."""

import argparse
import os
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

from minivit import terminal
from minivit.backend import get_namespace
from minivit.cli.parser import called
from minivit.cli.progress import download_bar, index_bar
from minivit.data import Dataset, load
from minivit.data.dataset import in_words
from minivit.data.imagenet import some
from minivit.data.kinds import is_divided, parted
from minivit.errors import BackendError, ConfigError, DataError, quoted
from minivit.models import ResNet, ViT
from minivit.models.families import build
from minivit.models.whereabouts import weights_file
from minivit.runs import folder as run_folder
from minivit.runs import published
from minivit.runs.published import blank, load_published
from minivit.runs.recipes import Recipe


def load_data(
    name: str,
    root: str | None,
    split: str,
    bad_images: str = "refuse",
    val_share: float | None = None,
    seed: int = 0,
    classes: Sequence[str] | None = None,
) -> Dataset:
    """A data set by name, downloaded or indexed with a progress bar if necessary."""
    options: dict[str, Any] = {"bad_images": bad_images, "val_share": val_share, "seed": seed, "classes": classes}
    bar = index_bar if parted(name)[1] else download_bar
    with bar(name) as progress:
        return load(run_folder.located(name), root, split, **options, download=True, progress=progress)


def load_labelled_data(
    name: str, split: str, classes: list[str], bad_images: str | None, own: bool = False, root: str | None = None
) -> Dataset:
    """Data with a path for a model whose classes are known; see `published.load_labelled_data`."""
    with index_bar(name) as progress:
        return published.load_labelled_data(
            run_folder.located(name), split, classes, bad_images or "refuse", own, root, progress
        )


def find_weights(named: str | Path) -> Path:
    """The run folder or weights file of that name. Published weights are downloaded if necessary, with a message."""
    with download_bar(str(named)) as progress:
        return weights_file(named, progress, terminal.say)


def report_left_out(dataset: Dataset) -> None:
    """Print one line that counts the files left out because they are not images."""
    if dataset.left_out:
        terminal.say(f"{dataset.name}: left out {in_words(dataset.left_out)}")


def load_data_of_run(
    recipe: Recipe, split: str, run: Path, data: str | None = None, root: str | None = None
) -> Dataset:
    """The data set of a run, or `data` instead, in the data folder `root`. Raises DataError."""
    if data is None:
        run_folder.check_place(recipe.data, run)
    name = run_folder.located(data or recipe.data)
    share = None if data is not None and is_divided(name) else recipe.val_share
    classes = recipe.classes if parted(name)[1] else None
    return load_data(name, root or recipe.data_root, split, recipe.bad_images, share, recipe.val_seed or 0, classes)


def report_skipped(dataset: Dataset | None, known: Container[str] = ()) -> None:
    """List the images that were left out because they could not be read, except those in `known`."""
    for path, reason in (dataset.skipped if dataset else {}).items():
        if path not in known:
            terminal.say(f"skipped {path}: {reason}")


def resolve_backend(name: str) -> str:
    """The backend called `name`; "auto" is resolved and reported here. Raises BackendError if it cannot be used."""
    if name != "auto":
        return get_namespace(name).__name__
    try:
        found, reason = get_namespace("cupy").__name__, ""
    except BackendError as error:
        found, reason = "numpy", f" ({error})"
    print(f"backend auto: using {found}{reason}")
    return found


def load_model(args: argparse.Namespace, headless: bool = False) -> tuple[ViT | ResNet, Recipe, list[str] | None]:
    """The model, a recipe and, if known, the class names of a run folder or a file of published weights.

    Changes args.run: a folder with one weights file becomes that file, a file of a run becomes the run's folder.
    args.best: the weights of the run's best evaluation.   headless: accept a file without a classification head.
    """
    args.run = find_weights(args.run)
    run = run_folder.run_of(args.run)
    options = ("classes", "heads", "image_size", "set", "mean", "std", "resize", "prefix")
    given = {name: getattr(args, name) for name in options if getattr(args, name) is not None}
    if run or not args.run.is_file():
        if given and os.path.lexists(args.run):
            raise ConfigError(f"--{next(iter(given)).replace('_', '-')} is for a file of published weights")
        best = getattr(args, "best", False)
        trained = run_folder.load_trained((run or args.run) / run_folder.BEST if best else args.run)
        args.run = run or args.run
        if not (headless or trained[1].model.num_classes):
            raise ConfigError(without_classes(args.run, *trained[:2]))
        say_if_blank(trained[0], headless)
        return trained
    if getattr(args, "best", False):
        raise ConfigError(f"--best needs a run folder, but {args.run} is a file of published weights")
    changes = {name: given[name] for name in ("heads", "image_size", "prefix") if name in given}
    changes |= dict(given.get("set", []))
    preparation: dict[str, Any] = {name: given[name] for name in ("mean", "std", "resize") if name in given}
    model, recipe, classes, summary = load_published(args.run, given.get("classes"), preparation, headless, **changes)
    print(summary)
    say_if_blank(model, headless)
    return model, recipe, classes


def without_classes(run: Path, model: ViT | ResNet, recipe: Recipe) -> str:
    """The error line for a run that has no classes, with advice."""
    kind = recipe.objective["name"] if recipe.objective else "classification"
    how = f"; to get a classifier from it: {called('train')} --init-from {quoted(run)}"
    how = how if type(model) is type(build(recipe.model, None)) else ""  # not with layers of its own
    return f"{run} has no classes: its objective is {kind}{how}"


def say_if_blank(model: ViT | ResNet, headless: bool) -> None:
    """Print a note if the model's answers mean nothing. A model without a head may be meant so (`headless`)."""
    if not headless and (line := blank(model)):
        print(line)


def check_classes(data: Dataset, classes: list[str]) -> None:
    """Raise DataError unless the data set has the classes on which the model was trained."""
    if data.classes != classes:
        bare = parted(data.name)[0] == "shards" and all(map(str.isdecimal, data.classes))
        how = "; write the names of its classes, one a line, into classnames.txt beside the shards" if bare else ""
        raise DataError(
            f"{data.name} has {len(data.classes)} classes ({some(data.classes)}), "
            f"the model was trained on {len(classes)} ({some(classes)}){how}"
        )
