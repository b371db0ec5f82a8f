"""Train a Vision Transformer: `python -m minivit.train`. With no argument it learns to read handwritten digits.

Ctrl-C saves the run and says how to go on; a second Ctrl-C stops at once, with what was saved last.
"""

import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from minivit import cli, terminal
from minivit.cli import look, train_options
from minivit.data import Dataset
from minivit.errors import MAX_MESSAGE, CheckpointError, ConfigError, quoted, shown
from minivit.files import expanded
from minivit.models.families import config_class, named_fields
from minivit.runs import folder as run_folder
from minivit.runs import improvement, presets, recipes, transfer
from minivit.runs.numerics import accumulation, worker_count
from minivit.runs.trainer import Trainer

FEW_IMAGES = 5000  # of a folder, with which a model that starts from nothing learns little


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
        base = recipes.to_mapping(recipes.read_config(path))
        name = path.resolve().parent.name or "config"  # of a file in the root folder
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
        taken = {"model", "mean", "std", "resize", *transfer.DATA}
        base = {key: value for key, value in base.items() if key not in taken}
    base |= length(given)
    model = dict(base.pop("model", {}))
    if "model" in given:
        fields = named_fields(given.pop("model"))
        model.pop("stem", None)  # a named model says itself whether it has one
        model = {**model, **fields} if config_class(fields) is config_class(model) else fields
    names = {field.name for field in dataclasses.fields(config_class(model))}
    model |= {key: given.pop(key) for key in list(given) if key in names}
    return {**base, **given, "model": model}, name


def length(given: dict[str, Any]) -> dict[str, Any]:
    """How long to train, as fields of a Recipe: those of the options, and no steps beside epochs."""
    if {"epochs", "steps"} <= given.keys():
        raise ConfigError("--epochs and --steps both choose how long to train: give one of them")
    chosen: dict[str, Any] = {name: given[name] for name in ("epochs", "steps", "patience") if name in given}
    return {"steps": None, **chosen} if "epochs" in given else chosen  # those of a config would win


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
            if trainer.folder and not trainer.step and run_folder.version(trainer.folder) is None:
                run_folder.remove_unused(trainer.folder)
            raise


def old_run(folder: Path, given: dict[str, Any], out: str | None) -> Trainer:
    """The run in a folder, ready to go on where it stopped, with the few options that may be given anew."""
    if out or not given.keys() <= {"bad_images", "data", "data_root", "epochs", "steps", "patience"}:
        raise ConfigError(
            "--resume takes no other options but --bad-images, --data and --data-root, and to train longer --epochs, "
            "--steps and --patience: the run goes on as its config.json says"
        )
    before = run_folder.read_recipe(folder)
    recipe = dataclasses.replace(before, **length(given))
    if not same_kind(given.get("data", recipe.data), recipe.data):
        of_a_folder = recipe.data.startswith("folder:") and Path(given["data"]).is_dir()
        hint = f", as folder:{given['data']}" if of_a_folder else ""
        raise ConfigError(f"{folder} was trained on {recipe.data}: --data can only say where that has moved{hint}")
    recipe = dataclasses.replace(recipe, bad_images=given.get("bad_images", recipe.bad_images))
    place = folder, given.get("data"), given.get("data_root")
    splits = load_splits(recipes.to_mapping(recipe), lambda split: cli.load_data_of_run(recipe, split, *place))
    moved = {name: given[name] for name in ("data", "data_root") if name in given}
    trainer = Trainer(run_folder.placed(dataclasses.replace(recipe, **moved)), *splits, folder)
    trainer.warn = warn
    trainer.restore()
    if (recipe.epochs, recipe.steps) != (before.epochs, before.steps):
        print(f"{trainer.total_steps} steps in all: from here on the learning rate follows the schedule of so many")
    return trainer


def warn(text: str) -> None:
    """Say what does not end the run."""
    terminal.say(f"warning: {text}")


