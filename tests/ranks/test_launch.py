"""What launchers tell their processes."""

import subprocess
import sys

import pytest

from minivit.backend.cores import usable_cores
from minivit.ranks import launch


@pytest.mark.parametrize(
    ("environ", "launched", "number"),
    [
        ({}, False, 0),
        ({"PMI_SIZE": "1", "PMI_RANK": "0"}, False, 0),
        ({"PMI_SIZE": "4", "PMI_RANK": "3"}, True, 3),
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1", "PMIX_RANK": "1"}, True, 1),
        ({"OMPI_COMM_WORLD_SIZE": "1", "PMIX_RANK": "0"}, False, 0),
        ({"PMIX_RANK": "2"}, True, 2),  # of Slurm, which tells no number of processes
    ],
)
def test_a_launcher_is_known_by_its_variables(monkeypatch, environ, launched, number):
    for name in (*launch.COUNTS, *launch.NUMBERS):
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
