"""How the ranks of a run find each other when a launcher has started them, and how they end."""

import contextlib
import importlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any, NoReturn

from minivit.errors import MinivitError
from minivit.ranks import Ranks

# What launchers tell their processes: the number of processes, and the number of this one.
COUNTS = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
NUMBERS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK", "PMIX_RANK")


START = 60.0  # seconds that a rank waits for all others to start
PARTING = 3.0  # seconds that a rank with an error waits for the others to come to the same end


@contextlib.contextmanager
def joined() -> Iterator[Ranks]:
    """The ranks of this run; `Ranks()` without a launcher. Ranks other than 0 print nothing.

    If all ranks leave this context with an error, it goes on, and rank 0 reports it. A rank that is alone with its
    error reports it and ends at once; the launcher then ends the others.
    """
    if not launched():
        yield Ranks()
        return
    mpi = _started()
    ranks = importlib.import_module("minivit.ranks.mpi").MpiRanks(mpi)
    if ranks.rank:
        sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    try:
        yield ranks
    except BaseException as error:
        if not ranks.parted(PARTING):
            _die(f"error: rank {ranks.rank}: {_in_words(error)}")
        raise
    ranks.parted()


def _started() -> Any:
    """mpi4py's MPI, once all ranks have started. If that fails, one of them says why, and all end."""
    watch = threading.Timer(START, _die, [f"error: not all ranks have started within {START:.0f} s"])
    watch.daemon = True
    try:
        watch.start()
        os.environ.setdefault("MPIR_CVAR_SUPPRESS_ABORT_MESSAGE", "1")
        mpi = importlib.import_module("mpi4py.MPI")
        watch.cancel()
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError)
        reason = "mpi4py is not installed" if missing else f"mpi4py finds no MPI library ({_in_words(error)})"
        time.sleep(0.2 * number())  # so that the first is heard, and ends the others
        wheel = '"minivit[mpi]"' if missing else "mpich"
        _die(f"error: started as one of several processes, but {reason}: python -m pip install {wheel}")
    if mpi.COMM_WORLD.size == 1:
        name = mpi.Get_library_version().split("\n")[0].split("\t")[0].split(",")[0].strip()
        time.sleep(0.2 * number())
        _die(
            f"error: started as one of several processes, but mpi4py uses {name}, to which this launcher does not "
            "belong, and sees itself alone: start with the mpirun of that library"
        )
    return mpi


def launched() -> bool:
    """Whether a launcher such as mpirun has started this process as one of several."""
    counts = [os.environ[name] for name in COUNTS if name in os.environ]
    return any(count != "1" for count in counts) or (not counts and "PMIX_RANK" in os.environ)


def number() -> int:
    """The number that the launcher gave to this process, known before MPI is."""
    return next((int(os.environ[name]) for name in NUMBERS if os.environ.get(name, "").isdecimal()), 0)


def _in_words(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, MinivitError | ImportError):
        return " ".join(str(error).split())
    return "".join(traceback.format_exception(error))


def _die(line: str) -> NoReturn:
    """Say a line and end this process. If it left before MPI has begun, the others would wait for it; but if it is
    killed, the launcher ends them."""
    with contextlib.suppress(OSError):
        os.write(2, f"{line}\n".encode(errors="backslashreplace"))
    if "mpi4py.MPI" in sys.modules and sys.modules["mpi4py.MPI"].Is_initialized():
        os._exit(2)
    os.kill(os.getpid(), signal.SIGTERM)
    os._exit(2)
