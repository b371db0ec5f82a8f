"""Notebooks of a few lines for the tests of the runner: written, and changed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

pairs = pytest.importorskip("tools.pairs")

TITLE = "# %% [markdown]\n# # Tiny\n#\n# **Budget:** 30 s of CPU time (fast mode 20 s).\n"


def notebook(folder: Path, *cells: str, name: str = "07_tiny", title: str = TITLE) -> Path:
    """Write source/NN_name.py, with a title cell and code cells, and return its path."""
    path = folder / pairs.SOURCE / f"{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([pairs.HEADER, title, *(f"# %%\n{cell}\n" for cell in cells)]), encoding="utf-8")
    return path


def edit(path: Path, change: Callable[[dict], object]) -> None:
    """Change the .ipynb of a .py: `change` is given its JSON."""
    stored = pairs.stored_at(path)
    content = json.loads(stored.read_text(encoding="utf-8"))
    change(content)
    stored.write_text(json.dumps(content), encoding="utf-8")


def replace(path: Path, *changes: tuple[str, str]) -> None:
    """Replace texts in a .py."""
    text = path.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
