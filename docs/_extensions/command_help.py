"""The directive `.. command-help:: minivit.train`: what the command says to --help, at the time of the build."""

import os
import subprocess
import sys

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx


class CommandHelp(Directive):
    """Its argument is the module of the command; it becomes a literal block."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Run `python -m MODULE --help`."""
        (module,) = self.arguments
        command = [sys.executable, "-m", module, "--help"]
        wide_enough = {**os.environ, "COLUMNS": "88"}
        done = subprocess.run(command, capture_output=True, text=True, env=wide_enough, check=False)
        if done.returncode:
            raise self.error(f"{' '.join(command)}: {done.stderr.strip()}")
        return [nodes.literal_block(done.stdout, done.stdout, language="text")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
