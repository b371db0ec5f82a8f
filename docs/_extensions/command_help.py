"""The directive `.. command-help:: minivit.train`: what the command says to --help, at the time of the build."""

import os
import subprocess
import sys

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx


class CommandHelp(Directive):
    """Its argument is the module of the command, or what stands for it; it becomes a literal block."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Run `python -m COMMAND --help`."""
        (command,) = self.arguments
        try:
            text = help_of(command)
        except subprocess.CalledProcessError as failure:
            raise self.error(f"{command} --help: {failure.stderr.strip()}") from failure
        return [nodes.literal_block(text, text, language="text")]


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
