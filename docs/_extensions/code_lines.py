"""Code that fits: each line of a block is an element, so that a line too long for the page goes on below, set in.

It is set in by the line's own indentation, which is in the variable --indent; site.css does the rest. Pages of source
files, whose lines are numbered, stay as Pygments makes them.
"""

import re
from collections.abc import Iterable, Iterator

from docutils import nodes
from pygments.formatters import HtmlFormatter
from sphinx.application import Sphinx
from sphinx.highlighting import PygmentsBridge
from sphinx.transforms import SphinxTransform

COMMAND = re.compile(r"(?:[A-Z_]+=\S+ )*(?:python3?|py|pip|minivit|jupyter|git|cd|pytest|source) ")
TAG = re.compile(r"<[^>]+>")


class LineFormatter(HtmlFormatter):
    """Pygments' formatter with every line in a <span class="code-line">."""

    def wrap(self, source: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
        """Called by Pygments with (1, line) for lines of code and (0, text) for others."""
        return super().wrap(source if self.linenos else map(as_element, source))


def as_element(piece: tuple[int, str]) -> tuple[int, str]:
    """One line as an element; its line break stays outside, where copying a block finds it."""
    is_code, line = piece
    if not is_code:
        return piece
    text = TAG.sub("", line)
    indent = len(text) - len(text.lstrip(" ")) if text.strip() else 0
    style = f' style="--indent: {indent}ch"' if indent else ""
    return is_code, f'<span class="code-line"{style}>{line.rstrip(chr(10))}</span>\n'


class ShellBlocks(SphinxTransform):
    """Blocks of commands that do not say their language are in that of a shell, not in Python."""

    default_priority = 400

    def apply(self, **kwargs: object) -> None:
        """Look at every block of a document by its first line."""
        for block in self.document.findall(nodes.literal_block):
            if block.get("language", "default") in ("default", "none") and COMMAND.match(block.astext()):
                block["language"] = "shell"


def setup(app: Sphinx) -> dict[str, bool]:
    """Have Sphinx use both."""
    app.add_transform(ShellBlocks)
    PygmentsBridge.html_formatter = LineFormatter
    return {"parallel_read_safe": True, "parallel_write_safe": True}
