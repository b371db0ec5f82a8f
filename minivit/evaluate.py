"""Measure a trained model: `python -m minivit.evaluate RUN`, or published weights:
`python -m minivit.evaluate FILE --data folder:PATH --classes names.txt`."""

import argparse
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minivit import cli, lineage
from minivit.backend.workers import Workers
from minivit.cli.training import in_figures
from minivit.data import Dataset
from minivit.data.choice import WNID, only, read_choice
from minivit.data.encoded import BAD_IMAGES
from minivit.data.imagenet import in_words
from minivit.data.kinds import is_divided, parted
from minivit.data.real import read_real, real_accuracy, real_labels
from minivit.errors import ConfigError, DataError, meant, shown
from minivit.runs import folder as run_folder
from minivit.runs.building import check_fits
from minivit.runs.evaluation import TOP, evaluate, neighbours
from minivit.runs.numerics import worker_count
from minivit.runs.plan import check_columns
from minivit.runs.probing import linear_probe
from minivit.runs.published import renamed
from minivit.runs.recipes import Recipe

WORST = 10  # classes in the table, unless all are asked for
PROBE = "linear-probe"  # a way of every objective that has features


def main(argv: Sequence[str] | None = None) -> int:
    p = cli.Parser("evaluate", description=__doc__)
    p.add_argument("run", type=cli.path, help="run folder, or published weights: a file, or a name such as Ti/16")
    cli.add_file_options(p)
    p.add_argument("--data", help="data set (default: the one the run was trained on)")
    p.add_argument("--data-root", metavar="DIR", help="where data sets lie")
    p.add_argument("--only", type=cli.path, metavar="FILE", help="measure on the classes that FILE names, one a line")
    p.add_argument("--split", choices=("train", "test"), default="test", help="test: val/ or test/ of a folder")
    p.add_argument("--bad-images", choices=BAD_IMAGES, help="refuse or skip unreadable ones (default: as the run did)")
    p.add_argument("--best", action="store_true", help="the weights of the run's best evaluation (default: the last)")
    p.add_argument("--per-class", action="store_true", help=f"figures for all classes (default: the {WORST} worst)")
    p.add_argument("--batch-size", type=cli.positive, default=256, metavar="N")
    p.add_argument("--workers", type=cli.positive, metavar="N", help="threads (default: as suits cores and batch)")
    p.add_argument("--backend", default="numpy", metavar="NAME", help="numpy, cupy or auto (default: numpy)")
    p.add_argument(
        "--real", type=cli.path, metavar="FILE", help="real.json: ReaL labels of ImageNet's validation images"
    )
    p.add_argument("--how", metavar="NAME", help="for another objective: linear-probe, or a measure of its file")
    args = p.parse_args(argv)

    args.run = cli.find_weights(args.run)
    run = run_folder.run_of(args.run)
    if run and args.classes and not args.only and parted(args.data or run_folder.read_recipe(run).data)[1]:
        args.only, args.classes = args.classes, None  # a run knows the names of its classes
    if run and run_folder.read_recipe(run).objective:
        return of_objective(args, run)
    if args.how:
        raise ConfigError(f"--how is for other objectives, but {args.run} is a classifier")
    model, recipe, classes = cli.load_model(args)
    backend = cli.resolve_backend(args.backend)
    data, name = load_test_data(args, recipe, classes)
    check_fits(recipe, data)
    recipe = dataclasses.replace(recipe, backend=backend, workers=args.workers)
    real = real_labels(data, read_real(args.real)) if args.real else None
    begin = time.perf_counter()
    confusion = np.zeros((len(data.classes),) * 2, np.int64)
    best: list[np.ndarray] = []
    with Workers(worker_count(recipe, args.batch_size)) as workers:
        result = evaluate(model.to(backend), data, recipe, workers, args.batch_size, confusion, best)
    cli.report_skipped(data)
    rate = result["images"] / (time.perf_counter() - begin)
    print("\n".join(per_class(confusion, data.classes, None if args.per_class else WORST)))
    if recipe.val_share is not None and args.split == "test" and not is_divided(name):
        print(f"measured on the {recipe.val_share:.0%} of each class that the run held out; the others: --split train")
    read = np.array([k for k in range(len(data)) if not data.was_skipped(k)])  # in the order of the answers
    answers = np.concatenate(best)
    if real is not None:
        print(of_real(answers, [real[k] for k in read], len(data.classes)))
    more = f", top-5 accuracy {top5(answers, data.labels[read]):.2%}" if len(data.classes) > TOP else ""
    print(
        f"{name} {data.split or args.split}: {result['images']} images, accuracy {result['accuracy']:.2%}, "
        f"loss {result['loss']:.4f}{more}, {rate:.0f} images/s"
    )
    return 0


def top5(answers: np.ndarray, labels: np.ndarray) -> float:
    """The share of images whose class is among their five likeliest.   answers: (N, 5).   labels: (N,)."""
    return float((answers == labels[:, None]).any(axis=1).mean())


def of_real(answers: np.ndarray, right: Sequence[frozenset[int]], classes: int) -> str:
    """The line about ReaL labels.   answers: (N, 5).   right: the right classes of each image."""
    count, first, among = real_accuracy(answers, right)
    whole = "" if classes == 1000 else f" of the {classes} classes"
    if not count:
        raise DataError(f"none of these {len(right)} images has a ReaL label{whole}")
    more = f", top-5 accuracy {among:.2%}" if classes > TOP else ""
    return (
        f"ReaL labels: {count} images that have one{whole}, {len(right) - count} left out, accuracy {first:.2%}{more}"
    )


