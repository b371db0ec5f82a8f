"""What goes wrong with several processes ends all of them within seconds, with one line from one of them."""

import os
import signal
import time

import mpirun
import numpy as np
import pytest
from PIL import Image

from minivit.runs.folder import read_checkpoint

TRAIN = """
import sys
from minivit import cli, train
from minivit.ranks import launch
RANK = launch.number()
{}
cli.run_command(train.main, shared=True)
"""
SMALL = ["--depth", "1", "--width", "16", "--mlp-width", "16", "--heads", "2", "--batch-size", "16", "--workers", "1"]
OPTIONS = [*SMALL, "--steps", "30", "--checkpoint-every", "10", "--eval-every", "15", "--out", "run"]


def train(*options, change=""):
    """The command of a training process.   change: Python that runs before it."""
    return ["-c", TRAIN.format(change), *options]


def refused(count, *commands, cwd, **options):
    """The one line of standard error of a run that was refused."""
    status, out, err = mpirun.run(count, *commands, cwd=cwd, **options)
    assert status != 0, out
    assert len(err) == 1, err
    assert err[0].startswith("error: ")
    assert "Traceback" not in err[0]
    return err[0]


def test_two_ranks_train_say_everything_once_and_resume_alone(tmp_path):
    status, out, err = mpirun.run(2, train(*OPTIONS), cwd=tmp_path)
    assert (status, err) == (0, [])
    assert sum(line.startswith("run folder: run") for line in out) == 1
    assert "1 worker in each of 2 processes" in out[1]
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
    assert {"checkpoint.npz", "best.npz", "metrics.jsonl", "curves.png"} <= {
        path.name for path in (tmp_path / "run").iterdir()
    }
    more = train("--resume", "run", "--steps", "40")
    for count in (1, 3):  # of which 16 is no multiple
        status, out, err = mpirun.run(count, more, cwd=tmp_path)
        if count == 1:
            assert (status, err) == (0, []), err
        else:
            assert (status, len(err)) == (2, 1)
            assert "16 images cannot be divided among 3 processes" in err[0]


VERSION = "import minivit; minivit.__version__ = '0.0'"
WEIGHTS = "import numpy; drawn = numpy.random.default_rng; numpy.random.default_rng = lambda *seed: drawn(5)"


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        (train(*OPTIONS), train(*OPTIONS, "--seed", "1"), "rank 1 has option seed 1, rank 0 has 0"),
        (train(*OPTIONS), train(*OPTIONS, change=VERSION), "rank 1 has minivit 0.0, rank 0 has"),
        (train(*OPTIONS), train(*OPTIONS, "--ler", "0.5"), "rank 1: it has ended by itself: start all ranks with"),
        (
            train(*OPTIONS),
            train(*OPTIONS, change=WEIGHTS),
            "rank 1 and rank 0 no longer hold the same",
        ),
    ],
    ids=["seed", "version", "option", "weights"],
)  # fmt: skip
def test_ranks_that_differ_are_named(tmp_path, one, other, words):
    assert words in refused(2, one, other, cwd=tmp_path)
    assert not (tmp_path / "run").exists()


def folders(place, unreadable=None):
    """Two folders of images, which differ in one image."""
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        for split, count in (("train", 16), ("val", 4)):
            for i in range(count):
                path = place / name / split / "ab"[i % 2] / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(path)
    (place / "two" / "train" / "a" / "0.png").rename(place / "two" / "train" / "a" / "other.png")


def test_ranks_with_other_data_are_named(tmp_path):
    folders(tmp_path)
    shape = ["--model", "Ti/4", "--image-size", "8", *OPTIONS, "--batch-size", "4"]
    other = "import os; os.chdir('elsewhere')"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "data").symlink_to(tmp_path / "two")
    (tmp_path / "data").symlink_to(tmp_path / "one")
    for data in ("data",):
        line = refused(
            2,
            train("--data", f"folder:{data}", *shape),
            train("--data", f"folder:{data}", *shape, change=other),
            cwd=tmp_path,
        )
        assert "rank 1 has" in line


def test_an_image_that_only_one_rank_meets_ends_all_and_the_run_goes_on(tmp_path):
    folders(tmp_path)
    spoil = "train.look.at_files = lambda *data: None"  # found in training, not before
    bad = tmp_path / "one" / "train" / "b" / "5.png"
    whole = bad.read_bytes()
    bad.write_bytes(whole[:50])
    options = ["--model", "Ti/4", "--image-size", "8", *OPTIONS, "--batch-size", "4"]
    line = refused(2, train("--data", "folder:one", *options, change=spoil), cwd=tmp_path)
    assert "5.png" in line
    assert "go on with --resume run --bad-images skip" in line
    bad.write_bytes(whole)
    assert mpirun.run(2, train("--resume", "run"), cwd=tmp_path)[0] == 0


