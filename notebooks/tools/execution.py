"""Execute one notebook in a kernel of its own and measure the CPU time of that kernel.

`execute` is to be called in a worker process, because it changes the environment and because the CPU time is that of
all children of the process.
"""

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from tools import pairs, student

SECONDS_PER_CELL = 1200  # of wall time: a cell that hangs must end some day, one on a busy machine may take long
ANSI_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Result:
    """What came of one notebook. wall, cpu: seconds, cpu of the kernel with its imports; error: "" if all is well."""

    path: Path
    notebook: NotebookNode
    wall: float
    cpu: float
    error: str


def execute(path: Path, fast: bool) -> Result:
    """Execute the cells of a .py file from first to last, in the folder of its .ipynb; writes nothing."""
    set_environment(fast)
    notebook = pairs.read_source(path)
    client = client_of(notebook, path)

    def run() -> str:
        client.execute(cleanup_kc=True)
        return ""

    return measured(path, notebook, run)


def rehearse(path: Path, fast: bool) -> Result:
    """Execute the student edition of a .py file up to the first line that is left to the reader, which must say so;
    then, in the same kernel, go on from there with all blanks filled in, exercises included; writes nothing."""
    set_environment(fast)
    left, filled = student.edition(path), student.edition(path, answers=True)
    answers = path.parents[2] / f"tests/lessons/answers/n{path.stem}.py"
    for notebook in (left, filled):
        student.with_right_answers(notebook, answers)
    client = client_of(left, path)

    def run() -> str:
        client.reset_execution_trackers()
        with client.setup_kernel(cleanup_kc=True):
            stop = first_stop(client, left)
            if isinstance(stop, str):
                return stop
            client.nb = filled
            for place, cell in list(enumerate(filled.cells))[stop:]:
                client.execute_cell(cell, place)
        return ""

    return measured(path, filled, run, counted=False)


def first_stop(client: NotebookClient, notebook: NotebookNode) -> int | str:
    """The index of the first cell with a blank, once the cells have been run up to the error that it leads to.

    A text instead, if no cell is blank, if all cells run, or if another error comes first.
    """
    blank = next((place for place, cell in enumerate(notebook.cells) if student.is_blank(cell)), None)
    if blank is None:
        return f'no cell has the tag "{student.TAG}"'
    for place, cell in enumerate(notebook.cells):
        try:
            client.execute_cell(cell, place)
        except CellExecutionError as error:
            if place >= blank and student.is_stop(error.ename, error.evalue):
                return blank
            return f"cell {place + 1} of the student edition: {error.ename}: {error.evalue}"
    return "the student edition runs to its end, although lines are blank"


def client_of(notebook: NotebookNode, path: Path) -> NotebookClient:
    """What runs the cells of a notebook, in a kernel that works in the folder of the .ipynb."""
    return NotebookClient(
        notebook,
        km=native_kernel(),
        timeout=SECONDS_PER_CELL,
        store_widget_state=False,  # it holds random names
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],  # not a warning per notebook that the kernel's sockets are not encrypted
        coalesce_streams=True,  # or the moments in which the kernel flushes its output would be stored
        resources={"metadata": {"path": str(path.parents[1])}},
    )


def measured(path: Path, notebook: NotebookNode, run: Callable[[], str], *, counted: bool = True) -> Result:
    """What came of a run that says what went wrong, or raises an error: both are put into words.

    counted: have all cells been run, once and in their order? Then they are numbered so.
    """
    start, cpu_before = time.perf_counter(), cpu_of_children()
    try:
        error = run()
    except NoSuchKernel:
        error = 'there is no kernel: install the extra, `python -m pip install -e ".[notebooks]"`'
    except (CellExecutionError, CellTimeoutError, DeadKernelError, RuntimeError) as failure:  # the last: no start
        error = ANSI_COLOUR.sub("", str(failure))
    wall, cpu = time.perf_counter() - start, cpu_of_children() - cpu_before
    if not error:
        pairs.forget_this_machine(notebook)
        error = "\n".join(pairs.output_problems(notebook) if counted else pairs.problems_of_outputs(notebook))
    return Result(path, notebook, wall, cpu, error)


def set_environment(fast: bool) -> None:
    """What the kernel is to inherit: one thread per notebook, its size, no network, no looks of the caller's terminal.

    What respects proxy variables, as urllib does, finds no network. A socket that a cell opens itself is not stopped.
    """
    os.environ.update(dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), "1"))
    nowhere = "http://127.0.0.1:9"  # no server is there, so a download fails at once, here as on a machine offline
    os.environ.update(http_proxy=nowhere, https_proxy=nowhere, no_proxy="")
    for variable in ("MATPLOTLIBRC", "MPLBACKEND", "MINIVIT_FAST", "COLUMNS", "PYTHONWARNINGS"):
        os.environ.pop(variable, None)
    os.environ["NO_COLOR"] = "1"  # stronger than the FORCE_COLOR that the kernel sets itself
    if fast:
        os.environ["MINIVIT_FAST"] = "1"


def native_kernel() -> AsyncKernelManager:
    """The manager of a kernel in the running interpreter: it searches no folder in which another one is installed."""
    return AsyncKernelManager(kernel_name="python3", kernel_spec_manager=KernelSpecManager(kernel_dirs=[]))


def cpu_of_children() -> float:
    """CPU seconds of all children that have ended, with their threads and their own children. Windows says 0, so that
    there no notebook is over its budget."""
    times = os.times()
    return times.children_user + times.children_system
