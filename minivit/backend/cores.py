"""The number of cores that this process may use.

A container, a batch system or a hub gives a program few cores of a large machine. Threads beyond these take turns,
which makes training many times slower.
"""

import ctypes
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

# Whoever sets one of these holds programs to so many threads. Accelerate's is not among them: see blas.py.
VARIABLES = (
    "PYTHON_CPU_COUNT",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "GOTO_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
)

# The number of processes that an MPI launcher has started on this machine.
NEIGHBOURS = ("MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE", "MV2_COMM_WORLD_LOCAL_SIZE")


def available_cores() -> int:
    """The number of cores that this process may use."""
    return usable_cores()[0]


def usable_cores(root: Path = Path("/"), environ: Mapping[str, str] = os.environ) -> tuple[int, str]:
    """The number of cores that this process may use, at least 1, and the limit in words ("" without one).

    It is the least of: the cores of the machine, those the process may be scheduled on, the quotas of its control group
    and all groups above it (rounded up), the environment variables for numbers of threads, the fast cores of an Apple
    processor, and its share if mpirun has started several processes on this machine. A missing or invalid quota or
    variable is ignored. root: location of Linux's files.
    """
    limits = [(os.cpu_count() or 1, ""), (_performance_cores(), "performance cores")]
    limits += [(-(-quota // period), f"container quota {quota / period:g}") for quota, period in _quotas(root)]
    if (processes := max(_threads(environ.get(name, "")) for name in NEIGHBOURS)) > 1:
        least = min(cores for cores, _ in limits if cores > 0)
        limits += [(max(1, least // processes), f"{processes} processes of mpirun on this machine")]
    limits += [(_scheduled_cores(), "affinity of the process")]
    limits += [(_threads(environ.get(name, "")), f"{name}={environ.get(name)}") for name in VARIABLES]
    return min((limit for limit in limits if limit[0] > 0), key=lambda limit: limit[0])


def _scheduled_cores() -> int:
    """The number of cores on which the process may be scheduled, or that Python 3.13 was given; 0 if unknown."""
    if hasattr(os, "process_cpu_count"):
        return os.process_cpu_count() or 0
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0


def _performance_cores() -> int:
    """The number of fast cores of an Apple processor, else 0. A slow core would keep the others waiting."""
    if sys.platform != "darwin":
        return 0
    value = ctypes.c_int32(0)
    size = ctypes.c_size_t(ctypes.sizeof(value))
    try:
        sysctl = ctypes.CDLL(None).sysctlbyname
        failed = sysctl(b"hw.perflevel0.physicalcpu", ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0))
    except (OSError, AttributeError, TypeError):
        return 0
    return 0 if failed else value.value


def _threads(text: str) -> int:
    """The number in a variable such as "4", or the first of several, "4,2"; 0 for anything else."""
    match = re.fullmatch(r"\s*([0-9]{1,9})\s*(,.*)?", text, flags=re.DOTALL)
    return int(match[1]) if match else 0


def _quotas(root: Path) -> Iterator[tuple[int, int]]:
    """Microseconds of processor time per period, for each control group with a quota."""
    for folder in _control_groups(root):
        newer = _text(folder / "cpu.max").split()
        older = [_text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")]
        for pair in newer, older:
            if len(pair) == 2 and all(re.fullmatch(r"\s*[0-9]{1,15}\s*", part) for part in pair):
                quota, period = map(int, pair)
                if quota and period:
                    yield quota, period


def _control_groups(root: Path) -> list[Path]:
    """Folders of the control groups, of both versions, that contain the process: its own and all above it.

    In a container the own group is often the topmost visible one, whatever path /proc gives; so the top is included.
    """
    mounted = root / "sys" / "fs" / "cgroup"
    tops = {"": [mounted, mounted / "unified"], "cpu": [mounted / "cpu", mounted / "cpu,cpuacct"]}
    folders = tops[""] + tops["cpu"]
    for line in _text(root / "proc" / "self" / "cgroup").splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        steps = [step for step in path.split("/") if step]
        if ".." in steps or (controllers and "cpu" not in controllers.split(",")):
            continue
        for top in [*tops["cpu"], mounted / controllers] if controllers else tops[""]:
            folders += [top.joinpath(*steps[:depth]) for depth in range(len(steps) + 1)]
    return list(dict.fromkeys(folders))


def _text(path: Path) -> str:
    """The text of a small file; empty if it cannot be read."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except (OSError, ValueError):
        return ""
