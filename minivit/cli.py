"""What the commands share: one-line errors, one parser style, finding a trained run."""

import argparse
import contextlib
import difflib
import json
import math
import os
import re
import sys
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from minivit import runs, terminal
from minivit.backend import blas, get_namespace
from minivit.backend.arrays import first_line, is_of_gpu
from minivit.backend.cores import available_cores
from minivit.backend.cupy_kernels.memory import is_full
from minivit.data import Dataset, load
from minivit.data.dataset import in_words
from minivit.data.download import Progress
from minivit.data.folder import is_divided
from minivit.data.imagenet import some
from minivit.errors import MAX_MESSAGE, BackendError, ConfigError, DataError, MinivitError, quoted, shown
from minivit.fields import hints, is_a
from minivit.files import expanded
from minivit.models import ResNet, ViT, ViTConfig
from minivit.models.whereabouts import weights_file
from minivit.published import blank, load_published
from minivit.recipes import Recipe

_door: str | None = None  # how the commands were called, where not each by its own module


def entered_by(door: str) -> None:
    """From now on commands call themselves "DOOR train" instead of "python -m minivit.train"."""
    global _door
    _door = door


def called(command: str) -> str:
    """How the user calls a command."""
    return f"{_door} {command}" if _door else f"python -m minivit.{command}"


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, with a guess at what was meant by an unknown option."""

    def __init__(self, command: str, usage: str | None = None, **kwargs: Any):
        for name in kwargs.keys() & {"description", "epilog"}:
            kwargs[name] = re.sub(r"python -m minivit\.(\w+)", lambda match: called(match[1]), kwargs[name] or "")
        super().__init__(
            prog=called(command),
            usage=usage and f"%(prog)s {usage}",
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **kwargs,
        )

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {shown(message, MAX_MESSAGE)} (--help lists the options)\n")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """The options in a namespace. Ends the process for those that do not fit."""
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            given = next((text for text in unknown if text.startswith("-")), unknown[0]).partition("=")[0]
            if given.startswith("-"):
                option = self._meant(given)
            else:  # a name alone, where only options are known, is most likely that of a data set
                named = (
                    all(action.option_strings for action in self._actions) and "--data" in self._option_string_actions
                )
                option = f"--data {quoted(given)}" if named else None
            self.error(f"unrecognized arguments: {' '.join(unknown)}{f'; did you mean {option}?' if option else ''}")
        changed = [name for name, value in vars(parsed).items() if value != self.get_default(name)]
        if empty := [name for name in changed if getattr(parsed, name) == ""]:  # of a variable that is not set
            self.error(f"--{empty[0].replace('_', '-')} is empty: leave it out, or give it a value")
        return parsed

    def _meant(self, given: str) -> str | None:
        """The option that somebody who wrote `given` may have meant: by its beginning, its letters, or its meaning."""
        options = {name[2:]: action for name, action in self._option_string_actions.items() if name.startswith("--")}
        wanted = given.lower().replace("_", "-").strip("-")
        begun = [n for n in options if n.startswith(wanted) or wanted.startswith(n)] if len(wanted) > 1 else []
        words = set(wanted.split("-"))  # which may stand in how an option's explanation begins
        told = [name for name, o in options.items() if words <= set(re.findall(r"\w+", (o.help or "").lower())[:4])]
        alike = difflib.get_close_matches(wanted, options, 1, cutoff=0.6)
        return next((f"--{name}" for name in [*begun, *told, *alike]), None)


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
        return _fail(OUT_OF_MEMORY, 2)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:  # the reader of our output has gone, as in `... | head`
        sys.stdout = terminal.silenced(sys.stdout)
        return 1
    except UnicodeEncodeError as error:  # of a name, by a system that writes names in ASCII for instance
        return _fail(f"{error.object!r} cannot be written in {error.encoding}: set PYTHONUTF8=1", 2)
    except OSError as error:  # a folder that may not be entered, a disk that fails
        return _fail(f"{error.filename or 'reading or writing'}: {error.strerror or error}", 2)
    except Exception as error:
        if not is_of_gpu(error):
            raise
        told = f"the GPU failed ({first_line(error)}): `python -m minivit.doctor` tells more; or use --backend numpy"
        return _fail(OUT_OF_MEMORY if is_full(error) else told, 2)


OUT_OF_MEMORY = "out of memory: try a smaller --image-size or --batch-size, or a larger --accumulate"


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


@contextlib.contextmanager
def download_bar(name: str) -> Iterator[Progress]:
    """A function to be told how much has arrived, which shows a bar once there is something to show."""
    bar: Any = None

    def progress(done: int, total: int | None) -> None:
        nonlocal bar
        if bar is None:
            bar = progress_bar(desc=f"downloading {name}", total=total, unit="B", unit_scale=True)
        bar.update(done - bar.n)

    try:
        yield progress
    finally:
        if bar is not None:
            bar.close()


def load_data(
    name: str,
    root: str | None,
    split: str,
    bad_images: str = "refuse",
    val_share: float | None = None,
    seed: int = 0,
) -> Dataset:
    """A data set by name, downloaded with a progress bar if it has to be."""
    options: dict[str, Any] = {"bad_images": bad_images, "val_share": val_share, "seed": seed}
    with download_bar(name) as progress:
        return load(runs.located(name), root, split, **options, download=True, progress=progress)


def find_weights(named: str | Path) -> Path:
    """The run folder or file of weights of that name; published ones are downloaded if need be, which is said."""
    with download_bar(str(named)) as progress:
        return weights_file(named, progress, terminal.say)


def report_left_out(dataset: Dataset) -> None:
    """Say in one line what lies among the images and was not taken for one."""
    if dataset.left_out:
        terminal.say(f"{dataset.name}: left out {in_words(dataset.left_out)}")


def check_place(data: str, run: Path) -> None:
    """Raise DataError if the data set of a run is a folder that is no longer there."""
    name = runs.located(data)
    kind, _, path = name.partition(":")
    if kind == "folder" and not Path(path).is_dir():
        relative = "" if name == data else f" ({data}, seen from the working folder)"
        raise DataError(
            f"{path}{relative}: there is no such folder, and {run} was trained on it; if the data has moved, say where "
            "it is now: --data folder:PATH"
        )


def load_data_of_run(
    recipe: Recipe, split: str, run: Path, data: str | None = None, root: str | None = None
) -> Dataset:
    """The data set of a run, or another in its place: `data`, in the data folder `root`. Raises DataError."""
    if data is None:
        check_place(recipe.data, run)
    name = runs.located(data or recipe.data)
    kind, _, path = name.partition(":")
    own = kind != "folder" or is_divided(Path(path))  # whether the data itself says what is for testing
    share = None if own and data is not None else recipe.val_share
    return load_data(name, root or recipe.data_root, split, recipe.bad_images, share, recipe.val_seed or 0)


def report_skipped(dataset: Dataset | None, known: Container[str] = ()) -> None:
    """Name the images that could not be read and were left out, but for those that are known."""
    for path, reason in (dataset.skipped if dataset else {}).items():
        if path not in known:
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
    if not text:
        raise argparse.ArgumentTypeError("the name of a file or folder is empty")
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
    kind = hints(ViTConfig)[name]
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

    args.run is changed: a folder with one file of weights becomes that file, a file of a run becomes the run's folder.
    args.best: the weights of the run's best evaluation.   headless: also a file without a classification head.
    """
    args.run = find_weights(args.run)
    run = runs.run_of(args.run)
    options = ("classes", "heads", "image_size", "set", "mean", "std", "resize", "prefix")
    given = {name: getattr(args, name) for name in options if getattr(args, name) is not None}
    if run or not args.run.is_file():
        if given and os.path.lexists(args.run):
            raise ConfigError(f"--{next(iter(given)).replace('_', '-')} is for a file of published weights")
        trained = runs.load_trained((run or args.run) / runs.BEST if getattr(args, "best", False) else args.run)
        args.run = run or args.run
        say_if_blank(trained[0], headless)
        return trained
    if getattr(args, "best", False):
        raise ConfigError(f"--best is for the folder of a run, and {args.run} is a file of published weights")
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
            f"{data.name} has {len(data.classes)} classes ({some(data.classes)}), "
            f"the model was trained on {len(classes)} ({some(classes)})"
        )
