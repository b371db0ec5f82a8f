"""How the ranks of a run find each other when a launcher has started them, and how they end."""

import contextlib
import importlib
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Iterator, MutableMapping
from typing import Any, NoReturn

from minivit.errors import MinivitError
from minivit.ranks import Ranks, in_one_line

# What launchers tell their processes: the number of processes, the number of this one, and that on its machine.
COUNTS = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
NUMBERS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK", "PMIX_RANK")
LOCAL = ("MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID")

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
    _choose_gpu()
    try:
        mpi = _started()
        if mpi.COMM_WORLD.rank:
            sys.stdout = sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        ranks = importlib.import_module("minivit.ranks.mpi").MpiRanks(mpi)
    except KeyboardInterrupt:  # perhaps the others are in MPI and cannot hear
        _die("error: interrupted")
    try:
        yield ranks
    except BaseException as error:
        if not ranks.parted(PARTING):
            _die(f"error: rank {ranks.rank}: {_in_words(error)}")
        if ranks.rank:  # in peace, since a launcher that hears of a failure ends rank 0 before it has spoken
            raise SystemExit(0) from error
        raise
    ranks.parted()


def _started() -> Any:
    """mpi4py's MPI, once all ranks have started. If that fails, one of them says why, and all end."""
    os.environ.setdefault("MPIR_CVAR_SUPPRESS_ABORT_MESSAGE", "1")
    try:
        with _within(
            START, f"error: not all ranks have started within {START:.0f} s: is Python the same on all machines?"
        ):
            mpi = importlib.import_module("mpi4py.MPI")
    except (ImportError, RuntimeError) as error:  # the second of a mpi4py that looks for libraries
        missing = isinstance(error, ModuleNotFoundError)
        why = next(iter(str(error).splitlines()), "")
        reason = "mpi4py is not installed" if missing else f"mpi4py finds no MPI library ({why})"
        wheel = '"minivit[mpi]"' if missing else "mpich"
        _die(f"error: started as one of several processes, but {reason}: python -m pip install {wheel}")
    if mpi.COMM_WORLD.size == 1:
        if number():
            os._exit(2)
        name = " ".join(mpi.Get_library_version().split("\n")[0].split(",")[0].split())
        _die(
            f"error: started as one of several processes, but mpi4py uses {name}, to which this launcher does not "
            "belong, and sees itself alone: start with the mpirun of that library"
        )
    return mpi


def _choose_gpu(environ: MutableMapping[str, str] = os.environ) -> None:
    """Let this process see one GPU only, that of its number on this machine. A choice that the system has made for each
    process stands: one visible GPU."""
    local = next((int(environ[name]) for name in LOCAL if environ.get(name, "").isdecimal()), None)
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if local is None or (visible is not None and "," not in visible):
        return
    environ["CUDA_VISIBLE_DEVICES"] = (visible.split(",") + [""] * local)[local] if visible else str(local)


@contextlib.contextmanager
def _within(seconds: float, line: str) -> Iterator[None]:
    """If this context takes longer, say the line and kill this process. MPI holds Python's lock while it starts, so a
    process of its own watches."""
    if not hasattr(os, "fork"):
        yield
        return
    parent = os.getpid()
    with warnings.catch_warnings(action="ignore"):  # of threads of the matrix library, which the child does not use
        child = os.fork()
    if not child:
        try:
            end = time.monotonic() + seconds
            while time.monotonic() < end and os.getppid() == parent:
                time.sleep(0.05)
            if os.getppid() == parent:
                os.write(2, f"{line}\n".encode())
                os.kill(parent, signal.SIGKILL)
        finally:  # also at Ctrl-C, which the launcher sends to it, too
            os._exit(0)
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def launched() -> bool:
    """Whether a launcher such as mpirun has started this process as one of several."""
    counts = [os.environ[name] for name in COUNTS if name in os.environ]
    alone = os.environ.get("SLURM_STEP_NUM_TASKS") == "1"  # as in an interactive shell of Slurm
    return any(count != "1" for count in counts) or (not counts and "PMIX_RANK" in os.environ and not alone)


def number() -> int:
    """The number that the launcher gave to this process, known before MPI is."""
    return next((int(os.environ[name]) for name in NUMBERS if os.environ.get(name, "").isdecimal()), 0)


def _in_words(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, SystemExit):  # of a parser, whose words only rank 0 prints
        return "it has ended by itself: start all ranks with the same options"
    if isinstance(error, MinivitError):
        return " ".join(str(error).split())
    return in_one_line(error) or "".join(traceback.format_exception(error))


def _die(line: str) -> NoReturn:
    """Say a line and end this process. If it left before MPI has begun, the others would wait for it; but if it is
    killed, the launcher ends them. Rank 0 goes first: perhaps it says the same, and its end is that of all."""
    time.sleep(min(number(), 1))
    with contextlib.suppress(OSError):
        os.write(2, f"{line}\n".encode(errors="backslashreplace"))
    if "mpi4py.MPI" in sys.modules and sys.modules["mpi4py.MPI"].Is_initialized():
        os._exit(2)
    os.kill(os.getpid(), signal.SIGTERM)
    os._exit(2)
