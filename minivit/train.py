"""Train a Vision Transformer: `python -m minivit.train`. With no argument it learns to read handwritten digits.

Ctrl-C saves the run and says how to go on; a second Ctrl-C stops at once, with what was saved last.
"""

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from minivit import cli, presets, recipes, runs, terminal, transfer
from minivit.data import Dataset
from minivit.errors import CheckpointError, ConfigError, quoted
from minivit.files import expanded
from minivit.models import HYBRIDS, VARIANTS
from minivit.models.families import config_class, named_fields
from minivit.models.posemb import METHODS
from minivit.trainer import Trainer, accumulation, worker_count

EXAMPLES = """examples:
  python -m minivit.train                                     digits, under a minute
  python -m minivit.train --data cifar10                      photographs, about ten minutes on two cores
  python -m minivit.train --data folder:flowers --model Ti/16 --image-size 224
  python -m minivit.train --init-from ViT-B_16.npz --image-size 384 --data folder:flowers
  python -m minivit.train --config runs/digits/config.json --seed 1
  python -m minivit.train --resume runs/digits
"""


def parser() -> cli.Parser:
    """The options; only those that are given end up in the namespace."""
    p = cli.Parser("train", "[options]", description=__doc__, epilog=EXAMPLES, argument_default=argparse.SUPPRESS)
    add = p.add_argument_group("run").add_argument
    add("--preset", metavar="NAME", help=f"start from a named recipe: {', '.join(presets.PRESETS)}")
    add("--config", metavar="FILE", help="start from the config.json of an earlier run")
    add("--resume", metavar="RUN", help="continue the run in this folder exactly where it stopped")
    add("--out", metavar="DIR", help="run folder to create (default: runs/PRESET, numbered if that exists)")
    add("--seed", type=int, metavar="N", help="of initial weights, shuffling, augmentation and dropout (default: 0)")
    add("--backend", metavar="NAME", help="numpy, cupy (GPU), or auto: cupy if it works (default: numpy)")
    add("--precision", metavar="NAME", help="float32, float64, bf16 (mixed), or tf32 (GPU) (default: float32)")
    add("--kernels", metavar="NAME", help="fused, or reference: the readable ops only, slower (default: fused)")
    add("--graph", action=argparse.BooleanOptionalAction, help="on a GPU: record the step as a CUDA graph (default)")
    add("--workers", type=int, metavar="N", help="threads that share a batch (default: one per core, one with a GPU)")

    add = p.add_argument_group("fine-tuning").add_argument
    add("--init-from", metavar="FILE", help="start from published weights, or from the folder of a run")
    add("--resize-positions", metavar="HOW", help=f"{', '.join(METHODS)}, or fresh: drawn anew (default: the source's)")
    add("--keep-head", action=argparse.BooleanOptionalAction, help="the data has the same classes (default: new head)")
    add("--freeze", type=cli.part, metavar="PART", help="backbone: only the head learns; or N: not the first N blocks")

    add = p.add_argument_group("data").add_argument
    add(
        "--data",
        metavar="NAME",
        help="digits, shapes, cifar10, cifar100, or folder:PATH, with PATH/train/CLASS/*.jpg and PATH/val",
    )
    add("--data-root", metavar="DIR", help="where data sets lie (default: $MINIVIT_DATA or ~/.cache/minivit)")
    add("--limit", type=int, metavar="N", help="train on N images only, as even over the classes as can be")
    add("--bad-images", metavar="HOW", help="unreadable images in folders: refuse (stop) or skip (default: refuse)")

    add = p.add_argument_group("model").add_argument
    add(
        "--model",
        metavar="NAME",
        help=f"variant and patch size, such as Ti/4 or B/16 ({', '.join(VARIANTS)}); a hybrid ({', '.join(HYBRIDS)}); "
        "or a ResNet and its width, such as R50x1",
    )
    add("--image-size", type=cli.size, metavar="N", help="pixels, or HEIGHTxWIDTH (default: the data's)")
    add("--patch-size", type=cli.size, metavar="N", help="pixels, or HEIGHTxWIDTH")
    for name, text in (
        ("width", "of the tokens, D"),
        ("depth", "number of layers, L"),
        ("heads", "attention heads, H"),
        ("mlp-width", "hidden width of the MLP"),
        ("representation-size", "width of a tanh layer before the head"),
    ):
        add(f"--{name}", type=int, metavar="N", help=text)
    add("--classifier", metavar="NAME", help="token ([class] token) or gap (global average pooling)")
    add("--position", metavar="NAME", help="position embedding: learned, learned2d, sincos2d or none")
    add("--gelu", metavar="NAME", help="tanh or erf")
    for name in ("dropout", "attention-dropout", "drop-path"):
        add(f"--{name}", type=float, metavar="RATE", help=f"{name.replace('-', ' ')} rate while training")

    add = p.add_argument_group("optimisation").add_argument
    add("--epochs", type=float, metavar="N", help="passes over the training data")
    add("--steps", type=int, metavar="N", help="number of updates, instead of epochs")
    add("--batch-size", type=int, metavar="N", help="images per update")
    add(
        "--accumulate",
        type=int,
        metavar="N",
        help="pieces of each worker's share of a batch: more save memory (default: 2,048 tokens each)",
    )
    add(
        "--recompute",
        action=argparse.BooleanOptionalAction,
        help="compute each block's forward pass again in the backward pass instead of keeping it: less memory, slower",
    )
    add("--optimizer", metavar="NAME", help="adamw or sgd")
    add("--lr", type=float, metavar="RATE", help="highest learning rate")
    add("--schedule", metavar="NAME", help="cosine, linear or constant, after the warm-up")
    add("--warmup", type=float, metavar="SHARE", help="share of the steps over which the rate rises from 0")
    add("--weight-decay", type=float, metavar="W", help="decoupled, on kernels only")
    add("--momentum", type=float, metavar="M", help="of sgd")
    add("--beta2", type=float, metavar="B", help="of adamw")
    add("--clip-norm", type=float, metavar="NORM", help="largest global norm of the gradient (0: any)")
    add("--ema", type=float, metavar="DECAY", help="evaluate an exponential moving average of the weights")
    add("--loss", metavar="NAME", help="softmax or sigmoid cross-entropy")
    add("--label-smoothing", type=float, metavar="S", help="share of the target spread over all classes")

    add = p.add_argument_group("augmentation").add_argument
    add("--flip", action=argparse.BooleanOptionalAction, help="mirror half of the images")
    add("--crop-padding", type=int, metavar="PIXELS", help="pad and crop at random")
    add("--resized-crop", type=cli.numbers, metavar="MIN,MAX", help="random resized crop of this share of the area")
    add("--randaugment", type=cli.numbers, metavar="N,M", help="N random operations of magnitude M (of 10)")
    add("--resize", metavar="HOW", help="images of another size: squash them, or crop the edges off (default: squash)")
    add("--erasing", type=float, metavar="P", help="probability of erasing a random box")
    add("--mixup", type=float, metavar="ALPHA", help="blend pairs of images")
    add("--cutmix", type=float, metavar="ALPHA", help="paste boxes between pairs of images")
    add(
        "--mean",
        type=cli.numbers,
        metavar="M",
        help="of pixels in 0..1, for normalisation: one number or one per channel",
    )
    add("--std", type=cli.numbers, metavar="S", help="likewise")

    add = p.add_argument_group("bookkeeping (in steps)").add_argument
    add("--eval-every", type=int, metavar="N", help="evaluate on the test split (default: once an epoch)")
    add("--checkpoint-every", type=int, metavar="N", help="save a checkpoint (default: at every evaluation)")
    return p


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
