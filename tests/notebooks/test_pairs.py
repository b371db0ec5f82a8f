"""`run.py --check` and `--sync` on a tiny notebook: what of a pair disagrees, what must not be stored."""

from pathlib import Path

import pytest
from tiny_notebooks import edit, notebook, replace

jupytext, nbformat, pairs, run = map(pytest.importorskip, ("jupytext", "nbformat", "tools.pairs", "run"))


@pytest.fixture
def executed(tmp_path):
    """A pair as the runner would have written it: made from text, so that most tests need no kernel."""
    path = notebook(tmp_path, "x = 1", "print(x)", "x + 1")
    made = pairs.read_source(path)
    outputs = [[], [{"output_type": "stream", "name": "stdout", "text": "1\n"}]]
    outputs.append(
        [{"output_type": "execute_result", "execution_count": 3, "metadata": {}, "data": {"text/plain": "2"}}]
    )
    for count, (cell, output) in enumerate(zip(pairs.code_cells(made), outputs, strict=True), start=1):
        cell.execution_count = count
        cell.outputs = [nbformat.from_dict(one) for one in output]
    pairs.write(made, pairs.stored_at(path))
    assert run.main(["--check"], tmp_path) == 0
    return path


def complaint(path: Path, capsys: pytest.CaptureFixture) -> str:
    capsys.readouterr()
    assert run.main(["--check"], path.parents[1]) == 1
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("print(x)", "print(2 * x)", "cell 3: the text differs: print(2 * x)"),
        ("# # Tiny", "# # Small", "cell 1: the text differs: # Small"),
        ("# %%\nprint(x)", "# %% [markdown]\n# print(x)", "cell 3: markdown in the .py, code in the .ipynb: print(x)"),
        ("# %%\nprint(x)\n\n# %%\nx + 1", "# %%\nx + 1\n\n# %%\nprint(x)", "cell 3: the text differs: x + 1"),
        ("# %%\nx + 1\n", "", "cell 4: in the .ipynb only: x + 1"),
        ("# %%\nx + 1\n", "# %%\nx + 1\n\n# %%\nx + 2\n", "cell 5: in the .py only: x + 2"),
        ("# %%\nx + 1\n", '# %% tags=["shows-stderr"]\nx + 1\n', "cell 4: the tags differ: x + 1"),
        ("#     display_name: Python 3\n", "#     display_name: Mine\n", "must begin with exactly the header"),
        ("fast mode 20 s", "fast mode", "must declare a budget"),
    ],
)
def test_a_changed_source_is_found(old, new, found, executed, capsys):
    replace(executed, (old, new))
    assert found in complaint(executed, capsys)


def test_a_missing_file_is_found(executed, capsys):
    text = executed.read_text(encoding="utf-8")
    executed.unlink()
    assert "there is no source/07_tiny.py" in complaint(executed, capsys)
    executed.write_text(text, encoding="utf-8")
    pairs.stored_at(executed).unlink()
    assert "there is no 07_tiny.ipynb" in complaint(executed, capsys)


def stream(text, name="stdout"):
    return {"output_type": "stream", "name": name, "text": text}


def display(**data):
    return {"output_type": "display_data", "metadata": {}, "data": {k.replace("_", "/"): v for k, v in data.items()}}


ERROR = {"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": []}
WIDGET = {"output_type": "display_data", "metadata": {}, "data": {pairs.WIDGET: {}, "text/plain": "IntSlider()"}}


@pytest.mark.parametrize(
    ("output", "found"),
    [
        (stream("saved in /home/someone/runs/1\n"), "an absolute path, '/home/someone/runs/1'"),
        (stream("C:\\Users\\someone\n"), "an absolute path"),
        (display(text_html="<p>see /tmp/x.png</p>"), "an absolute path"),
        (display(text_plain="<Line2D at 0x7f00aa00bb00>"), "a memory address"),
        (stream("Traceback (most recent call last)\n"), "a traceback"),
        (stream("careful\n", "stderr"), "it writes to stderr: careful"),
        (ERROR, "it fails with ValueError: no"),
        (WIDGET, "a widget shows nothing without a kernel"),
        (display(text_plain="<Figure size 640x480 with 1 Axes>"), "a figure has no picture"),
        (display(image_png=""), "an output is empty"),
        (display(), "an output is empty"),
        (display(image_png="x" * 2_000_000), "the .ipynb has 2.0 MB, the limit is 1.5 MB"),
    ],
)
def test_an_output_that_must_not_be_stored_is_found(output, found, executed, capsys):
    edit(executed, lambda stored: stored["cells"][2]["outputs"].append(output))
    shown = complaint(executed, capsys)
    assert "07_tiny cell 3: " in shown
    assert found in shown


