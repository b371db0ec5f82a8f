"""Brings the notebooks, which live beside this folder, into it: docs/notebooks/ is made anew for every build.

In the copies each figure has its alternative text, from figure_texts.yml. The files themselves, .ipynb and .py, are
put beside the pages that are made from them, for readers to take away.
"""

import functools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import yaml
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"


@functools.cache
def figure_texts() -> dict[str, dict[str, str]]:
    """What the figures show, by notebook and id of the cell."""
    return yaml.safe_load((ROOT / "docs/figure_texts.yml").read_text(encoding="utf-8"))


def figure_cells(notebook: dict) -> Iterator[dict]:
    """The cells of a notebook whose stored outputs hold a picture."""
    for cell in notebook["cells"]:
        if any(kind.startswith("image/") for output in cell.get("outputs", []) for kind in output.get("data", {})):
            yield cell


def with_texts(content: bytes, name: str) -> bytes:
    """A notebook whose figures have their alternative texts; a warning for each that has none."""
    notebook = json.loads(content)
    for cell in figure_cells(notebook):
        text = figure_texts().get(name, {}).get(cell["id"])
        if text is None:
            logger.warning("%s: no text for the figure of cell %s in figure_texts.yml", name, cell["id"])
        else:
            cell["metadata"]["mystnb"] = {"image": {"alt": text}}
    return json.dumps(notebook, ensure_ascii=False, indent=1).encode()


def copy_notebooks(app: Sphinx) -> None:
    """Copy what has changed, so that Sphinx reads only that again, and remove what is no longer there."""
    target = Path(app.srcdir) / "notebooks"
    target.mkdir(exist_ok=True)
    wanted = {path.name: with_texts(path.read_bytes(), path.stem) for path in NOTEBOOKS.glob("[0-9]*.ipynb")}
    for path in target.iterdir():
        if path.name not in wanted:
            path.unlink()
    for name, content in wanted.items():
        copy = target / name
        if not copy.exists() or copy.read_bytes() != content:
            copy.write_bytes(content)


def downloads() -> list[Path]:
    """The files that readers may take: every notebook, and the script that it is made from."""
    notebooks = sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
    return notebooks + [path for notebook in notebooks for path in NOTEBOOKS.glob(f"**/{notebook.stem}.py")]


def offer_downloads(app: Sphinx, *_: object) -> None:
    """Put the files beside the pages before these are written."""
    if app.builder.format == "html":
        folder = Path(app.outdir) / "notebooks"
        folder.mkdir(parents=True, exist_ok=True)
        for path in downloads():
            shutil.copyfile(path, folder / path.name)


def setup(app: Sphinx) -> dict[str, bool]:
    """Copy before Sphinx looks for documents."""
    app.connect("builder-inited", copy_notebooks)
    app.connect("env-updated", offer_downloads)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
