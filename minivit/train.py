"""Train a Vision Transformer: `python -m minivit.train`. With no argument it learns to read handwritten digits.

Ctrl-C saves the run and says how to go on; a second Ctrl-C stops at once, with what was saved last.
"""

import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from minivit import cli, presets, recipes, runs, terminal, train_options, transfer
from minivit.data import Dataset
from minivit.errors import CheckpointError, ConfigError, quoted
from minivit.files import expanded
from minivit.models.families import config_class, named_fields
from minivit.trainer import Trainer, accumulation, worker_count


def parser() -> cli.Parser:
    """The options; only those that are given end up in the namespace."""
    return train_options.parser(__doc__ or "")


def choose(given: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The choices of preset or config file with the given options over them, and a name for the run."""
    given = dict(given)
    config, name = given.pop("config", None), given.pop("preset", None)
    starting = "init_from" in given
    if config and name:
        raise ConfigError("--config and --preset both choose a recipe: give one of them")
    if config:
        path = expanded(config)
        base = dataclasses.asdict(recipes.read_config(path))
        name = path.resolve().parent.name
        starting |= base["init_from"] is not None
        if not same_kind(given.get("data", base["data"]), base["data"]):
            raise ConfigError("--config is for one data set; to change it use --preset and options")
        if not {"batch_size", "workers", "backend", "model", "image_size", "patch_size"}.isdisjoint(given):
            base["accumulate"] = None  # it was chosen for another size
        if given.get("backend", base["backend"]) != base["backend"]:
            base["workers"] = None
    else:
        name = name or ("finetune" if starting else presets.preset_for(given.get("data", "digits")))
        base = dict(presets.preset(name))
        if name == "finetune" and not starting:
            raise ConfigError("preset finetune needs --init-from FILE")
    if "init_from" in given:  # with the weights comes how they were made, and of a run the data
        taken = {"model", "mean", "std", "resize", "data", "data_root"}
        base = {key: value for key, value in base.items() if key not in taken}
    if "epochs" in given:
        if "steps" in given:
            raise ConfigError("--epochs and --steps both choose how long to train: give one of them")
        base["steps"] = None  # of the config, which would win
    model = dict(base.pop("model", {}))
    if "model" in given:
        fields = named_fields(given.pop("model"))
        model.pop("stem", None)  # a named model says itself whether it has one
        model = {**model, **fields} if config_class(fields) is config_class(model) else fields
    names = {field.name for field in dataclasses.fields(config_class(model))}
    model |= {key: given.pop(key) for key in list(given) if key in names}
    return {**base, **given, "model": model}, name


def same_kind(data: str, other: str) -> bool:
    """Whether both are the same data set, or folders: of these one may be where the other has moved."""
    return data == other or (data.startswith("folder:") and other.startswith("folder:"))


def main(argv: Sequence[str] | None = None) -> int:
    given = vars(parser().parse_args(argv))
    out = given.pop("out", None)
    resume = given.pop("resume", None)
    with terminal.unheard():
        if resume is not None:
            return train(old_run(expanded(resume), given, out))
        trainer = new_run(given, out)
        try:
            return train(trainer)
        except BaseException:
            if trainer.folder and not trainer.step and runs.version(trainer.folder) is None:
                runs.remove_unused(trainer.folder)
            raise


def old_run(folder: Path, given: dict[str, Any], out: str | None) -> Trainer:
    """The run in a folder, ready to go on where it stopped, with the few options that may be given anew."""
    if out or not given.keys() <= {"bad_images", "data", "data_root"}:
        raise ConfigError(
            "--resume takes no other options but --bad-images, --data and --data-root: the run goes on as its "
            "config.json says"
        )
    recipe = runs.read_recipe(folder)
    if not same_kind(given.get("data", recipe.data), recipe.data):
        raise ConfigError(f"{folder} was trained on {recipe.data}: --data can only say where that has moved")
    recipe = dataclasses.replace(recipe, bad_images=given.get("bad_images", recipe.bad_images))
    place = folder, given.get("data"), given.get("data_root")
    splits = load_splits(dataclasses.asdict(recipe), lambda split: cli.load_data_of_run(recipe, split, *place))
    moved = {name: given[name] for name in ("data", "data_root") if name in given}
    trainer = Trainer(runs.placed(dataclasses.replace(recipe, **moved)), *splits, folder)
    trainer.warn = warn
    trainer.restore()
    return trainer


def warn(text: str) -> None:
    """Say what does not end the run."""
    terminal.say(f"warning: {text}")


def new_run(given: dict[str, Any], out: str | None) -> Trainer:
    """The run of the given options, its folder made."""
    choices, name = choose(given)
    if choices.get("init_from"):
        choices["init_from"] = str(expanded(choices["init_from"]))
    source = transfer.open_source(choices) if choices.get("init_from") else None
    choices = source.inherited(choices) if source else choices
    if "data" not in choices:
        raise ConfigError(f"preset {name} needs --data folder:PATH")
    folder = expanded(out) if out else None
    if folder and folder.exists():
        raise CheckpointError(runs.exists(folder))
    choices["backend"] = cli.resolve_backend(choices.get("backend", "numpy"))
    train_data, test_data = load_splits(choices)
    choices = transfer.scaled(choices, len(train_data)) if source else choices
    recipe = recipes.complete(choices, train_data)
    # written down, because a batch cut otherwise rounds otherwise
    recipe = dataclasses.replace(recipe, workers=worker_count(recipe), accumulate=accumulation(recipe))
    start = transfer.start(source, recipe, train_data.classes) if source else None
    trainer = Trainer(runs.placed(recipe), train_data, test_data, folder, start.model if start else None)
    if folder:
        runs.create(folder, recipe)
    else:
        trainer.folder = runs.create_numbered(Path("runs") / name, recipe)
    trainer.warn = warn
    if start:
        print(f"starting from {choices['init_from']}\n{start}")
    return trainer


def load_splits(choices: dict[str, Any], load: Callable[[str], Dataset] | None = None) -> tuple[Dataset, Dataset]:
    """Training and test data of a run."""
    where = choices["data"], choices.get("data_root")
    load = load or (lambda split: cli.load_data(*where, split, choices.get("bad_images", "refuse")))
    train_data = load("train")
    if choices.get("limit"):
        train_data = train_data.limit(choices["limit"])
    return train_data, load("test")


def train(trainer: Trainer) -> int:
    """Run with a progress bar; Ctrl-C saves."""
    recipe, folder = trainer.recipe, trainer.folder
    assert folder is not None
    model = recipe.model
    learning = trainer.model.num_parameters()
    frozen = sum(tensor.size for _, tensor in trainer.model.named_tensors()) - learning
    print(
        f"{recipe.data}: {len(trainer.train_data)} training and {len(trainer.test_data or [])} test images, "
        f"{len(trainer.train_data.classes)} classes, {'x'.join(map(str, model.image_size))}x{model.channels}\n"  # type: ignore[arg-type]
        f"{model.description}, "
        f"{learning:,} parameters{f' and {frozen:,} frozen' if frozen else ''}; {recipe.backend}, {recipe.precision}, "
        f"{recipe.workers} worker{'s' if recipe.workers != 1 else ''}\n"
        f"run folder: {folder}"
    )
    if trainer.step:
        done = trainer.step == trainer.total_steps
        print(f"complete: all {trainer.step} steps are done" if done else f"continuing after step {trainer.step}")

    begin = time.perf_counter()
    with terminal.stoppable(trainer.stop):
        show_progress(trainer)
    cli.report_skipped(trainer.train_data)
    cli.report_skipped(trainer.test_data)
    if trainer.step < trainer.total_steps:
        command = f"python -m minivit.train --resume {quoted(folder)}"
        print(f"stopped after step {trainer.step} and saved; go on with: {command}")
        return 130
    seconds = time.perf_counter() - begin
    print(f"trained in {seconds:.0f} s; {folder}: config.json, metrics.jsonl, checkpoint.npz, curves.png")
    return 0


def show_progress(trainer: Trainer) -> None:
    """Train, with a bar and a line for each evaluation."""
    with cli.progress_bar(total=trainer.total_steps, initial=trainer.step, unit="step") as bar:
        trainer.warn = lambda text: bar.write(f"warning: {text}", file=sys.stderr)
        for progress in trainer.run():
            if progress.step:  # there is a line before the first step
                bar.set_postfix_str(
                    f"loss {progress.loss:.3f}, accuracy {progress.accuracy:.1%}, "
                    f"{progress.images_per_second:.0f} images/s",
                    refresh=False,
                )
                bar.update()
            if progress.metrics:
                bar.write(summary(progress.metrics))


def summary(metrics: dict[str, Any]) -> str:
    """One evaluation as a line of text."""
    text = f"epoch {metrics['epoch']:6.2f}"
    if metrics["train_loss"] is None:
        return (
            f"{text}  test loss {metrics['test_loss']:.4f}  test accuracy {metrics['test_accuracy']:.2%}, at the start"
        )
    text += f"  training loss {metrics['train_loss']:.4f}"
    if metrics["test_accuracy"] is not None:
        text += f"  test loss {metrics['test_loss']:.4f}  test accuracy {metrics['test_accuracy']:.2%}"
    return text + f"  {metrics['images_per_second']:.0f} images/s"


if __name__ == "__main__":
    cli.run_command(main)
