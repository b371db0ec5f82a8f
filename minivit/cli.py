"""What the commands share: one-line errors, one parser style, finding a trained run."""

import argparse
import json
import math
import os
import sys
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from minivit import runs, terminal
from minivit.backend import blas, get_namespace
from minivit.backend.cores import available_cores
from minivit.data import Dataset, load
from minivit.data.dataset import in_words
from minivit.errors import MAX_MESSAGE, BackendError, ConfigError, DataError, MinivitError, shown
from minivit.files import expanded
from minivit.models import ResNet, ViT, ViTConfig
from minivit.models.whereabouts import weights_file
from minivit.published import blank, load_published
from minivit.recipes import Recipe, is_a


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line."""

    def __init__(self, command: str, usage: str | None = None, **kwargs: Any):
        super().__init__(
            prog=f"python -m minivit.{command}",
            usage=usage and f"%(prog)s {usage}",
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **kwargs,
        )

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {shown(message, MAX_MESSAGE)} (--help lists the options)\n")


def run_command(main: Callable[[Sequence[str] | None], int | None]) -> NoReturn:
    """Run a command's main; an expected error becomes one line on standard error and exit status 2."""
    terminal.open_streams()
    terminal.leave(_status(main))


def _status(main: Callable[[Sequence[str] | None], int | None]) -> Any:
    """The exit status of a command; what it has to say about an error is said."""
    try:
        blas.hold_to(available_cores())  # the library itself knows nothing of quotas
        return main(None)
    except SystemExit as error:  # of argparse
        return error.code
    except MinivitError as error:
        return _fail(str(error), 2)
    except MemoryError:
        return _fail("out of memory: try a smaller --image-size or --batch-size, or a larger --accumulate", 2)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:  # the reader of our output has gone, as in `... | head`
        sys.stdout = terminal.silenced(sys.stdout)
        return 1
    except UnicodeEncodeError as error:  # of a name, by a system that writes names in ASCII for instance
        return _fail(f"{error.object!r} cannot be written in {error.encoding}: set PYTHONUTF8=1", 2)
    except OSError as error:  # a folder that may not be entered, a disk that fails
        return _fail(f"{error.filename or 'reading or writing'}: {error.strerror or error}", 2)


def _fail(message: str, status: int) -> int:
    terminal.say(f"error: {shown(message, MAX_MESSAGE)}")
    return status


def progress_bar(**options: Any) -> Any:
    """A bar of tqdm's on standard error, if that is a terminal."""
    return load_tqdm().tqdm(**options, disable=None)


def load_tqdm() -> Any:
    """tqdm, imported whatever the environment asks of it."""
    try:
        import tqdm
    except ValueError:  # a variable TQDM_... with a value that it cannot use
        for name in [name for name in os.environ if name.startswith("TQDM_")]:
            del os.environ[name]
        import tqdm
    return tqdm


def load_data(name: str, root: str | None, split: str, bad_images: str = "refuse") -> Dataset:
    """A data set by name, downloaded with a progress bar if it has to be."""
    bar: Any = None

    def progress(done: int, total: int | None) -> None:
        nonlocal bar
        if bar is None:
            bar = progress_bar(desc=f"downloading {name}", total=total, unit="B", unit_scale=True)
        bar.update(done - bar.n)

    try:
        dataset = load(runs.located(name), root, split, bad_images=bad_images, download=True, progress=progress)
    finally:
        if bar is not None:
            bar.close()
    report_left_out(dataset)
    return dataset


def report_left_out(dataset: Dataset) -> None:
    """Say in one line what lies among the images and was not taken for one."""
    if dataset.left_out:
        terminal.say(f"{dataset.name}: left out {in_words(dataset.left_out)}")


def load_data_of_run(
    recipe: Recipe, split: str, run: Path, data: str | None = None, root: str | None = None
) -> Dataset:
    """The data set of a run, or another in its place: `data`, in the data folder `root`. Raises DataError."""
    name = runs.located(data or recipe.data)
    kind, _, path = name.partition(":")
    if data is None and kind == "folder" and not Path(path).is_dir():
        relative = "" if name == recipe.data else f" ({recipe.data}, seen from the working folder)"
        raise DataError(
            f"{path}{relative}: there is no such folder, and {run} was trained on it; if the data has moved, say where "
            "it is now: --data folder:PATH"
        )
    return load_data(name, root or recipe.data_root, split, recipe.bad_images)


def report_skipped(dataset: Dataset | None) -> None:
    """Name the images that could not be read and were left out."""
    for path, reason in (dataset.skipped if dataset else {}).items():
        terminal.say(f"skipped {path}: {reason}")


