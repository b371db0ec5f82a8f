"""Train a Vision Transformer: `python -m minivit.train`. Without arguments it learns to read digits.

Ctrl-C saves the run and prints how to continue; a second Ctrl-C stops at once and keeps the last save.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from minivit import cli, terminal
from minivit.cli import look, train_options
from minivit.cli.training import train
from minivit.data import Dataset
from minivit.data.kinds import parted
from minivit.errors import CheckpointError, ConfigError, quoted
from minivit.files import expanded
from minivit.ranks import Ranks, launch
from minivit.runs import folder as run_folder
from minivit.runs import transfer
from minivit.runs.numerics import accumulation, worker_count
from minivit.runs.plan import length, plan, same_kind, splits
from minivit.runs.recipes import Recipe
from minivit.runs.sameness import facts
from minivit.runs.trainer import Trainer

FEW_IMAGES = 5000  # of a folder, with which a model that starts from nothing learns little


def parser() -> cli.Parser:
    """The options. The namespace holds only those that were given."""
    return train_options.parser(__doc__ or "")


def main(argv: Sequence[str] | None = None) -> int:
    with launch.joined() as ranks:
        given = vars(parser().parse_args(argv))
        out = given.pop("out", None)
        resume = given.pop("resume", None)
        with terminal.unheard():
            if resume is not None:
                return train(old_run(expanded(resume), given, out, ranks))
            trainer, make_folder = ranks.in_turn(lambda: new_run(given, out, ranks))
            ranks.check_same(facts(trainer.recipe, trainer.train_data, trainer.test_data))
            folder = ranks.first(make_folder)
            trainer.folder = None if ranks.rank else folder
            try:
                return train(trainer)
            except BaseException:
                if not ranks.rank and not trainer.step and run_folder.version(folder) is None:
                    run_folder.remove_unused(folder)
                raise


def old_run(folder: Path, given: dict[str, Any], out: str | None, ranks: Ranks) -> Trainer:
    """The run in a folder, ready to continue, with the few options that may change."""
    if out or not given.keys() <= {"bad_images", "data", "data_root", "epochs", "steps", "patience"}:
        raise ConfigError(
            "--resume accepts only --bad-images, --data and --data-root, or, to train longer, --epochs, "
            "--steps and --patience; all else comes from the run's config.json"
        )
    before = ranks.first(lambda: run_folder.read_recipe(folder))
    recipe = dataclasses.replace(before, **length(given))
    if not same_kind(given.get("data", recipe.data), recipe.data):
        kind, path = parted(recipe.data)
        hint = f", as {kind}:{given['data']}" if path and Path(given["data"]).exists() else ""
        raise ConfigError(f"{folder} was trained on {recipe.data}: --data can only say where that has moved{hint}")
    recipe = dataclasses.replace(recipe, bad_images=given.get("bad_images", recipe.bad_images))
    place = folder, given.get("data"), given.get("data_root")
    data = ranks.in_turn(lambda: splits(lambda split: cli.load_data_of_run(recipe, split, *place), recipe.limit))
    ranks.check_same(facts(recipe, *data))
    ranks.first(lambda: look_at(recipe, *data))
    moved = {name: given[name] for name in ("data", "data_root") if name in given}
    recipe = run_folder.placed(dataclasses.replace(recipe, **moved))
    trainer = Trainer(recipe, *data, None if ranks.rank else folder, ranks=ranks)
    trainer.warn = warn
    trainer.restore()
    if (recipe.epochs, recipe.steps) != (before.epochs, before.steps):
        print(f"{trainer.total_steps} steps in all: the learning rate now follows the schedule for this length")
    return trainer


def new_run(given: dict[str, Any], out: str | None, ranks: Ranks) -> tuple[Trainer, Callable[[], Path]]:
    """The run for these options, and what makes its folder once all ranks agree about it."""
    folder = expanded(out) if out else None
    if folder and folder.exists() and not ranks.rank:
        raise CheckpointError(run_folder.exists(folder))
    planned = plan(given, cli.load_data, cli.find_weights, cli.resolve_backend)
    recipe, data = planned.recipe, (planned.train, planned.test)
    if not ranks.rank:
        look_at(recipe, *data)
    start = transfer.start(planned.source, recipe, planned.train.classes) if planned.source else None
    model = start.model if start else None
    trainer = Trainer(run_folder.placed(recipe), *data, None, model, planned.teacher, ranks)
    tokens = trainer.objective.tokens  # how a batch is cut is written down, because one cut otherwise rounds otherwise
    recipe = dataclasses.replace(
        recipe,
        workers=worker_count(recipe, tokens=tokens, ranks=ranks.count),
        accumulate=accumulation(recipe, tokens, ranks.count),
    )
    trainer.recipe = run_folder.placed(recipe)
    trainer.warn = warn
    if start:
        print(f"starting from {recipe.init_from}\n{start}")
    elif advice := from_scratch(recipe, len(planned.train)):
        print(advice)

    def make_folder() -> Path:
        if folder is None:
            return run_folder.create_numbered(Path("runs") / planned.name, recipe)
        run_folder.create(folder, recipe)
        return folder

    return trainer, make_folder


def look_at(recipe: Recipe, train_data: Dataset, test_data: Dataset) -> None:
    """Count the files among the images that are not images, and check all images. Raises DataError for unreadable
    files, unless they are to be skipped."""
    cli.report_left_out(train_data)
    if recipe.val_share is None or test_data.left_out != train_data.left_out:  # else it is the same files
        cli.report_left_out(test_data)
    look.at_files(train_data, test_data)


def from_scratch(recipe: Recipe, images: int) -> str | None:
    """Advice for training from scratch on a small folder of images."""
    if not parted(recipe.data)[1] or images >= FEW_IMAGES or recipe.objective:
        return None
    more = f" --val-share {recipe.val_share}" if recipe.val_share else ""
    more += " --bad-images skip" if recipe.bad_images == "skip" else ""
    return (
        f"note: {images:,} images are few to learn from scratch; published weights, fine-tuned, learn far more from "
        f"them: {cli.called('train')} --init-from Ti/16 --data {quoted(recipe.data)}{more} (docs/transfer.md)"
    )


def warn(text: str) -> None:
    """Print a warning; the run goes on."""
    terminal.say(f"warning: {text}")


if __name__ == "__main__":
    cli.run_command(main, shared=True)
