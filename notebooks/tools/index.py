"""The notebook to open first, index.ipynb: how to use notebooks, and the lists of README.md, which it is made from."""

from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from tools import pairs

NAME = "index.ipynb"
START = """\
# Start here

These notebooks derive the Vision Transformer, from the derivative of one number to a trained model. Click on a name
to open it.

- *Run > Run All Cells* runs a whole notebook, Shift+Enter a cell. Outputs that are there before were stored when the
  notebook was written. What moves, such as the slider in 01, does so once its cell has run here.
- An exercise is a cell that ends with `check(...)`. Write your answer in place of `...` or `None` and run the cell: it
  says whether the answer is right, and often which mistake it is.
- Times are CPU time of a whole notebook on one core. A slow or busy machine takes longer."""


def made(folder: Path) -> NotebookNode:
    """The index of a folder: the lists are what stands in its README.md before "For authors"."""
    readme = (folder / "README.md").read_text(encoding="utf-8")
    lists = "## The course" + readme.partition("## The course")[2].partition("\n## For authors")[0].rstrip()
    cells = [nbformat.v4.new_markdown_cell(text, id=f"index-{i}") for i, text in enumerate((START, lists))]
    return nbformat.v4.new_notebook(cells=cells, metadata=nbformat.from_dict(pairs.KERNEL))


def write(folder: Path) -> None:
    """Write the index of a folder that has a README.md."""
    if (folder / "README.md").exists():
        pairs.write(made(folder), folder / NAME)


def problems(folder: Path) -> Iterator[str]:
    """Whether the index is not what would be written."""
    if (folder / "README.md").exists():
        stored = folder / NAME
        if not stored.exists() or nbformat.read(stored, as_version=4).cells != made(folder).cells:
            yield f"{NAME}: it is not made from this README.md; run `python notebooks/run.py --sync`"