@pytest.mark.parametrize(
    "output",
    [
        stream("minivit/ops/shape.py, see https://arxiv.org/abs/2010.11929 and runs/tmp/x, B/16, and/or\n"),
        display(text_html="<svg/>", text_plain="Stepper"),
        display(image_png="/tmp/", text_plain="<Figure size 640x480 with 1 Axes>"),
    ],
)
def test_an_output_that_every_machine_gives_is_no_problem(output, executed):
    edit(executed, lambda stored: stored["cells"][2]["outputs"].append(output))
    assert run.main(["--check"], executed.parents[1]) == 0


def test_missing_and_mixed_outputs_are_found(executed, capsys):
    edit(executed, lambda stored: stored["cells"][2].update(execution_count=None, outputs=[]))
    assert "07_tiny cell 3: not executed since it was last changed: print(x)" in complaint(executed, capsys)
    edit(executed, lambda stored: stored["cells"][2].update(execution_count=7))
    assert "cell 3: executed as number 7, should be 2" in complaint(executed, capsys)


def test_other_metadata_are_found(executed, capsys):
    edit(executed, lambda stored: stored["metadata"].update(kernelspec={"name": "mine", "display_name": "Mine"}))
    assert "07_tiny metadata: kernelspec.name is mine in the .ipynb" in complaint(executed, capsys)


def test_what_jupyter_adds_when_it_saves_does_no_harm(executed):
    def save(stored):
        stored["metadata"]["jupytext"]["cell_metadata_filter"] = "-all"
        stored["metadata"]["kernelspec"]["display_name"] = "Python 3 (ipykernel)"
        stored["cells"][2]["metadata"]["lines_to_next_cell"] = 2

    edit(executed, save)
    assert run.main(["--check"], executed.parents[1]) == 0


def test_sync_keeps_outputs_of_cells_that_did_not_change(executed, capsys):
    replace(executed, ("x + 1", "x + 2"), ("# Tiny", "# Small"))
    assert run.main(["--sync"], executed.parents[1]) == 0
    stored = pairs.read_stored(executed)
    assert [cell.execution_count for cell in pairs.code_cells(stored)] == [1, 2, None]
    assert stored.cells[2].outputs[0].text == "1\n"
    assert complaint(executed, capsys) == "07_tiny cell 4: not executed since it was last changed: x + 2\n"


def test_outputs_of_another_text_are_found_and_not_kept(executed, capsys):
    """Jupyter saves a changed cell under its old id, with its old outputs."""
    replace(executed, ("print(x)", "print(-x)"))
    edit(executed, lambda stored: stored["cells"][2].update(source="print(-x)"))
    assert "cell 3: its outputs were stored for another text" in complaint(executed, capsys)
    assert run.main(["--sync"], executed.parents[1]) == 0
    assert "07_tiny.ipynb written, 1 cells to execute" in capsys.readouterr().out
    assert pairs.read_stored(executed).cells[2].outputs == []


def test_equal_cells_keep_an_output_each(tmp_path):
    path = notebook(tmp_path, "next(numbers)", "next(numbers)")
    made = pairs.read_source(path)
    for count, cell in enumerate(pairs.code_cells(made), start=1):
        cell.execution_count = count
    pairs.write(made, pairs.stored_at(path))
    replace(path, ("# Tiny", "# Small"))
    assert run.main(["--sync"], tmp_path) == 0
    assert [cell.execution_count for cell in pairs.code_cells(pairs.read_stored(path))] == [1, 2]


def test_empty_cells_do_not_count(executed):
    replace(executed, ("# ---\n\n# %%", "# ---\n\n\n# %%"), ("x + 1\n", "x + 1\n\n# %%\n"))
    assert run.main(["--check"], executed.parents[1]) == 0


@pytest.mark.parametrize("option", ["--check", "--sync"])
def test_a_file_that_is_no_notebook_is_refused_in_words(option, executed, capsys):
    pairs.stored_at(executed).write_text("<<<<<<< mine", encoding="utf-8")
    assert run.main([option], executed.parents[1]) == 1
    said = capsys.readouterr().err
    assert "07_tiny.ipynb cannot be read" in said
    assert "delete it and run `python notebooks/run.py 07`" in said


def test_out_is_for_what_is_executed(executed, capsys):
    with pytest.raises(SystemExit):
        run.main(["--sync", "--out", "elsewhere"], executed.parents[1])
    assert "--out is for what is executed" in capsys.readouterr().err


def test_an_unknown_notebook_is_answered_with_those_that_are_there(executed, capsys):
    assert run.main(["7"], executed.parents[1]) == 1
    assert "there is no notebook 7 in" in (said := capsys.readouterr().err)
    assert said.endswith("there are 07\n")


def test_jupytext_itself_writes_the_header_that_is_asked_for(executed):
    config = jupytext.config.load_jupytext_configuration_file(str(run.HERE / ".jupytext.toml"))
    assert jupytext.writes(pairs.read_source(executed), "py:percent", config=config).startswith(pairs.HEADER)


def test_the_readme_shows_the_header():
    assert f"```\n{pairs.HEADER}" in (run.HERE / "README.md").read_text(encoding="utf-8")