def new_run(given: dict[str, Any], out: str | None) -> Trainer:
    """The run of the given options, its folder made."""
    choices, name = choose(given)
    if choices.get("init_from"):
        choices["init_from"] = str(cli.find_weights(choices["init_from"]))
    source = transfer.open_source(choices) if choices.get("init_from") else None
    choices = source.inherited(choices) if source else choices
    if "data" not in choices:
        raise ConfigError(f"preset {name} needs --data folder:PATH")
    if "data" not in given and "config" in given:
        cli.check_place(choices["data"], expanded(given["config"]).parent)
    elif "data" not in given and source:
        cli.check_place(choices["data"], Path(source.path))
    folder = expanded(out) if out else None
    if folder and folder.exists():
        raise CheckpointError(run_folder.exists(folder))
    choices["backend"] = cli.resolve_backend(choices.get("backend", "numpy"))
    if choices.get("val_share") is not None and choices.get("val_seed") is None:
        choices["val_seed"] = choices.get("seed", 0)
    train_data, test_data = load_splits(choices)
    choices = transfer.scaled(choices, len(train_data)) if source else choices
    recipe = recipes.complete(choices, train_data)
    # written down, because a batch cut otherwise rounds otherwise
    recipe = dataclasses.replace(recipe, workers=worker_count(recipe), accumulate=accumulation(recipe))
    start = transfer.start(source, recipe, train_data.classes) if source else None
    trainer = Trainer(run_folder.placed(recipe), train_data, test_data, folder, start.model if start else None)
    if folder:
        run_folder.create(folder, recipe)
    else:
        trainer.folder = run_folder.create_numbered(Path("runs") / name, recipe)
    trainer.warn = warn
    if start:
        print(f"starting from {choices['init_from']}\n{start}")
    elif advice := from_scratch(recipe, len(train_data)):
        print(advice)
    return trainer


def load_splits(choices: dict[str, Any], load: Callable[[str], Dataset] | None = None) -> tuple[Dataset, Dataset]:
    """Training and test data of a run, their image files looked at. Raises DataError, also for unreadable files unless
    they are to be skipped."""
    where = choices["data"], choices.get("data_root")
    held_out = choices.get("val_share"), choices.get("val_seed") or 0
    load = load or (lambda split: cli.load_data(*where, split, choices.get("bad_images", "refuse"), *held_out))
    train_data = load("train")
    if choices.get("limit"):
        train_data = train_data.limit(choices["limit"])
    test_data = load("test")
    cli.report_left_out(train_data)
    if choices.get("val_share") is None or test_data.left_out != train_data.left_out:  # else it is the same files
        cli.report_left_out(test_data)
    look.at_files(train_data, test_data)
    return train_data, test_data


def from_scratch(recipe: recipes.Recipe, images: int) -> str | None:
    """Advice for a model that has nothing to start from and a few images of a folder to learn from."""
    if not recipe.data.startswith("folder:") or images >= FEW_IMAGES:
        return None
    more = f" --val-share {recipe.val_share}" if recipe.val_share else ""
    more += " --bad-images skip" if recipe.bad_images == "skip" else ""
    return (
        f"note: {images:,} images are few to learn from scratch; published weights, fine-tuned, learn far more from "
        f"them: {cli.called('train')} --init-from Ti/16 --data {quoted(recipe.data)}{more} (docs/transfer.md)"
    )