NO_SPACE = """
import errno
from minivit.runs import folder
def full(*a, **b):
    raise OSError(errno.ENOSPC, "No space left on device")
if RANK == 0:
    from minivit.models import archive
    archive.np.lib.format.write_array = full
"""
POISON = """
from minivit.update import host
real = host.step
def step(objective, optimizer, batch, *a, **b):
    if RANK == 1 and optimizer.steps == 3:
        batch = {**batch, "images": batch["images"] * float("nan")}
    return real(objective, optimizer, batch, *a, **b)
host.step = step
"""
DRIFT = """
from minivit.runs.trainer import Trainer
real = Trainer.update
def update(self, batch):
    result = real(self, batch)
    if RANK == 1 and self.step == 4:
        self.model.parameters()[3].data.flat[0] += 1e-6
    return result
Trainer.update = update
"""
BOTH = """
from minivit.ranks import sums
sums.LEAST = 1  # so that there are several sums in a step
real = sums.GradientSum.give
def give(self, worker, i, gradient):
    self.count = getattr(self, "count", 0) + 1
    if self.count > 60 + 6 * RANK:
        raise MemoryError
    real(self, worker, i, gradient)
sums.GradientSum.give = give
"""
DIE = """
import os
from minivit.runs.trainer import Trainer
real = Trainer.update
def update(self, batch):
    if RANK == 1 and self.step == 12:
        {}
    return real(self, batch)
Trainer.update = update
"""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (POISON, "step 4: NaN or infinity, first in the input images"),
        (DRIFT, "rank 1 and rank 0 no longer hold the same objective/model"),
        (DIE.format("raise MemoryError"), "error: rank 1: out of memory"),
        (BOTH, "out of memory"),  # said by rank 0, which may have heard of the other's error in time
    ],
    ids=["NaN", "drift", "an error of one rank alone", "errors of all in the middle of a sum"],
)  # fmt: skip
def test_faults_on_the_way_end_in_one_line(tmp_path, change, words):
    assert words in refused(2, train(*OPTIONS, change=change), cwd=tmp_path)


def test_a_full_disk_is_warned_of_once_and_ends_the_run_when_nothing_else_can_be_done(tmp_path):
    status, _, err = mpirun.run(2, train(*OPTIONS, change=NO_SPACE), cwd=tmp_path)
    *warnings, last = err
    assert status == 2
    assert len(warnings) == 4
    assert all(line.startswith("warning: cannot write run") for line in warnings)
    assert last.startswith(
        "error: cannot write run/checkpoint.npz: No space left on device; what was learned up to step 30"
    )


@pytest.mark.parametrize("death", ["os.kill(os.getpid(), 9)", "os._exit(3)"])
def test_when_a_rank_dies_all_end_and_the_run_goes_on_as_if_nothing_had_happened(tmp_path, death):
    begin = time.monotonic()
    status, _, err = mpirun.run(2, train(*OPTIONS, change=DIE.format(death)), cwd=tmp_path)
    assert status != 0
    assert err == []
    assert time.monotonic() - begin < 60
    assert mpirun.run(2, train("--resume", "run"), cwd=tmp_path)[0] == 0
    assert mpirun.run(2, train(*OPTIONS[:-1], "whole"), cwd=tmp_path)[0] == 0
    assert same(tmp_path / "run", tmp_path / "whole")


NO_LIBRARY = """
def found(name, *rest):
    if name == "mpi4py.MPI":
        raise RuntimeError("cannot load it\\nlibmpi.so: cannot open shared object file")
sys.meta_path.insert(0, type("Finder", (), {"find_spec": staticmethod(found)}))
"""


def same(one, two):
    """Whether two runs have the same state, bit for bit."""
    (first, meta), (second, other) = (read_checkpoint(folder / "checkpoint.npz") for folder in (one, two))
    assert meta["step"] == other["step"]
    return all(first[part][name].tobytes() == second[part][name].tobytes() for part in first for name in first[part])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("sys.modules['mpi4py'] = None", 'but mpi4py is not installed: python -m pip install "minivit[mpi]"'),
        (NO_LIBRARY, "mpi4py finds no MPI library (cannot load it): python -m pip install mpich"),
        ("import os; del os.environ['PMI_FD']", "sees itself alone"),
    ],
    ids=["no mpi4py", "no library", "another launcher"],
)  # fmt: skip
def test_without_the_library_of_the_launcher_all_end(tmp_path, change, words):
    assert words in refused(2, train(*OPTIONS, change=change), cwd=tmp_path)


def test_a_rank_that_cannot_start_ends_the_others(tmp_path):
    late = train(*OPTIONS, change="launch.START = 2.0")
    line = refused(2, late, ["-c", "import time; time.sleep(60)"], cwd=tmp_path)
    assert "not all ranks have started within 2 s" in line


def test_ctrl_c_of_a_rank_that_has_not_started_ends_those_that_wait_for_it(tmp_path):
    change = """
def interrupted():
    raise KeyboardInterrupt
launch._started = interrupted if RANK else launch._started
"""
    assert refused(2, train(*OPTIONS, change=change), cwd=tmp_path) == "error: interrupted"


def test_ctrl_c_saves_once(tmp_path):
    program = train(*OPTIONS, "--steps", "100000", "--batch-size", "256")
    with mpirun.start(2, program, cwd=tmp_path) as process:
        while not (tmp_path / "run" / "checkpoint.npz").exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, mpirun.own(err)) == (130, [])
    assert [line for line in out.splitlines() if line.startswith("stopped after step")]
    assert os.listdir(tmp_path) == ["run"]
