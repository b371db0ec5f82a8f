"""Starting several processes: the launcher is found or its lack reported, and everything started ends."""

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minivit.bench import launching
from minivit.errors import BackendError

needs_unix = pytest.mark.skipif(os.name == "nt", reason="Windows has no scripts without suffix")


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A machine with mpi4py, without a launcher."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "mpi4py" or None)
    monkeypatch.setattr(launching, "WHEELS", ("no-such-wheel",))
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "env/bin/python"))
    return tmp_path


def script(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def test_what_is_missing_is_said(bare, monkeypatch):
    with pytest.raises(BackendError, match=r"mpirun or mpiexec, .*pip install mpich"):
        launching.launch(2)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendError, match=r'needs mpi4py .*pip install "minivit\[mpi\]"'):
        launching.launch(2)


@needs_unix
def test_a_launcher_is_found_on_the_path_beside_python_or_in_a_wheel(bare, monkeypatch):
    class File(type(Path())):
        def locate(self):
            return self

    inside = script(bare / "elsewhere/bin/mpirun")
    monkeypatch.setattr(importlib.metadata, "files", lambda wheel: [File(bare / "readme"), File(inside)])
    assert launching.launch(3) == [inside, "-n", "3"]
    beside = script(bare / "env/bin/mpiexec")
    assert launching.launch(3)[0] == beside
    on_path = script(bare / "nothing/mpirun")
    assert launching.launch(3)[0] == on_path


def test_a_rank_keeps_to_its_threads(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "16")
    given = launching.environment(2)
    assert given["OMP_NUM_THREADS"] == given["OPENBLAS_NUM_THREADS"] == "2"
    assert given["PATH"] == os.environ["PATH"]


def started(code):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, **pipes)
    return process, process.stdout.readline().strip()


def test_what_ends_by_itself_is_left_to_do_so():
    process, _ = started("import sys; print('ready', flush=True); sys.stdin.read(); sys.exit(7)")
    launching.end(process)
    assert process.returncode == 7


@needs_unix
def test_what_does_not_is_told_to(monkeypatch):
    monkeypatch.setattr(launching, "PATIENCE", 0.1)
    process, _ = started(
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(5)); print('ready', flush=True); "
        "time.sleep(60)"
    )
    monkeypatch.setattr(launching, "_kill_group", lambda process: process.wait(30))
    launching.end(process)
    assert process.returncode == 5


@needs_unix
def test_what_does_not_listen_is_killed_with_all_it_started(monkeypatch):
    monkeypatch.setattr(launching, "PATIENCE", 0.1)
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
    )
    code = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {stubborn!r}], stdout=subprocess.PIPE)\n"
        f"child.stdout.readline()\nprint(child.pid, flush=True)\n{stubborn.replace('ready', '')}"
    )
    process, child = started(code)
    process.stdout.readline()  # its own handler is in place
    launching.end(process)
    assert process.returncode == -9
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        if "Z" in Path(f"/proc/{child}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[:1]:
            break  # ended, and nobody has asked for its status
        time.sleep(0.02)
    else:
        assert time.monotonic() < deadline
