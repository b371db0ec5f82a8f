"""A training run in the terminal: a summary, a progress bar, a line per evaluation, the result."""

import math
import sys
import time
from typing import Any

from minivit import terminal
from minivit.cli.parser import called
from minivit.cli.progress import progress_bar
from minivit.cli.sources import report_skipped
from minivit.data import Dataset
from minivit.errors import MAX_MESSAGE, quoted, shown
from minivit.runs import improvement
from minivit.runs.trainer import Trainer


def train(trainer: Trainer) -> int:
    """Run with a progress bar and return the exit status; Ctrl-C saves."""
    recipe, folder = trainer.recipe, trainer.folder
    if folder is None:  # of a rank that leaves all words to rank 0
        with terminal.stoppable(trainer.stop):
            for _ in trainer.run():
                pass
        collect_skipped(trainer)
        return 0  # the status of the run is rank 0's
    announce(trainer)
    again = f"{called('train')} --resume {quoted(folder)}"
    early = f"no better for {recipe.patience} evaluation{'s' if recipe.patience != 1 else ''}"
    finished = trainer.step > 0 and trainer.complete
    if finished:
        longer = "--steps N" if recipe.steps else "--epochs N"
        done = f"all {trainer.step} steps are done; to train longer: {again} {longer}"
        if trainer.stopped_early:
            done = f"stopped after step {trainer.step}, {early}; to go on: {again} --patience N"
        print(f"complete: {done}")
    elif trainer.step:
        print(f"continuing after step {trainer.step}")
    known = {**trainer.train_data.skipped, **(trainer.test_data.skipped if trainer.test_data else {})}

    begin = time.perf_counter()
    with terminal.stoppable(trainer.stop):
        show_progress(trainer)
    collect_skipped(trainer)
    for data in (trainer.train_data, trainer.test_data):
        report_skipped(data, known)
    if not trainer.complete:
        print(f"stopped after step {trainer.step} and saved; go on with: {again}")
        return 130
    if trainer.stopped_early and not finished:
        print(f"stopped early, after step {trainer.step} of {trainer.total_steps}: {early}")
    seconds = time.perf_counter() - begin
    made = "config.json, metrics.jsonl, checkpoint.npz, best.npz, curves.png"
    made += ", samples.png" if (folder / "samples.png").exists() else ""
    print(f"trained in {seconds:.0f} s; {shown(folder, MAX_MESSAGE)}: {made}")
    praise(trainer)
    return 0


def collect_skipped(trainer: Trainer) -> None:
    """Note the images that any rank has skipped."""
    for data in (trainer.train_data, trainer.test_data):
        for skipped in trainer.ranks.gathered(data.skipped if data else {}):
            if data is not None:
                data.skipped.update(skipped)


def announce(trainer: Trainer) -> None:
    """Print the run's data and model."""
    recipe, model = trainer.recipe, trainer.recipe.model
    learning = trainer.objective.num_parameters()
    frozen = sum(tensor.size for _, tensor in trainer.objective.named_tensors()) - learning
    task = f"objective {recipe.objective['name']}" if recipe.objective else f"{len(trainer.train_data.classes)} classes"
    ranks = f" in each of {trainer.ranks.count} processes" if trainer.ranks.count > 1 else ""
    print(
        f"{shown(recipe.data, MAX_MESSAGE)}: "
        f"{readable(trainer.train_data)} training and {readable(trainer.test_data)} {split_of(trainer)} images, "
        f"{task}, {'x'.join(map(str, model.image_size))}x{model.channels}\n"
        f"{model.description}, "
        f"{learning:,} parameters{f' and {frozen:,} frozen' if frozen else ''}; {recipe.backend}, {recipe.precision}, "
        f"{recipe.workers} worker{'s' if recipe.workers != 1 else ''}{ranks}\n"
        f"run folder: {shown(trainer.folder, MAX_MESSAGE)}"
    )


def praise(trainer: Trainer) -> None:
    """Report the best evaluation, unless it is the last."""
    best = improvement.best(trainer.metrics)
    if best and not best["step"]:
        print(f"no evaluation beat the one before the first step, {measured(best)}: train longer")
    elif best and best is not trainer.metrics[-1]:
        commands = "evaluate and predict use" if trainer.recipe.model.num_classes else "evaluate uses"
        print(
            f"best evaluation: epoch {best['epoch']:.2f}, {measured(best)}; its weights are "
            f"in best.npz ({commands} them with --best)"
        )


def measured(line: dict[str, Any]) -> str:
    """The measure by which an evaluation is judged."""
    share = improvement.accuracy(line)
    return f"loss {line['test_loss']:.4f}" if share is None else f"{share:.2%}"


def split_of(trainer: Trainer) -> str:
    """The name of the split on which a run is evaluated."""
    return (trainer.test_data and trainer.test_data.split) or "test"


def readable(data: Dataset | None) -> int:
    """The number of images, without those known to be unreadable."""
    return len(data) - len(data.skipped) if data is not None else 0


def show_progress(trainer: Trainer) -> None:
    """Train with a progress bar and a line per evaluation. Without a terminal, the line includes the time left."""
    begin, first = time.perf_counter(), trainer.step
    with progress_bar(total=trainer.total_steps, initial=trainer.step, unit="step") as bar:
        trainer.warn = lambda text: bar.write(f"warning: {text}", file=sys.stderr)
        for progress in trainer.run():
            if progress.step:  # there is a line before the first step
                accuracy = "" if math.isnan(progress.accuracy) else f"accuracy {progress.accuracy:.1%}, "
                bar.set_postfix_str(
                    f"loss {progress.loss:.3f}, {accuracy}{progress.images_per_second:.0f} images/s", refresh=False
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
    """One evaluation as a line of text.   split: name of the evaluation split."""
    text = f"epoch {metrics['epoch']:6.2f}"
    if metrics["train_loss"] is not None:
        text += f"  training loss {metrics['train_loss']:.4f}"
    tested = {
        name.removeprefix("test_"): x for name, x in metrics.items() if name.startswith("test_") and x is not None
    }
    text += "".join(f"  {split} {name} {in_figures(name, value)}" for name, value in tested.items())
    return text + (
        ", at the start" if metrics["train_loss"] is None else f"  {metrics['images_per_second']:.0f} images/s"
    )


def in_figures(name: str, value: float) -> str:
    """A measure for display: shares in percent."""
    return f"{value:.2%}" if name in ("accuracy", "retrieval", "repeated", "knn") else f"{value:.4f}"
