"""Measure a trained model: `python -m minivit.evaluate RUN`, or published weights:
`python -m minivit.evaluate FILE --data folder:PATH --classes names.txt`."""

import argparse
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

from minivit import cli, runs
from minivit.backend.workers import Workers
from minivit.data import Dataset
from minivit.errors import DataError
from minivit.published import load_labelled_folder
from minivit.recipes import Recipe
from minivit.trainer import check_fits, evaluate, worker_count


def main(argv: Sequence[str] | None = None) -> int:
    p = cli.Parser("evaluate", description=__doc__)
    p.add_argument("run", type=cli.path, help="run folder, or file of published weights")
    cli.add_file_options(p)
    p.add_argument("--data", help="data set (default: the one the run was trained on)")
    p.add_argument("--data-root", metavar="DIR", help="where data sets lie")
    p.add_argument("--split", choices=("train", "test"), default="test")
    p.add_argument("--bad-images", choices=("refuse", "skip"), default="refuse")
    p.add_argument("--batch-size", type=cli.positive, default=256, metavar="N")
    p.add_argument("--workers", type=cli.positive, metavar="N", help="threads (default: as suits cores and batch)")
    p.add_argument("--backend", default="numpy", metavar="NAME", help="numpy, cupy or auto (default: numpy)")
    args = p.parse_args(argv)

    model, recipe, classes = cli.load_model(args)
    backend = cli.resolve_backend(args.backend)
    data, name = load_test_data(args, recipe, classes)
    check_fits(recipe, data)
    recipe = dataclasses.replace(recipe, backend=backend, workers=args.workers)
    begin = time.perf_counter()
    with Workers(worker_count(recipe, args.batch_size)) as workers:
        result = evaluate(model.to(backend), data, recipe, workers, args.batch_size)
    cli.report_skipped(data)
    rate = result["images"] / (time.perf_counter() - begin)
    print(
        f"{name} {args.split}: {result['images']} images, accuracy {result['accuracy']:.2%}, "
        f"loss {result['loss']:.4f}, {rate:.0f} images/s"
    )
    return 0


def load_test_data(args: argparse.Namespace, recipe: Recipe, classes: list[str] | None) -> tuple[Dataset, str]:
    """The data to measure on, and its name. Raises DataError unless it has the model's classes."""
    published = args.run.is_file()
    if published and not args.data:
        raise DataError("published weights have no data set of their own: name one, --data folder:PATH")
    name = args.data or recipe.data
    kind, _, path = runs.located(name).partition(":")
    if published and kind == "folder" and classes is not None:
        own = args.classes is not None
        data = load_labelled_folder(Path(path), args.split, classes, args.bad_images, own)
        cli.report_left_out(data)
        return data, f"{kind}:{path}"
    recipe = dataclasses.replace(recipe, bad_images=args.bad_images)
    data = cli.load_data_of_run(recipe, args.split, args.run, args.data, args.data_root)
    if classes is not None:
        cli.check_classes(data, classes)
    return data, runs.located(name)


if __name__ == "__main__":
    cli.run_command(main)
