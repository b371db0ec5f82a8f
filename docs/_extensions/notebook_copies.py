"""Brings the notebooks, which live beside this folder, into it: docs/notebooks/ is made anew for every build."""

from pathlib import Path

from sphinx.application import Sphinx


def copy_notebooks(app: Sphinx) -> None:
    """Copy what has changed, so that Sphinx reads only that again, and remove what is no longer there."""
    source = Path(app.srcdir).parent / "notebooks"
    target = Path(app.srcdir) / "notebooks"
    target.mkdir(exist_ok=True)
    wanted = {path.name: path.read_bytes() for path in source.glob("*.ipynb")}
    for path in target.iterdir():
        if path.name not in wanted:
            path.unlink()
    for name, content in wanted.items():
        copy = target / name
        if not copy.exists() or copy.read_bytes() != content:
            copy.write_bytes(content)


def setup(app: Sphinx) -> dict[str, bool]:
    """Copy before Sphinx looks for documents."""
    app.connect("builder-inited", copy_notebooks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
