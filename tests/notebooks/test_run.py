"""The runner of the notebooks, on tiny notebooks: what it writes, what it measures, what it refuses."""

import functools
import json
import os
import re
import sys
from collections.abc import Callable
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import execution
import jupytext
import nbformat
import pairs
import pytest
import run

TITLE = "# %% [markdown]\n# # Tiny\n#\n# **Budget:** 30 s of CPU time (fast mode 20 s).\n"


def notebook(folder: Path, *cells: str, name: str = "07_tiny", title: str = TITLE) -> Path:
    """Write NN_name.py, with a title cell and code cells, and return its path."""
    path = folder / f"{name}.py"
    path.write_text("\n".join([pairs.HEADER, title, *(f"# %%\n{cell}\n" for cell in cells)]), encoding="utf-8")
    return path


def edit(path: Path, change: Callable[[dict], object]) -> None:
    """Change the .ipynb beside a .py: `change` is given its JSON."""
    stored = path.with_suffix(".ipynb")
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


def cpu_seconds(line: str) -> float:
    return float(re.search(r"([\d.]+) s CPU", line)[1])


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
    pairs.write(made, path.with_suffix(".ipynb"))
    assert run.main(["--check"], tmp_path) == 0
    return path


def complaint(path: Path, capsys: pytest.CaptureFixture) -> str:
    capsys.readouterr()
    assert run.main(["--check"], path.parent) == 1
    return capsys.readouterr().out


# Executing


def test_what_a_run_stores_passes_the_check_and_is_the_same_again(tmp_path, capsys):
    text = "import time\nprint('a', flush=True)\ntime.sleep(0.5)\nprint('b')"
    figure = "import matplotlib.pyplot as plt\n_ = plt.plot([1, 2])"
    widget = f"display({{'text/html': '<svg/>', {pairs.WIDGET!r}: {{}}}}, raw=True)"
    path = notebook(tmp_path, text, figure, widget)
    assert run.main([], tmp_path) == 0
    assert run.main(["--check"], tmp_path) == 0
    first = path.with_suffix(".ipynb").read_bytes()
    stored = pairs.read_stored(path)
    assert [output.text for output in stored.cells[1].outputs] == ["a\nb\n"]
    assert "image/png" in stored.cells[2].outputs[0].data
    assert set(stored.cells[3].outputs[0].data) == {"text/html"}  # a widget's name is random
    assert stored.metadata == pairs.METADATA  # no version of Python
    assert run.main(["07"], tmp_path) == 0
    assert path.with_suffix(".ipynb").read_bytes() == first
    assert not re.search(r"FAILED|BUDGET", capsys.readouterr().out)


def test_a_failing_cell_is_shown_and_nothing_is_stored(tmp_path, capsys):
    path = notebook(tmp_path, "x = 0", "print('before')\n1 / x")
    assert run.main([], tmp_path) == 1
    shown = capsys.readouterr().out
    assert "07_tiny.py" in shown
    assert "print('before')\n1 / x\n" in shown
    assert "ZeroDivisionError: division by zero" in shown
    assert "\x1b" not in shown
    assert not path.with_suffix(".ipynb").exists()


def test_no_tag_lets_a_cell_fail(tmp_path):
    path = notebook(tmp_path)
    with path.open("a", encoding="utf-8") as file:
        file.write('\n# %% tags=["raises-exception"]\n1 / 0\n')
    assert run.main(["--fast"], tmp_path) == 1


def test_a_warning_fails_and_text_on_stderr_that_is_meant_does_not(tmp_path, capsys):
    warn = "import warnings\nwarnings.warn('careful')"
    path = notebook(tmp_path, warn)
    assert run.main(["--fast"], tmp_path) == 1
    assert "cell 2: it writes to stderr" in capsys.readouterr().out
    meant = ("# %%\nimport", '# %% tags=["shows-stderr"]\nimport')
    replace(path, meant, (warn, "import sys\nprint('careful', file=sys.stderr)"))
    assert run.main(["--fast"], tmp_path) == 0


