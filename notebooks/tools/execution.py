"""Execute one notebook in a kernel of its own and measure the CPU time of that kernel.

`execute` is to be called in a worker process, because it changes the environment and because the CPU time is that of
all children of the process.
"""

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from tools import pairs

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
    client = NotebookClient(
        notebook,
        km=native_kernel(),
        timeout=SECONDS_PER_CELL,
        store_widget_state=False,  # it holds random names
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],  # not a warning per notebook that the kernel's sockets are not encrypted
        coalesce_streams=True,  # or the moments in which the kernel flushes its output would be stored
        resources={"metadata": {"path": str(path.parents[1])}},
    )
    error, start, cpu_before = "", time.perf_counter(), cpu_of_children()
    try:
        client.execute(cleanup_kc=True)
    except NoSuchKernel:
        error = 'there is no kernel: install the extra, `python -m pip install -e ".[notebooks]"`'
    except (CellExecutionError, CellTimeoutError, DeadKernelError, RuntimeError) as failure:  # the last: no start
        error = ANSI_COLOUR.sub("", str(failure))
    wall, cpu = time.perf_counter() - start, cpu_of_children() - cpu_before
    if not error:
        pairs.forget_this_machine(notebook)
        error = "\n".join(pairs.output_problems(notebook))
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
