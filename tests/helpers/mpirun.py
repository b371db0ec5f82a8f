"""Runs programs as several processes of MPI."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
FOLDERS = [TESTS.parent, TESTS, TESTS / "helpers", TESTS / "lineage"]  # which the programs import from


def launcher():
    """The command of an MPI launcher; a skipped test where there is none."""
    beside = shutil.which("mpirun", path=str(Path(sys.executable).parent))
    found = beside or shutil.which("mpirun")
    if importlib.util.find_spec("mpi4py") is None or found is None:
        pytest.skip("no mpi4py, or no mpirun: the tests of several processes did not run")
    return [found]


def start(count, *commands, cwd, environ=None, **options):
    """`count` processes of one command, or one process of each of several commands, all of this Python."""
    if len(commands) == 1:
        parts = ["-n", str(count), sys.executable, *commands[0]]
    else:
        parts = [text for command in commands for text in (":", "-n", "1", sys.executable, *command)][1:]
    path = os.pathsep.join(map(str, FOLDERS))
    environ = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **(environ or {})}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "encoding": "utf-8"}
    return subprocess.Popen([*launcher(), *parts], cwd=cwd, env=environ, start_new_session=True, **pipes, **options)


def run(count, *commands, cwd, environ=None, seconds=90):
    """The exit status and the lines of standard output and error, without those of the launcher itself."""
    with start(count, *commands, cwd=cwd, environ=environ) as process:
        try:
            out, err = process.communicate(timeout=seconds)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, out.splitlines(), own(err)


def own(err):
    """The lines of standard error that are not the launcher's."""
    lines = err.splitlines()
    begin = next((i for i, line in enumerate(lines) if line.startswith("====")), len(lines))  # of its banner
    return [line for line in lines[:begin] if line.strip() and not line.startswith(("[mpiexec", "[proxy"))]