def test_fast_mode_writes_nothing_and_says_so_to_the_cells(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIVIT_FAST", "")
    folder = tmp_path / "notebooks"
    folder.mkdir()
    notebook(folder, "import os\nassert os.environ['MINIVIT_FAST']")
    assert run.main(["--fast"], folder) == 0
    assert [path.name for path in folder.iterdir()] == ["07_tiny.py"]
    assert run.main(["--fast", "--out", str(tmp_path / "out")], folder) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["07_tiny.ipynb"]
    monkeypatch.setenv("MINIVIT_FAST", "1")
    assert run.main([], folder) == 1  # in full: the variable of the caller's shell does not count


def test_cells_run_in_the_folder_on_one_thread_with_this_interpreter(tmp_path, monkeypatch):
    facts = f"assert os.getcwd() == {str(tmp_path)!r}\nassert os.environ['OPENBLAS_NUM_THREADS'] == '1'"
    facts += "\nassert os.environ['NO_COLOR'] == '1'"
    callers = {"COLUMNS": "40", "PYTHONWARNINGS": "ignore"}
    for variable, value in callers.items():
        monkeypatch.setenv(variable, value)
    facts += f"\nassert not os.environ.keys() & {set(callers)}"
    notebook(tmp_path, f"import os, sys\n{facts}\nassert sys.executable == {sys.executable!r}")
    assert run.main(["--fast"], tmp_path) == 0


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def test_cells_have_no_network(tmp_path, capsys):
    """Not even the server of this test, which is there whether or not the machine has a network."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Silent, directory=tmp_path)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        fetch = f"from urllib.request import urlopen\n_ = urlopen('http://127.0.0.1:{server.server_port}/').read()"
        notebook(tmp_path, fetch)
        assert run.main(["--fast"], tmp_path) == 1
        server.shutdown()
    assert "Connection refused" in capsys.readouterr().out


def test_a_kernel_that_does_not_start_is_a_notebook_that_failed(tmp_path, monkeypatch):
    def dies_at_once():
        manager = native_kernel()
        manager.kernel_spec.argv = [sys.executable, "-c", ""]
        return manager

    native_kernel = execution.native_kernel
    monkeypatch.setattr(execution, "native_kernel", dies_at_once)
    monkeypatch.setattr(execution, "set_environment", lambda fast: None)
    monkeypatch.setattr("nbclient.client.atexit.register", lambda f: None)  # it would clean up what is gone
    result = execution.execute(notebook(tmp_path), fast=True)
    assert "Kernel died" in result.error


needs_cpu_times = pytest.mark.skipif(os.name == "nt", reason="Windows does not tell the CPU time of children")


@needs_cpu_times
def test_cpu_time_of_children_is_counted_and_sleep_is_not(tmp_path, capsys):
    spin = "import time\nend = time.process_time() + 1.5\nwhile time.process_time() < end: pass"
    notebook(tmp_path, "import time\ntime.sleep(1)", name="00_sleeps")
    child = f"import subprocess, sys\n_ = subprocess.run([sys.executable, '-c', {spin!r}])"
    notebook(tmp_path, spin, child, name="01_spins")
    notebook(tmp_path, name="14_empty")
    assert run.main([], tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    sleeps, spins, empty, course, everything = map(cpu_seconds, lines)
    assert float(re.search(r"([\d.]+) s wall", lines[0])[1]) - sleeps > 0.8
    assert spins - sleeps > 2.25  # of 3, half of them the child's
    assert course == pytest.approx(sleeps + spins, abs=0.11)
    assert everything == pytest.approx(sleeps + spins + empty, abs=0.16)


@needs_cpu_times
def test_a_notebook_over_its_budget_is_marked_but_does_not_fail(tmp_path, capsys):
    title = TITLE.replace("30 s", "1 s")
    notebook(tmp_path, "import time\nwhile time.process_time() < 2.2: pass", title=title)
    assert run.main([], tmp_path) == 0
    assert "OVER BUDGET" in capsys.readouterr().out


# Refusing


@pytest.mark.parametrize("arguments", [[], ["--fast"]])
def test_a_notebook_without_a_budget_is_not_executed(arguments, tmp_path, capsys):
    notebook(tmp_path, "open('trace', 'w')", title="# %% [markdown]\n# # Tiny\n")
    assert run.main(arguments, tmp_path) == 1
    assert "07_tiny: its first cell must declare a budget" in capsys.readouterr().err
    assert not (tmp_path / "trace").exists()


def test_a_notebook_that_does_not_exist_is_refused(tmp_path, capsys):
    notebook(tmp_path)
    assert run.main(["--check", "07", "42"], tmp_path) == 1
    assert "no notebook 42" in capsys.readouterr().err


# Comparing


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
    assert "there is no 07_tiny.py" in complaint(executed, capsys)
    executed.write_text(text, encoding="utf-8")
    executed.with_suffix(".ipynb").unlink()
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
    assert run.main(["--check"], executed.parent) == 0


def test_missing_and_mixed_outputs_are_found(executed, capsys):
    edit(executed, lambda stored: stored["cells"][2].update(execution_count=None, outputs=[]))
    assert "07_tiny cell 3: not executed since it was last changed: print(x)" in complaint(executed, capsys)
    edit(executed, lambda stored: stored["cells"][2].update(execution_count=7))
    assert "cell 3: executed as number 7, should be 2" in complaint(executed, capsys)


def test_other_metadata_are_found(executed, capsys):
    edit(executed, lambda stored: stored["metadata"].update(kernelspec={"name": "mine", "display_name": "Mine"}))
    assert "07_tiny metadata: kernelspec is" in complaint(executed, capsys)


def test_sync_keeps_outputs_of_cells_that_did_not_change(executed, capsys):
    replace(executed, ("x + 1", "x + 2"), ("# Tiny", "# Small"))
    assert run.main(["--sync"], executed.parent) == 0
    stored = pairs.read_stored(executed)
    assert [cell.execution_count for cell in pairs.code_cells(stored)] == [1, 2, None]
    assert stored.cells[2].outputs[0].text == "1\n"
    assert complaint(executed, capsys) == "07_tiny cell 4: not executed since it was last changed: x + 2\n"


def test_sync_gives_equal_cells_their_outputs_in_order(executed):
    replace(executed, ("x + 1", "print(x)"))
    edit(executed, lambda stored: stored["cells"][3].update(source="print(x)"))
    assert run.main(["--sync"], executed.parent) == 0
    assert [cell.execution_count for cell in pairs.code_cells(pairs.read_stored(executed))] == [1, 2, 3]


def test_jupytext_itself_writes_the_header_that_is_asked_for(executed):
    config = jupytext.config.load_jupytext_configuration_file(str(run.HERE / "jupytext.toml"))
    assert jupytext.writes(pairs.read_source(executed), "py:percent", config=config).startswith(pairs.HEADER)


def test_the_readme_shows_the_header():
    assert f"```\n{pairs.HEADER}" in (run.HERE / "README.md").read_text(encoding="utf-8")
