"""What launchers tell their processes."""

import argparse
import contextlib
import os
import subprocess
import sys

import pytest

from minivit.backend.cores import usable_cores
from minivit.errors import BackendError
from minivit.ranks import launch
from minivit.ranks.nccl import usable


@pytest.mark.parametrize(
    ("environ", "launched", "number"),
    [
        ({}, False, 0),
        ({"PMI_SIZE": "1", "PMI_RANK": "0"}, False, 0),
        ({"PMI_SIZE": "4", "PMI_RANK": "3"}, True, 3),
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1", "PMIX_RANK": "1"}, True, 1),
        ({"OMPI_COMM_WORLD_SIZE": "1", "PMIX_RANK": "0"}, False, 0),
        ({"PMIX_RANK": "2"}, True, 2),
        ({"PMIX_RANK": "2", "SLURM_STEP_NUM_TASKS": "3"}, True, 2),
        ({"PMIX_RANK": "0", "SLURM_STEP_NUM_TASKS": "1"}, False, 0),  # an interactive shell
    ],
)
def test_a_launcher_is_known_by_its_variables(monkeypatch, environ, launched, number):
    for name in (*launch.COUNTS, *launch.NUMBERS, "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert (launch.launched(), launch.number()) == (launched, number)


@pytest.mark.parametrize(
    ("environ", "visible"),
    [
        ({}, None),
        ({"MPI_LOCALRANKID": "2"}, "2"),
        ({"OMPI_COMM_WORLD_LOCAL_RANK": "1", "CUDA_VISIBLE_DEVICES": "5,7"}, "7"),
        ({"OMPI_COMM_WORLD_LOCAL_RANK": "2", "CUDA_VISIBLE_DEVICES": "5,7"}, ""),  # more processes than GPUs
        ({"SLURM_LOCALID": "3", "CUDA_VISIBLE_DEVICES": "4"}, "4"),  # chosen for this process
        ({"MPI_LOCALRANKID": "1", "CUDA_VISIBLE_DEVICES": ""}, ""),  # all GPUs are hidden
    ],
)
def test_each_process_sees_its_gpu(environ, visible):
    launch._choose_gpu(environ)
    assert environ.get("CUDA_VISIBLE_DEVICES") == visible


@pytest.mark.parametrize("name", ["MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE"])
def test_processes_on_one_machine_divide_its_cores(monkeypatch, tmp_path, name):
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    monkeypatch.setattr("minivit.backend.cores._scheduled_cores", lambda: 16)
    assert usable_cores(tmp_path, {name: "4"}) == (4, "4 processes of mpirun on this machine")
    assert usable_cores(tmp_path, {name: "64"})[0] == 1
    assert usable_cores(tmp_path, {name: "1"})[0] == 16
    monkeypatch.setattr("minivit.backend.cores._scheduled_cores", lambda: 2)  # bound to two cores each
    assert usable_cores(tmp_path, {name: "4"}) == (2, "affinity of the process")


def test_without_a_launcher_nothing_of_mpi_is_imported():
    program = """
import sys, minivit.train
from minivit.ranks import launch
with launch.joined() as ranks:
    assert ranks.count == 1
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, encoding="utf-8")
    assert "mpi4py" not in done.stdout
    assert "minivit.ranks.mpi" not in done.stdout


def test_a_signal_to_the_process_that_watches_the_start_starts_no_second_run():
    program = """
import os, signal, time
from minivit.ranks import launch
fork, children = os.fork, []
os.fork = lambda: children.append(fork()) or children[-1]
with launch._within(60, "late"):
    time.sleep(0.2)
    os.kill(children[0], signal.SIGINT)
    os.waitid(os.P_PID, children[0], os.WEXITED | os.WNOWAIT)
print("once")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, encoding="utf-8")
    assert (done.stdout, done.stderr) == ("once\n", "")


class Fake:
    """One of two ranks, all of which have met the same error."""

    def __init__(self, rank):
        self.rank = self.COMM_WORLD = self
        self.rank, self.size = rank, 2

    def parted(self, seconds=None):
        return True


def fail(rank):
    with contextlib.closing(sys.stdout) if rank else contextlib.nullcontext():  # which is /dev/null then
        raise ValueError


@pytest.mark.parametrize(("rank", "error"), [(0, ValueError), (1, SystemExit)])
def test_only_rank_0_ends_with_an_error_that_all_have_met(monkeypatch, rank, error):
    monkeypatch.setattr(launch, "launched", lambda: True)
    monkeypatch.setattr(launch, "_choose_gpu", lambda: None)
    monkeypatch.setattr(launch, "_started", lambda: Fake(rank))
    monkeypatch.setattr(launch.importlib, "import_module", lambda name: argparse.Namespace(MpiRanks=lambda mpi: mpi))
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    with pytest.raises(error) as caught, launch.joined():
        fail(rank)
    assert getattr(caught.value, "code", 0) == 0


@pytest.mark.parametrize("number", ["0", "1"])
def test_other_commands_are_not_for_several_processes_and_say_so_once(number):
    environ = {**os.environ, "PMI_SIZE": "2", "PMI_RANK": number}
    command = [sys.executable, "-m", "minivit.evaluate", "run"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, encoding="utf-8")
    first = number == "0"
    assert done.returncode == (2 if first else 0)
    line = "error: only train is shared by several processes: start this command without mpirun\n"
    assert (done.stdout, done.stderr) == ("", line if first else "")


def test_what_nccl_says_is_an_error_in_one_line():
    def fail():
        raise RuntimeError("NCCL_ERROR_INVALID_USAGE: Duplicate GPU detected")

    with pytest.raises(BackendError, match=r"a GPU each, but NCCL fails .*Duplicate GPU"):
        usable(fail)
