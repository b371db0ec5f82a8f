"""Several processes compute what one computes: gradients of every objective, evaluations, whole runs."""

import json
from pathlib import Path

import mpirun
import pytest

PROGRAM = str(Path(__file__).with_name("shared_work.py"))


def differences(count, *kinds, cwd):
    """(kind, name, relative differences) of every comparison."""
    status, out, err = mpirun.run(count, [PROGRAM, *kinds], cwd=cwd)
    assert (status, err) == (0, [])
    return [json.loads(line) for line in out]


def test_every_objective_has_the_gradients_and_measures_of_one_process(tmp_path):
    found = differences(2, "steps", "evaluations", cwd=tmp_path)
    assert {kind for kind, *_ in found} == {"steps", "evaluations"}
    for kind, name, difference in found:
        assert max(difference.values()) < 1e-12, (kind, name, difference)


def test_gpus_add_up_by_nccl_even_in_a_recorded_step(tmp_path):
    """On the stand-ins for CuPy and NCCL."""
    found = differences(2, "on gpus", "by the host", cwd=tmp_path)
    assert {kind for kind, *_ in found} == {"on gpus", "by the host"}
    for kind, name, difference in found:
        assert max(difference.values()) < (1e-5 if kind == "on gpus" else 1e-12), (kind, name, difference)


@pytest.mark.parametrize(
    ("count", "kinds"),
    [(2, ["digits float64", "digits float32", "shapes float64"]), (4, ["digits float64"])],
    ids=["2", "4"],
)
def test_runs_of_a_hundred_steps_have_the_losses_of_one_process(tmp_path, count, kinds):
    found = differences(count, *kinds, cwd=tmp_path)
    assert [kind for kind, *_ in found] == kinds
    for kind, _, difference in found:
        assert max(difference.values()) < (1e-9 if "float64" in kind else 2e-5), (kind, difference)