def train(trainer: Trainer) -> int:
    """Run with a progress bar; Ctrl-C saves."""
    recipe, folder = trainer.recipe, trainer.folder
    assert folder is not None
    model = recipe.model
    learning = trainer.model.num_parameters()
    frozen = sum(tensor.size for _, tensor in trainer.model.named_tensors()) - learning
    print(
        f"{shown(recipe.data, MAX_MESSAGE)}: "
        f"{readable(trainer.train_data)} training and {readable(trainer.test_data)} {split_of(trainer)} images, "
        f"{len(trainer.train_data.classes)} classes, {'x'.join(map(str, model.image_size))}x{model.channels}\n"
        f"{model.description}, "
        f"{learning:,} parameters{f' and {frozen:,} frozen' if frozen else ''}; {recipe.backend}, {recipe.precision}, "
        f"{recipe.workers} worker{'s' if recipe.workers != 1 else ''}\n"
        f"run folder: {shown(folder, MAX_MESSAGE)}"
    )
    again = f"{cli.called('train')} --resume {quoted(folder)}"
    early = f"no better for {recipe.patience} evaluation{'s' if recipe.patience != 1 else ''}"
    finished = trainer.step > 0 and trainer.complete
    if finished:
        done = f"all {trainer.step} steps are done; to train longer: {again} --epochs N"
        if trainer.stopped_early:
            done = f"stopped after step {trainer.step}, {early}; to go on: {again} --patience N"
        print(f"complete: {done}")
    elif trainer.step:
        print(f"continuing after step {trainer.step}")
    known = {**trainer.train_data.skipped, **(trainer.test_data.skipped if trainer.test_data else {})}

    begin = time.perf_counter()
    with terminal.stoppable(trainer.stop):
        show_progress(trainer)
    for data in (trainer.train_data, trainer.test_data):
        cli.report_skipped(data, known)
    if not trainer.complete:
        print(f"stopped after step {trainer.step} and saved; go on with: {again}")
        return 130
    if trainer.stopped_early and not finished:
        print(f"stopped early, after step {trainer.step} of {trainer.total_steps}: {early}")
    seconds = time.perf_counter() - begin
    made = "config.json, metrics.jsonl, checkpoint.npz, best.npz, curves.png"
    print(f"trained in {seconds:.0f} s; {shown(folder, MAX_MESSAGE)}: {made}")
    best = improvement.best(trainer.metrics)
    if best and not best["step"]:
        print(f"no evaluation was better than that before the first step, {best['test_accuracy']:.2%}: train longer")
    elif best and best is not trainer.metrics[-1]:
        print(
            f"the best evaluation was that of epoch {best['epoch']:.2f}, {best['test_accuracy']:.2%}: its weights are "
            "in best.npz, which evaluate and predict take with --best"
        )
    return 0


def split_of(trainer: Trainer) -> str:
    """What the images are called on which a run is evaluated."""
    return (trainer.test_data and trainer.test_data.split) or "test"


def readable(data: Dataset | None) -> int:
    """How many images there are, without those that are known to be unreadable."""
    return len(data) - len(data.skipped) if data is not None else 0


def show_progress(trainer: Trainer) -> None:
    """Train, with a bar and a line for each evaluation, which without a terminal for the bar says the time left."""
    begin, first = time.perf_counter(), trainer.step
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
                line = summary(progress.metrics, split_of(trainer))
                left = trainer.total_steps - progress.step
                if bar.disable and left and progress.step > first:
                    seconds = (time.perf_counter() - begin) / (progress.step - first) * left
                    line += f"  {duration(seconds)} left"
                bar.write(line)


def duration(seconds: float) -> str:
    """A time in words: 48 s, 12 min, 3 h 5 min."""
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def summary(metrics: dict[str, Any], split: str = "test") -> str:
    """One evaluation as a line of text.   split: what the other images are called."""
    text = f"epoch {metrics['epoch']:6.2f}"
    if metrics["train_loss"] is None:
        return (
            f"{text}  {split} loss {metrics['test_loss']:.4f}  {split} accuracy {metrics['test_accuracy']:.2%}, "
            "at the start"
        )
    text += f"  training loss {metrics['train_loss']:.4f}"
    if metrics["test_accuracy"] is not None:
        text += f"  {split} loss {metrics['test_loss']:.4f}  {split} accuracy {metrics['test_accuracy']:.2%}"
    return text + f"  {metrics['images_per_second']:.0f} images/s"


if __name__ == "__main__":
    cli.run_command(main)
