"""The directive `.. command-help:: minivit.train`: the command's usage and options, from its parser.

Every option becomes a description with an address and an entry of the index. A command without such a parser is shown
as its --help.
"""

import argparse
import contextlib
import importlib
import importlib.util
import io
import os
import re
import subprocess
import sys
from unittest import mock

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from markup import prose
from sphinx.application import Sphinx

REMARK = re.compile(r" {2,}(?=\S)")


class CommandHelp(Directive):
    """Its argument is the module of the command, or of one with the first word after it: "minivit models"."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """The options, or the text of `python -m MODULE --help`."""
        (command,) = self.arguments
        try:
            found = parser_of(command)
            text = help_of(command) if found is None else ""
        except (ImportError, subprocess.CalledProcessError) as failure:
            reason = getattr(failure, "stderr", None) or str(failure)
            raise self.error(f"{command} --help: {reason.strip()}") from failure
        if found is None:
            return [nodes.literal_block(text, text, language="text")]
        node = nodes.Element()
        self.state.nested_parse(StringList(options(found, command), source=command), self.content_offset, node)
        return node.children


class Caught(BaseException):
    """Raised in place of parsing, with the parser."""


def parser_of(command: str) -> argparse.ArgumentParser | None:
    """The parser of the command's `main`, None if it has none. Raises ImportError if there is no such module."""
    module, *words = command.split()
    if importlib.util.find_spec(module) is None:
        raise ImportError(f"there is no module {module}")
    package = importlib.import_module(module)
    door = importlib.import_module(f"{module}.__main__") if hasattr(package, "__path__") else package

    def catch(parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        raise Caught(parser)

    silence = contextlib.redirect_stdout(io.StringIO())  # the list of commands, which has no parser
    with silence, mock.patch.object(argparse.ArgumentParser, "parse_known_args", catch):
        try:
            door.main([*words, "--help"])
        except Caught as caught:
            return caught.args[0]
        except (AttributeError, SystemExit):
            return None
    return None


def options(parser: argparse.ArgumentParser, command: str) -> list[str]:
    """A parser as lines of reStructuredText."""
    lines = [f".. program:: {command}", ""]
    lines += [*code([f"python -m {command} {arguments(parser)}"]), *paragraphs(parser.description)]
    for group in parser._action_groups:
        shown = [
            action for action in group._group_actions if action.help != argparse.SUPPRESS and action.dest != "help"
        ]
        if shown and group.title:
            title = {"positional arguments": "arguments"}.get(group.title, group.title)
            lines += [f".. rubric:: {title[:1].upper()}{title[1:]}", ""]
        for action in shown:
            lines += [f".. option:: {', '.join(spellings(action))}", "", f"   {prose(explained(action, parser))}", ""]
    return lines + paragraphs(parser.epilog)


def arguments(parser: argparse.ArgumentParser) -> str:
    """What follows the command in its usage."""
    forms = {"+": "{} ...", "*": "[{} ...]", "?": "[{}]"}
    positional = [action for action in parser._actions if not action.option_strings]
    given = [forms.get(str(action.nargs), "{}").format(spellings(action)[0]) for action in positional]
    return " ".join(["[options]", *given])


def spellings(action: argparse.Action) -> list[str]:
    """How an option is written, with what follows it: ["--lr RATE"]."""
    value = action.metavar or ("|".join(map(str, action.choices)) if action.choices else None)
    if not action.option_strings:
        return [str(value or action.dest)]
    if action.nargs == 0:
        return list(action.option_strings)
    return [f"{option} {value or action.dest.upper()}" for option in action.option_strings]


def explained(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    """The option's help with what argparse would put in."""
    return " ".join((action.help or "").split()) % {**vars(action), "prog": parser.prog}


def paragraphs(text: str | None) -> list[str]:
    """Free text of a parser: indented lines, and lines below "examples:", are code, the rest is prose."""
    lines: list[str] = []
    for block in (text or "").strip().split("\n\n"):
        first, _, rest = block.partition("\n")
        if rest.startswith("  "):
            lines += [prose(first), "", *code(rest.split("\n"))]
        elif block:
            lines += [prose(" ".join(block.split())), ""]
    return lines


def code(lines: list[str]) -> list[str]:
    """A block of shell commands; what stands far behind one is a remark."""
    return [".. code-block:: shell", "", *(f"   {REMARK.sub('  # ', line.strip())}" for line in lines), ""]


def help_of(command: str) -> str:
    """The text, without colours. Raises CalledProcessError if there is no such command."""
    environment = {**os.environ, "COLUMNS": "88", "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    environment.pop("FORCE_COLOR", None)
    argv = [sys.executable, "-m", *command.split(), "--help"]
    return subprocess.run(argv, capture_output=True, encoding="utf-8", env=environment, check=True).stdout


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