def of_objective(args: argparse.Namespace, run: Path) -> int:
    """Print the measures of a run's objective, or of `--how`."""
    objective, recipe, classes = run_folder.load_objective(run / run_folder.BEST if args.best else args.run)
    args.run = run
    name = (recipe.objective or {})["name"]
    if args.per_class or args.real:
        option = "--per-class" if args.per_class else "--real"
        raise ConfigError(f"{option} is for classifiers, but the objective of {run} is {name}")
    ways: dict[str, Any] = {PROBE: None} if objective.has_features else {}
    ways |= lineage.ways(name)
    if args.how and args.how not in ways:
        known = f"it has {', '.join(ways)}" if ways else "it has none"
        raise ConfigError(f'{name} has no --how "{shown(args.how)}"{meant(args.how, ways)}; {known}')
    backend = cli.resolve_backend(args.backend)
    data, place = load_test_data(args, recipe, classes if recipe.model.num_classes else None)
    check_columns(recipe, data)
    check_fits(recipe, data)
    recipe = dataclasses.replace(recipe, backend=backend, workers=args.workers)
    objective.to(backend)
    if args.how in lineage.ways(name):
        print("\n".join(ways[args.how](objective, data, recipe)))
        return 0
    begin = time.perf_counter()
    with Workers(worker_count(recipe, args.batch_size, objective.tokens)) as workers:
        if args.how == PROBE:
            share = linear_probe(objective, training_data(args, recipe, run), data, recipe, workers)
            print(f"{place} {data.split or args.split}: a linear classifier on its features is right about {share:.2%}")
            return 0
        found = evaluate(objective, data, recipe, workers, args.batch_size)
        rate = found["images"] / (time.perf_counter() - begin)
        if "accuracy" not in found and objective.has_features and len(data.classes) > 1:
            found["knn"] = neighbours(objective, training_data(args, recipe, run), data, recipe, workers)
    cli.report_skipped(data)
    figures = [f"{key} {in_figures(key, value)}" for key, value in found.items() if key != "images"]
    batches = f" (in batches of {args.batch_size})" if objective.compares else ""
    print(
        f"{place} {data.split or args.split}: {found['images']} images, {', '.join(figures)}{batches}, "
        f"{rate:.0f} images/s"
    )
    return 0


def training_data(args: argparse.Namespace, recipe: Recipe, run: Path) -> Dataset:
    """The images on which a run was trained."""
    data = cli.load_data_of_run(recipe, "train", run, args.data, args.data_root)
    return data.limit(recipe.limit) if recipe.limit else data


def per_class(confusion: np.ndarray, classes: Sequence[str], most: int | None = None) -> list[str]:
    """The lines of a table per class: number of images, recall, precision, and the most frequent wrong answer.

    confusion: (K, K), number of images of class i classified as j.   most: number of classes to print, lowest recall
    first.
    """
    images, taken, right = confusion.sum(1), confusion.sum(0), confusion.diagonal()
    recall = right / np.maximum(images, 1)
    order = [int(k) for k in np.argsort(recall, kind="stable") if images[k]]
    shown_ones = order[:most]
    names = [shown(in_words(name), 40) for name in classes]
    width = max([len("class"), *(len(names[k]) for k in shown_ones)])
    lines = [f"{'class':{width}}  images   recall  precision  most often confused with"]
    for k in shown_ones:
        others = np.where(np.arange(len(classes)) == k, 0, confusion[k])
        other = names[int(others.argmax())] if others.any() else "-"
        precision = f"{right[k] / taken[k]:9.2%}" if taken[k] else "        -"
        lines.append(f"{names[k]:{width}}  {images[k]:6}  {recall[k]:7.2%}  {precision}  {other}")
    if len(order) > len(shown_ones):
        lines.append(f"and {len(order) - len(shown_ones)} more classes; --per-class prints all")
    return lines


def load_test_data(args: argparse.Namespace, recipe: Recipe, classes: list[str] | None) -> tuple[Dataset, str]:
    """The data to measure on, and its name. Raises DataError if it lacks the model's classes."""
    published = args.run.is_file()
    if published and not args.data:
        raise DataError("published weights come without a data set: give one with --data folder:PATH")
    name = args.data or recipe.data
    if published and parted(name)[1] and classes is not None:
        own = args.classes is not None
        data = cli.load_labelled_data(name, args.split, classes, args.bad_images, own, args.data_root)
    else:
        recipe = dataclasses.replace(recipe, bad_images=args.bad_images or recipe.bad_images)
        if args.data and parted(name)[0] == "imagenet" and classes and all(map(WNID.fullmatch, classes)):
            recipe = dataclasses.replace(recipe, classes=tuple(classes))  # there may be more
        data = cli.load_data_of_run(recipe, args.split, args.run, args.data, args.data_root)
        if classes is not None:
            data = renamed(data, classes)
            cli.check_classes(data, classes)
    cli.report_left_out(data)
    if args.only:
        data = only(data, read_choice(args.only))
        print(f"measured on {len(np.unique(data.labels))} of {len(data.classes)} classes")
    return data, run_folder.located(name)


if __name__ == "__main__":
    cli.run_command(main)
