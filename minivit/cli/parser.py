"""The argument parser that all commands use, and the types of their options."""

import argparse
import difflib
import json
import math
import re
from pathlib import Path
from typing import Any, NoReturn

from minivit.errors import MAX_MESSAGE, quoted, shown
from minivit.files import expanded
from minivit.files.fields import hints, is_a
from minivit.models import ViTConfig

SETTABLE = ("classifier", "gelu", "norm_eps", "no_embed_class", "position")  # fields of ViTConfig, beside --heads etc.
_door: str | None = None  # how the commands were called, where not each by its own module


def entered_by(door: str) -> None:
    """From now on, let commands call themselves "DOOR train" instead of "python -m minivit.train"."""
    global _door
    _door = door


def called(command: str) -> str:
    """The text with which the user starts a command."""
    return f"{_door} {command}" if _door else f"python -m minivit.{command}"


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that reports errors in one line and suggests a correction for an unknown option."""

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
        """The options in a namespace. Ends the process if they are invalid."""
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
        """The option that `given` probably stands for: it has the same beginning, similar letters or a similar
        meaning."""
        options = {name[2:]: action for name, action in self._option_string_actions.items() if name.startswith("--")}
        wanted = given.lower().replace("_", "-").strip("-")
        begun = [n for n in options if n.startswith(wanted) or wanted.startswith(n)] if len(wanted) > 1 else []
        words = set(wanted.split("-"))  # which may stand in how an option's explanation begins
        told = [name for name, o in options.items() if words <= set(re.findall(r"\w+", (o.help or "").lower())[:4])]
        alike = difflib.get_close_matches(wanted, options, 1, cutoff=0.6)
        return next((f"--{name}" for name in [*begun, *told, *alike]), None)


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
    """The part to freeze: a number of blocks, or a name."""
    return int(text) if text.isdecimal() else text


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
    """Add the options for facts that a file of published weights does not contain."""
    add = p.add_argument_group("for a file of published weights").add_argument
    add("--classes", type=path, metavar="FILE", help="names of its classes, one a line (default: ImageNet's for 1,000)")
    add("--heads", type=positive, metavar="N", help="attention heads, if neither the file nor the width gives them")
    add("--image-size", type=size, metavar="N", help="pixels, or HEIGHTxWIDTH; resizes the position embedding")
    help_set = f"other settings the file lacks, such as gelu=tanh: one of {', '.join(SETTABLE)}"
    add("--set", type=field, action="append", metavar="FIELD=VALUE", help=help_set)
    add("--prefix", metavar="NAME.", help="prefix of the array names, if the file holds several models")
    add("--mean", type=numbers, metavar="M", help="of pixels in 0..1 (default: given beside the file, or 0.5)")
    add("--std", type=numbers, metavar="S", help="likewise")
    add("--resize", choices=("squash", "crop"), help="images of another size (default: crop for timm, else squash)")
