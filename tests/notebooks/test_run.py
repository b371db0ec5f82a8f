"""The runner of the notebooks, on tiny notebooks: what it writes, what it measures, what it refuses."""

import functools
import os
import re
import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from tiny_notebooks import TITLE, notebook, replace

execution, pairs, run = map(pytest.importorskip, ("tools.execution", "tools.pairs", "run"))


def cpu_seconds(line: str) -> float:
    return float(re.search(r"([\d.]+) s CPU", line)[1])


# Executing


def test_what_a_run_stores_passes_the_check_and_is_the_same_again(tmp_path, capsys):
    text = "import time\nprint('a', flush=True)\ntime.sleep(0.5)\nprint('b')"
    figure = "import matplotlib.pyplot as plt\n_ = plt.plot([1, 2])"
    widget = f"display({{'text/html': '<svg/>', {pairs.WIDGET!r}: {{}}}}, raw=True)"
    path = notebook(tmp_path, text, figure, widget)
    assert run.main([], tmp_path) == 0
    assert run.main(["--check"], tmp_path) == 0
    first = pairs.stored_at(path).read_bytes()
    stored = pairs.read_stored(path)
    assert [output.text for output in stored.cells[1].outputs] == ["a\nb\n"]
    assert "image/png" in stored.cells[2].outputs[0].data
    assert set(stored.cells[3].outputs[0].data) == {"text/html"}  # a widget's name is random
    assert stored.metadata == pairs.METADATA  # no version of Python
    assert run.main(["07"], tmp_path) == 0
    assert pairs.stored_at(path).read_bytes() == first
    assert not re.search(r"FAILED|BUDGET", capsys.readouterr().out)


def test_a_failing_cell_is_shown_and_nothing_is_stored(tmp_path, capsys):
    path = notebook(tmp_path, "x = 0", "print('before')\n1 / x")
    assert run.main([], tmp_path) == 1
    shown = capsys.readouterr().out
    assert "07_tiny.py" in shown
    assert "print('before')\n1 / x\n" in shown
    assert "ZeroDivisionError: division by zero" in shown
    assert "\x1b" not in shown
    assert not pairs.stored_at(path).exists()


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
    replace(path, meant)
    assert run.main(["--fast", "--out", str(tmp_path / "out")], tmp_path) == 0
    stored = (tmp_path / "out" / "07_tiny.ipynb").read_text(encoding="utf-8")
    assert "<cell>:2: UserWarning: careful" in stored, "without the file that the kernel has made of the cell"


def test_fast_mode_writes_nothing_and_says_so_to_the_cells(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIVIT_FAST", "")
    folder = tmp_path / "notebooks"
    folder.mkdir()
    notebook(folder, "import os\nassert os.environ['MINIVIT_FAST']")
    assert run.main(["--fast"], folder) == 0
    assert [path.name for path in folder.rglob("*.*")] == ["07_tiny.py"]
    assert run.main(["--fast", "--out", str(tmp_path / "out")], folder) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["07_tiny.ipynb"]
    monkeypatch.setenv("MINIVIT_FAST", "1")
    assert run.main([], folder) == 1  # in full: the variable of the caller's shell does not count


def test_cells_run_in_the_folder_on_one_thread_with_this_interpreter(tmp_path, monkeypatch):
    facts = f"assert os.path.realpath('.') == {os.path.realpath(tmp_path)!r}"
    facts += "\nassert os.environ['OPENBLAS_NUM_THREADS'] == '1'"
    facts += "\nassert os.environ['NO_COLOR'] == '1'"
    callers = {"COLUMNS": "40", "PYTHONWARNINGS": "ignore"}
    for variable, value in callers.items():
        monkeypatch.setenv(variable, value)
    facts += f"\nassert not os.environ.keys() & {set(callers)}"
    notebook(
        tmp_path,
        f"import os, sys\n{facts}\nassert os.path.abspath(sys.executable) == {os.path.abspath(sys.executable)!r}",
    )
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
    assert re.search("refused|10061", capsys.readouterr().out)


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
