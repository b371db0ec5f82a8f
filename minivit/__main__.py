"""The front door: `minivit COMMAND`, or `python -m minivit COMMAND`."""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

import minivit
from minivit import terminal
from minivit.errors import meant, shown

# name: the module and function that it runs, and what it is for
COMMANDS = {
    "train": ("train:main", "train on images; without options, on handwritten digits"),
    "evaluate": ("evaluate:main", "accuracy and loss of a run or of published weights"),
    "predict": ("predict:main", "the most likely classes of images"),
    "visualize": ("visualize.__main__:main", "pictures of what a model has learned"),
    "models": ("listing:models", "models by name, their parameters and operations"),
    "lineage": ("lineage.__main__:main", "systems built on the ViT, checked against recorded outputs"),
    "datasets": ("listing:datasets", "data sets by name, and which are on this machine"),
    "course": ("course.__main__:main", "course assignments: hand out, grade, test the grader"),
    "doctor": ("doctor:main", "check this machine and say what is missing"),
    "bench": ("bench.__main__:main", "speed and memory, compared with other libraries"),
}


def usage(door: str) -> str:
    """The list of commands."""
    lines = [f"  {name:<11} {purpose}" for name, (_, purpose) in COMMANDS.items()]
    return "\n".join(
        [
            f"usage: {door} COMMAND [options]",
            "",
            "The Vision Transformer in pure NumPy, with every derivative written by hand.",
            "",
            "commands:",
            *lines,
            "",
            f"{door} COMMAND --help lists the options of a command, {door} --version prints the version.",
            f"To begin: {door} train",
        ]
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command named first in `argv` (None: the process's own arguments), and end the process."""
    given = list(sys.argv[1:] if argv is None else argv)
    door = "minivit" if Path(sys.argv[0]).stem == "minivit" else "python -m minivit"
    first, rest = (given[0], given[1:]) if given else ("help", [])
    if first == "help" and rest:
        first, rest = rest[0], ["--help"]
    if first in COMMANDS:
        place, _, function = COMMANDS[first][0].partition(":")
        from minivit import cli

        cli.entered_by(door)
        command = getattr(importlib.import_module(f"minivit.{place}"), function)
        cli.run_command(lambda _: command(rest), shared=first == "train")
    terminal.open_streams()
    if first in ("help", "--help", "-h"):
        print(usage(door))
        terminal.leave(0)
    if first in ("--version", "-V", "version"):
        print(f"minivit {minivit.__version__}")
        terminal.leave(0)
    terminal.say(f"{door}: error: {shown(complaint(first, rest, door), 300)}")
    terminal.leave(2)


def complaint(first: str, rest: Sequence[str], door: str) -> str:
    """The error message for arguments that do not begin with a command, with the correct form."""
    if first.startswith("-"):
        command = next((word for word in rest if word in COMMANDS), "COMMAND")
        return f"options come after the command: {door} {command} {shown(first)} ..."
    hint = meant(first.lower().removesuffix(".py"), COMMANDS, 0.4) or f"; choose from {', '.join(COMMANDS)}"
    return f'there is no command "{shown(first)}"{hint} ({door} --help lists the commands)'


if __name__ == "__main__":
    main()
