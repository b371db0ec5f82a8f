"""The index: the notebook to open first lists all notebooks, in order, with their times, as the README does."""

import re

import pytest

nbformat, index, pairs, run = map(pytest.importorskip, ("nbformat", "tools.index", "tools.pairs", "run"))

PATHS = pairs.find(run.HERE, [])
README = (
    "# Notebooks\n\n```\njupyter lab\n```\n\n## The course\n\n[`07_tiny`](07_tiny.ipynb)\n\n## For authors\n\nRules.\n"
)


def test_the_index_leads_to_every_notebook_in_order():
    text = "\n".join(cell.source for cell in nbformat.read(run.HERE / index.NAME, as_version=4).cells)
    assert re.findall(r"\]\(([^)]+)\)", text) == [f"{path.stem}.ipynb" for path in PATHS]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_the_lists_say_the_time_that_a_notebook_declares(path):
    line = re.search(rf"^.*\[`{path.stem}`\].*$", (run.HERE / "README.md").read_text(encoding="utf-8"), flags=re.M)[0]
    assert line.endswith(f"| {pairs.budget(path, fast=False)} s |")


def test_a_changed_list_is_found_and_the_index_written_again(tmp_path, capsys):
    readme = tmp_path / "README.md"
    readme.write_text(README, encoding="utf-8")
    assert run.main(["--check"], tmp_path) == 1
    assert "index.ipynb: it is not made from this README.md; run `python notebooks/run.py --sync`" in (
        capsys.readouterr().out
    )
    assert run.main(["--sync"], tmp_path) == 0
    start, lists = nbformat.read(tmp_path / index.NAME, as_version=4).cells
    assert start.source.startswith("# Start here")
    assert lists.source == "## The course\n\n[`07_tiny`](07_tiny.ipynb)"
    assert run.main(["--check"], tmp_path) == 0
    readme.write_text(README.replace("Rules.", "Other rules."), encoding="utf-8")
    assert run.main(["--check"], tmp_path) == 0
    readme.write_text(README.replace("07", "08"), encoding="utf-8")
    assert run.main(["--check"], tmp_path) == 1