def resolve_backend(name: str) -> str:
    """The backend called `name`; "auto" is decided here, and said. Raises BackendError if it cannot be used."""
    if name != "auto":
        return get_namespace(name).__name__
    try:
        found, reason = get_namespace("cupy").__name__, ""
    except BackendError as error:
        found, reason = "numpy", f" ({error})"
    print(f"backend auto: using {found}{reason}")
    return found


def path(text: str) -> Path:
    """A file or folder, with ~ for the home folder, for argparse."""
    return expanded(text)


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'"{text}", expected a whole number of at least 1')
    return int(text)


def size(text: str) -> int | tuple[int, ...]:
    """Pixels, "32", or height and width, "24x32"."""
    return tuple(int(part) for part in text.split("x")) if "x" in text else int(text)


def numbers(text: str) -> float | tuple[float, ...]:
    """One number, "0.5", or several, "2,10" or "0.05,1.0"."""
    values = tuple(float(part) if "." in part else int(part) for part in text.split(","))
    if not all(abs(value) < math.inf for value in values):
        raise argparse.ArgumentTypeError(f'"{text}", expected finite numbers')
    return values if "," in text else values[0]


def part(text: str) -> int | str:
    """What to freeze: a number of blocks, or a name."""
    return int(text) if text.isdecimal() else text


SETTABLE = ("classifier", "gelu", "norm_eps", "no_embed_class", "position")  # fields of ViTConfig, beside --heads etc.


def field(text: str) -> tuple[str, Any]:
    """ "gelu=tanh" as a field of ViTConfig and its value, for argparse."""
    name, _, written = text.partition("=")
    if name not in SETTABLE:
        raise argparse.ArgumentTypeError(f'"{text}", expected FIELD=VALUE, the field one of {", ".join(SETTABLE)}')
    kind = typing.get_type_hints(ViTConfig)[name]
    value = written if kind is str else json.loads(written.lower())  # a ValueError is what argparse expects
    if not is_a(value, kind):
        raise argparse.ArgumentTypeError(f'"{text}", {name} is of type {kind.__name__}')
    return name, value


def add_file_options(p: argparse.ArgumentParser) -> None:
    """The options for what a file of published weights does not tell."""
    add = p.add_argument_group("for a file of published weights").add_argument
    add("--classes", type=path, metavar="FILE", help="names of its classes, one a line (default: ImageNet's for 1,000)")
    add("--heads", type=positive, metavar="N", help="attention heads, where neither file nor width tell them")
    add("--image-size", type=size, metavar="N", help="pixels, or HEIGHTxWIDTH: positions are resized to it")
    help_set = f"what else it does not tell, such as gelu=tanh: one of {', '.join(SETTABLE)}"
    add("--set", type=field, action="append", metavar="FIELD=VALUE", help=help_set)
    add("--prefix", metavar="NAME.", help="what its arrays' names begin with, where the file holds more than one model")
    add("--mean", type=numbers, metavar="M", help="of pixels in 0..1 (default: as told beside the file, or 0.5)")
    add("--std", type=numbers, metavar="S", help="likewise")
    add("--resize", choices=("squash", "crop"), help="images of another size (default: crop for timm, else squash)")


def load_model(args: argparse.Namespace, headless: bool = False) -> tuple[ViT | ResNet, Recipe, list[str] | None]:
    """The model of a run folder or of a file of published weights, a recipe, and its class names if they are known.

    args.run becomes the file, where it is a folder with one file of weights.   headless: also a file without a
    classification head.
    """
    args.run = weights_file(args.run)
    options = ("classes", "heads", "image_size", "set", "mean", "std", "resize", "prefix")
    given = {name: getattr(args, name) for name in options if getattr(args, name) is not None}
    if not args.run.is_file():
        if given:
            raise ConfigError(f"--{next(iter(given)).replace('_', '-')} is for a file of published weights")
        trained = runs.load_trained(args.run)
        say_if_blank(trained[0], headless)
        return trained
    changes = {name: given[name] for name in ("heads", "image_size", "prefix") if name in given}
    changes |= dict(given.get("set", []))
    preparation: dict[str, Any] = {name: given[name] for name in ("mean", "std", "resize") if name in given}
    model, recipe, classes, summary = load_published(args.run, given.get("classes"), preparation, headless, **changes)
    print(summary)
    say_if_blank(model, headless)
    return model, recipe, classes


def say_if_blank(model: ViT | ResNet, headless: bool) -> None:
    """Print that the answers of a model mean nothing, if so; not if it need not answer (`headless`)."""
    if not headless and (line := blank(model)):
        print(line)


def check_classes(data: Dataset, classes: list[str]) -> None:
    """Raise DataError unless the data set has the classes that the model was trained on."""
    if data.classes != classes:
        raise DataError(
            f"{data.name} has {len(data.classes)} classes ({', '.join(data.classes[:3])}, ...), "
            f"the model was trained on {len(classes)} ({', '.join(classes[:3])}, ...)"
        )
